"""The engine's Prometheus metrics. No per-call labels: a label's values are few and known."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ai_engine.providers.server_fleet import Server, ServerFleet

LATENCY_BUCKETS_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
LINE_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.4, 1.0)
LOSS_BUCKETS = (0.0, 0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


class Metrics:
    """One engine's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.calls_active = Gauge("parley_calls_active", "Calls in progress.", registry=r)
        self.calls_ended = Counter("parley_calls_ended", "Ended calls by outcome.", ["outcome"], registry=r)
        self.turn_latency = Histogram(
            "parley_turn_latency_seconds",
            "From the caller's last speech to the agent's first packet, by where the answer came from.",
            ["source"],
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.stage_latency = Histogram(
            "parley_turn_stage_seconds",
            "From the caller's last speech to a stage of the answer.",
            ["stage"],
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.interruptions = Counter(
            "parley_interruptions", "Caller speech over the agent, by what came of it.", ["outcome"], registry=r
        )
        self.provider_failures = Counter(
            "parley_provider_failures", "Failures by component.", ["component"], registry=r
        )
        self.fallbacks = Counter(
            "parley_component_fallbacks",
            "Times the next of a chain of components was asked, by component and by who failed.",
            ["component", "member"],
            registry=r,
        )
        self.local_server_up = Gauge(
            "parley_local_server_up", "1 while the server takes calls, by address.", ["server"], registry=r
        )
        self.local_server_calls = Gauge(
            "parley_local_server_calls", "Connections of our calls, by the server's address.", ["server"], registry=r
        )
        self.local_server_failovers = Counter(
            "parley_local_server_failovers",
            "Calls that went on at another server, by the address of the one they left.",
            ["server"],
            registry=r,
        )
        self.tool_calls = Counter(
            "parley_tool_calls",
            "Tools that models asked for, by name and by what came of it: ok, refused, failed, timeout.",
            ["tool", "outcome"],
            registry=r,
        )
        self.tool_time = Histogram(
            "parley_tool_seconds", "How long tools ran, by name.", ["tool"], buckets=LATENCY_BUCKETS_S, registry=r
        )
        self.after_calls = Counter(
            "parley_after_call_deliveries",
            "Deliveries after calls, by the tool's name and by what came of it: delivered, failed, dropped.",
            ["tool", "outcome"],
            registry=r,
        )
        self.calls_refused = Counter(
            "parley_calls_refused",
            "Calls not taken, by reason and by what became of the caller.",
            ["reason", "how"],
            registry=r,
        )
        self.callers_rescued = Counter(
            "parley_callers_rescued", "Callers of engines that died, by what we did for them.", ["how"], registry=r
        )
        self.peers_alive = Gauge("parley_peers_alive", "Other engines whose heartbeats come.", registry=r)
        self.resubscriptions = Counter(
            "parley_ari_resubscriptions", "Times the event socket was open and no event came over it.", registry=r
        )
        self.ari_connected = Gauge("parley_ari_connected", "1 while Asterisk's event socket is up.", registry=r)
        self.ari_reconnects = Counter("parley_ari_reconnects", "Times the event socket came back.", registry=r)
        self.ports_in_use = Gauge("parley_media_ports_in_use", "Media ports held by calls.", registry=r)
        self.late_ticks = Gauge("parley_pacer_late_ticks", "Media ticks that came late, since start.", registry=r)
        self.recordings = Counter(
            "parley_recordings", "Ended recordings of calls, by what became of them.", ["outcome"], registry=r
        )
        self.recordings_deleted = Counter(
            "parley_recordings_deleted", "Recordings deleted because the settings keep them no longer.", registry=r
        )
        self.history_written = Counter("parley_history_written", "Entries of the call history written.", registry=r)
        self.history_waiting = Gauge("parley_history_waiting", "Entries that wait to be written.", registry=r)
        self.history_failures = Counter(
            "parley_history_failures", "Attempts to write the call history that failed; they are repeated.", registry=r
        )
        self.history_lost = Counter(
            "parley_history_lost", "Entries of the call history never written, by why.", ["why"], registry=r
        )
        self.history_deleted = Counter(
            "parley_history_deleted", "Calls deleted because the settings keep them no longer.", registry=r
        )
        self.line_packets = Counter(
            "parley_line_packets",
            "Packets (and restarts) of ended calls by leg of the line and what became of them.",
            ["leg", "what"],
            registry=r,
        )
        self.line_loss = Histogram(
            "parley_line_loss_ratio",
            "Share of a call's packets that never came, by leg and direction (in: the caller's sound).",
            ["leg", "direction"],
            buckets=LOSS_BUCKETS,
            registry=r,
        )
        self.line_jitter = Histogram(
            "parley_line_jitter_seconds",
            "Interarrival jitter at the end of a call, by leg and direction.",
            ["leg", "direction"],
            buckets=LINE_BUCKETS_S,
            registry=r,
        )
        self.line_round_trip = Histogram(
            "parley_line_round_trip_seconds",
            "Round trip at the end of a call, by leg.",
            ["leg"],
            buckets=LINE_BUCKETS_S,
            registry=r,
        )
        self.line_delay = Histogram(
            "parley_line_delay_seconds",
            "A call's mean wait in the jitter buffer, by leg.",
            ["leg"],
            buckets=LINE_BUCKETS_S,
            registry=r,
        )

    def watch_local_servers(self, fleet: ServerFleet) -> None:
        """Show its servers from now on."""

        def changed(server: Server) -> None:
            if server.state != "unknown":
                self.local_server_up.labels(server.label).set(server.state == "up")
            self.local_server_calls.labels(server.label).set(server.calls)

        fleet.watch(changed, lambda left: self.local_server_failovers.labels(left.label).inc())

    def exposition(self) -> bytes:
        """The text Prometheus scrapes."""
        return generate_latest(self.registry)
