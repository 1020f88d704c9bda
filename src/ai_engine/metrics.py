"""The engine's Prometheus metrics. No per-call labels: a label's values are few and known."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BUCKETS_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)


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
        self.ari_connected = Gauge("parley_ari_connected", "1 while Asterisk's event socket is up.", registry=r)
        self.ari_reconnects = Counter("parley_ari_reconnects", "Times the event socket came back.", registry=r)
        self.ports_in_use = Gauge("parley_media_ports_in_use", "Media ports held by calls.", registry=r)
        self.late_ticks = Gauge("parley_pacer_late_ticks", "Media ticks that came late, since start.", registry=r)
        self.rtp_lost = Counter("parley_rtp_lost_packets", "Caller packets that never came.", registry=r)
        self.rtp_strays = Counter("parley_rtp_stray_packets", "Media packets from a wrong source.", registry=r)

    def exposition(self) -> bytes:
        """The text Prometheus scrapes."""
        return generate_latest(self.registry)
