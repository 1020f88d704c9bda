"""What one call tells the world: log lines, live events and metrics, from what its conversation decided."""

from __future__ import annotations

import structlog

from ai_engine.asterisk.events import Channel
from ai_engine.conversation.decisions import AgentTurn, Announce, CallerTurn
from ai_engine.live_events import LiveEvents
from ai_engine.media.line_quality import COUNTED, LineQuality
from ai_engine.metrics import Metrics

log = structlog.get_logger(__name__)

INTERRUPTION_STATES = frozenset({"barge_in", "resumed", "kept", "took_back"})


class CallReport:
    """One call's; made with its id. Lives on the control loop."""

    def __init__(self, call_id: str, metrics: Metrics, live: LiveEvents) -> None:
        self.turns = 0
        self._call_id = call_id
        self._metrics = metrics
        self._live = live
        self._log = log.bind(call_id=call_id)

    def started(self, channel: Channel, context: str) -> None:
        self._log.info("call_started", channel=channel.name, context=context, dialed=channel.exten)
        self._publish("call_started", caller_number=channel.caller_number, dialed=channel.exten, context=context)

    def note(self, decision: CallerTurn | AgentTurn | Announce) -> None:
        """Something the conversation wants known."""
        match decision:
            case CallerTurn(turn, text):
                self._log.info("caller_turn", turn=turn, text=text)
                self._publish("caller_turn", turn=turn, text=text)
            case AgentTurn():
                self._agent_turn(decision)
            case Announce(state, _, detail):
                if state in INTERRUPTION_STATES:
                    self._metrics.interruptions.labels(state).inc()
                self._log.debug("state", state=state, detail=detail)
                self._publish("state", state=state, detail=detail)

    def provider_failed(self, component: str) -> None:
        self._metrics.provider_failures.labels(component).inc()

    def line_quality(self, media: LineQuality, caller: LineQuality | None = None) -> None:
        """At the end of the call: of our leg, and of the caller's where Asterisk knows it."""
        self._count_line("media", media)
        if caller is not None:
            self._count_line("caller", caller)
        facts = {f"caller_{name}": figure for name, figure in caller.known().items()} if caller is not None else {}
        self._log.info("line_quality", **media.known(), **facts)

    def _count_line(self, leg: str, line: LineQuality) -> None:
        metrics = self._metrics
        for what in COUNTED:
            if count := getattr(line, what):
                metrics.line_packets.labels(leg, what).inc(count)
        for direction, loss, jitter_ms in (
            ("in", line.loss, line.jitter_ms),
            ("out", line.loss_by_peer, line.peer_jitter_ms),
        ):
            if loss is not None:
                metrics.line_loss.labels(leg, direction).observe(loss)
            if jitter_ms is not None:
                metrics.line_jitter.labels(leg, direction).observe(jitter_ms / 1000)
        if line.round_trip_ms is not None:
            metrics.line_round_trip.labels(leg).observe(line.round_trip_ms / 1000)
        if line.delay_ms is not None:
            metrics.line_delay.labels(leg).observe(line.delay_ms / 1000)

    def ended(self, outcome: str) -> None:
        self._metrics.calls_ended.labels(outcome).inc()
        self._log.info("call_ended", outcome=outcome, turns=self.turns)
        self._publish("call_ended", outcome=outcome)

    def _agent_turn(self, turn: AgentTurn) -> None:
        self.turns += 1
        spoken_until = turn.timeline.get("speech_end")
        timeline_ms: dict[str, float] = {}
        if spoken_until is not None:
            timeline_ms = {
                stage: round((at - spoken_until) * 1000, 1)
                for stage, at in sorted(turn.timeline.items(), key=lambda item: item[1])
                if stage != "speech_end"
            }
        for stage, after_ms in timeline_ms.items():
            self._metrics.stage_latency.labels(stage).observe(max(0.0, after_ms / 1000))
        if (first_packet_ms := timeline_ms.get("first_packet")) is not None:
            source = turn.source.partition(":")[0]
            self._metrics.turn_latency.labels(source).observe(max(0.0, first_packet_ms / 1000))
        facts = {"turn": turn.turn, "source": turn.source, "interrupted": turn.interrupted, "timeline_ms": timeline_ms}
        self._log.info("agent_turn", text=turn.text, **facts)
        self._publish("agent_turn", text=turn.text, **facts)

    def _publish(self, type: str, **facts: object) -> None:
        self._live.publish(type, call_id=self._call_id, **facts)
