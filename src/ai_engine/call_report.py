"""What one call tells the world: log lines, live events, metrics and history, from what its conversation decided."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from ai_engine.asterisk.events import Channel
from ai_engine.call_history.notes import CallNotes
from ai_engine.conversation.decisions import AgentTurn, Announce, CallerTurn
from ai_engine.live_events import LiveEvents
from ai_engine.media.line_quality import COUNTED, LineQuality
from ai_engine.media.recording_folder import PART
from ai_engine.metrics import Metrics
from ai_engine.tools.call_hooks import Spoken
from ai_engine.transfer import Result

log = structlog.get_logger(__name__)

INTERRUPTION_STATES = frozenset({"barge_in", "resumed", "kept", "took_back"})


class CallReport:
    """One call's; made with its id. Lives on the control loop."""

    def __init__(self, call_id: str, metrics: Metrics, live: LiveEvents, notes: CallNotes | None = None) -> None:
        """`notes`: None where no history is kept."""
        self.turns = 0
        self.spoken: list[Spoken] = []
        """What was said so far, of the agent's only what was heard."""
        self._call_id = call_id
        self._metrics = metrics
        self._live = live
        self._notes = notes
        self._log = log.bind(call_id=call_id)

    def started(self, channel: Channel, context: str) -> None:
        self._log.info("call_started", channel=channel.name, context=context, dialed=channel.exten)
        self._publish("call_started", caller_number=channel.caller_number, dialed=channel.exten, context=context)
        self.know(
            caller_number=channel.caller_number,
            caller_name=channel.caller_name,
            dialled_number=channel.exten,
            context=context,
        )

    def know(self, **facts: Any) -> None:
        """For the history: columns of the call's row (`ai_engine.call_history.models.CallRow`)."""
        if self._notes is not None:
            self._notes.know(**facts)

    def note(self, decision: CallerTurn | AgentTurn | Announce) -> None:
        """Something the conversation wants known."""
        match decision:
            case CallerTurn(turn, text):
                self.spoken.append(Spoken("caller", text))
                self._log.info("caller_turn", turn=turn, text=text)
                self._publish("caller_turn", turn=turn, text=text)
                if self._notes is not None:
                    self._notes.caller_said(turn, text)
            case AgentTurn():
                self._agent_turn(decision)
            case Announce(state, _, detail):
                if state in INTERRUPTION_STATES:
                    self._metrics.interruptions.labels(state).inc()
                    if self._notes is not None:
                        self._notes.moment(state, detail, words=True)
                self._log.debug("state", state=state, detail=detail)
                self._publish("state", state=state, detail=detail)

    def provider_failed(self, component: str) -> None:
        self._metrics.provider_failures.labels(component).inc()
        if self._notes is not None:
            self._notes.moment("provider_failed", component)

    def transferred(self, to: str) -> None:
        """For the history: the caller goes on to somebody else."""
        self.know(transferred_to=to)
        if self._notes is not None:
            self._notes.moment("transferred", to)

    def consulted(self, to: str, result: Result) -> None:
        """For the history: how an attended transfer ended."""
        if result is Result.TRANSFERRED:
            self.transferred(to)
        elif self._notes is not None:
            self._notes.moment("not_transferred", f"{to}: {result.value}")

    def message(self, file: str, seconds: float) -> None:
        """For the history and the live events: the caller has left a message; its words are a turn of his."""
        self._log.info("message_left", file=file, seconds=round(seconds, 1))
        self._publish("message", file=file, seconds=round(seconds, 1))
        if self._notes is not None:
            self._notes.moment("message", f"{file or 'not recorded'}: {seconds:.1f} s")

    def recorded(self, file: Path) -> None:
        """For the history: where the recording is, or will be once it is complete."""
        if self._notes is not None:
            name = file.with_suffix("") if file.suffix == PART else file
            self._notes.will_know(recording_file=f"{name.parent.name}/{name.name}")

    def tool_ran(self, name: str, outcome: str, seconds: float, arguments: Mapping[str, Any] | None = None) -> None:
        """A tool has ended; `outcome`: ok, refused, failed, timeout. Only the history is told the arguments."""
        self._metrics.tool_calls.labels(name, outcome).inc()
        self._metrics.tool_time.labels(name).observe(seconds)
        self._publish("tool", name=name, outcome=outcome, seconds=round(seconds, 3))
        if self._notes is not None:
            self._notes.tool_ran(name, outcome, seconds, arguments)

    def line_quality(self, media: LineQuality, caller: LineQuality | None = None) -> None:
        """At the end of the call: of our leg, and of the caller's where Asterisk knows it."""
        self._count_line("media", media)
        if caller is not None:
            self._count_line("caller", caller)
        facts = {f"caller_{name}": figure for name, figure in caller.known().items()} if caller is not None else {}
        self._log.info("line_quality", **media.known(), **facts)
        if self._notes is not None:
            known = caller.known() if caller is not None else None
            self._notes.will_know(line_quality=media.known(), caller_line_quality=known)

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
        if self._notes is not None:
            self._notes.ended(outcome)

    def _agent_turn(self, turn: AgentTurn) -> None:
        self.turns += 1
        if turn.text:
            self.spoken.append(Spoken("agent", turn.text))
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
        if self._notes is not None:
            self._notes.agent_said(
                turn.turn, turn.text, source=turn.source, interrupted=turn.interrupted, timeline_ms=timeline_ms
            )

    def _publish(self, type: str, **facts: object) -> None:
        self._live.publish(type, call_id=self._call_id, **facts)
