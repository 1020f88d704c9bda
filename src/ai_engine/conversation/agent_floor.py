"""The agent's side of a conversation: what it says now, in which order, and what became of it.

One reply has the floor at a time. A filler may sound before it; then the reply waits until the filler's audio is
complete. A reply ends when its playout has been heard to the end, or when it is cut; either way its text in the
history is what was heard.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum

from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.conversation.decisions import AgentTurn, CallerTurn, Decision, Interrupt, RunTool, Say
from ai_engine.conversation.turns import Reply, ReplyKind
from ai_engine.media.transport import MediaTransport
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, ToolCall
from voice_core.gate import Gate
from voice_core.history import History, ToolUse

_FILLER_STALL_S = 2.0
_FINAL_AFTER_S = 0.6
"""From the first packet of an answer: a caller who goes on with his turn in its first moments is noticed by then."""
INTERRUPTED = "(The caller spoke before this was done: it was not done.)"
"""What the model is told of what should have followed a tool."""
_LATE_AUDIO_S = 0.2
"""An end that overtook its audio on the way is waited for so long."""


class FloorEvent(Enum):
    """What `AgentFloor.tick` saw."""

    FINISHED = "finished"
    """The reply was heard to its end."""
    TIMED_OUT = "timed_out"
    """The reply has come to nothing, or stopped in the middle."""


class AgentFloor:
    """Plays replies through the transport. Emits `Say`, `Interrupt`, `RunTool`, `CallerTurn` and `AgentTurn`."""

    def __init__(
        self,
        transport: MediaTransport,
        gate: Gate,
        history: History,
        settings: ConversationSettings,
        emit: Callable[[Decision], None],
        *,
        next_turn: Callable[[], int],
        stirring: Callable[[float], bool] = lambda now: False,
        said: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`stirring(now)`: the caller may be beginning to speak. No answer begins before that is known.

        `said` is told the words of sound as it is handed over to be played.
        """
        self._said = said
        self._stirring = stirring
        self._transport = transport
        self._playout = transport.played
        self._gate = gate
        self._history = history
        self._settings = settings
        self._next_turn = next_turn
        self._emit = emit
        self.reply: Reply | None = None
        """What has the floor: adopted, not yet heard to its end."""
        self.filler: Reply | None = None
        self.last: Reply | None = None
        """The reply before; a late transcript may still belong to it."""
        self.held = False

    @property
    def free(self) -> bool:
        return self.reply is None and self.filler is None

    @property
    def sounding(self) -> bool:
        """A reply or a filler has begun to play."""
        return (self.reply is not None and self.reply.sounded) or (self.filler is not None and self.filler.sounded)

    def heard_so_far(self, now: float) -> str | None:
        """What was heard of the reply that sounds; None while none does."""
        reply = self.reply
        return self._playout.heard_text(reply.turn, now) if reply is not None and reply.sounded else None

    def say(
        self, kind: ReplyKind, text: str, now: float, *, interruptible: bool = True, rendered_only: bool = False
    ) -> Reply:
        """A turn of the agent's own takes the floor: `text`, spoken by the provider as it is written."""
        reply = Reply(
            self._next_turn(), 1, kind, now, text=text, interruptible=interruptible, rendered_only=rendered_only
        )
        self._emit(Say(reply.turn, reply.revision, reply.text, reply.rendered_only))
        reply.source = "said"
        reply.last_event_at = now
        if reply.kind in (ReplyKind.FILLER, ReplyKind.DISCLOSURE):
            self.filler = reply
        else:
            self.reply = reply
        return reply

    def take(self, reply: Reply, now: float) -> None:
        """The adopted `reply` takes the floor; what has come of it already is played at once."""
        reply.last_event_at = now
        self.reply = reply
        self._release(now)

    def hear_audio(self, reply: Reply, event: AgentAudio | AgentAudioDone | ToolCall, now: float) -> None:
        """Sound (or its end, or a tool call) of a live reply: used when it has the floor, kept until then."""
        reply.last_event_at = now
        if reply is self.filler:
            self._use(reply, event, now)
            if reply.audio_done:
                self._release(now)
            return
        reply.backlog.append(event)
        if reply is self.reply:
            self._release(now)

    def tick(self, now: float) -> tuple[FloorEvent, Reply] | None:
        """Time passed: finish what was heard to its end, give up what does not come."""
        filler = self.filler
        if filler is not None:
            if not filler.audio_done and now - filler.last_event_at > _FILLER_STALL_S:
                self._done(filler, now)
                self._release(now)
            if filler.audio_done and self._playout.finished(filler.turn, now):
                self.filler = None
                self._report(filler, self._playout.heard_text(filler.turn, now), interrupted=False)
                self._release(now)
        reply = self.reply
        if reply is None:
            return None
        if reply.backlog:
            self._release(now)
        if reply.sounded and not reply.caller_reported and not self._playout.paused:
            first_packet_at = self._playout.first_packet_at(reply.turn)
            if first_packet_at is not None and now - first_packet_at >= _FINAL_AFTER_S:
                self.report_caller(reply)
        if reply.audio_done and not reply.backlog:
            overtaken = not reply.sounded and now - reply.last_event_at < _LATE_AUDIO_S
            if overtaken or not self._playout.finished(reply.turn, now):
                return None
            self.reply = None
            self.last = reply
            self._close(reply, now, interrupted=False)
            return FloorEvent.FINISHED, reply
        waits = reply.tools_running > 0 or self._playout.paused or self.filler is not None
        if reply.audio_done or waits or self._playout.speaking(now):
            return None
        settings = self._settings
        unheard_limit_s = settings.answer_timeout_s if reply.answers else settings.say_timeout_s
        limit_s = settings.stall_s if reply.sounded else unheard_limit_s
        waited_s = now - max(reply.last_event_at, self._playout.last_heard_at or 0.0)
        return (FloorEvent.TIMED_OUT, reply) if waited_s > limit_s else None

    def end_early(self, reply: Reply, now: float, *, cut_short: bool = True) -> None:
        """No more will come of `reply`: what is queued is played to its end. `cut_short`: it broke off in a phrase."""
        reply.cut_short = cut_short
        reply.backlog = [event for event in reply.backlog if isinstance(event, AgentAudio)]
        reply.backlog.append(AgentAudioDone(reply.turn, reply.revision))
        self._release(now)

    def cut(self, now: float) -> None:
        """The floor is taken from the agent: nothing more is sent, and only what was heard remains."""
        self._flush(now)
        reply, filler = self.reply, self.filler
        self.reply = self.filler = None
        if filler is not None:
            heard = self._playout.heard_text(filler.turn, now)
            self._emit(Interrupt(filler.turn, heard))
            self._report(filler, heard, interrupted=True)
        if reply is not None:
            self._emit(Interrupt(reply.turn, self._playout.heard_text(reply.turn, now) if reply.sounded else ""))
            self.last = reply
            self._close(reply, now, interrupted=True)

    def withdraw(self, now: float) -> Reply | None:
        """The reply was never heard and is taken back without a trace; returns it. A filler is cut."""
        self._flush(now)
        reply, filler = self.reply, self.filler
        self.reply = self.filler = None
        if filler is not None:
            heard = self._playout.heard_text(filler.turn, now)
            self._emit(Interrupt(filler.turn, heard))
            self._report(filler, heard, interrupted=True)
        if reply is not None:
            self._playout.forget(reply.turn, now)
        return reply

    def drop(self, reply: Reply) -> None:
        """`reply` will not come; it has not sounded."""
        if reply is self.filler:
            self.filler = None
        elif reply is self.reply:
            self.reply = None
            self.last = reply
            self.report_caller(reply)

    def hold(self, now: float) -> None:
        """Nothing sounds until `unhold`."""
        self.held = True
        self._transport.pause(now)

    def unhold(self, now: float) -> None:
        """Go on. What waits has not been late while the call was on hold."""
        self.held = False
        self._transport.resume(now)
        for reply in (self.reply, self.filler):
            if reply is not None:
                reply.last_event_at = now

    def close(self, now: float) -> None:
        """The call is over: account for what was being said."""
        reply, filler = self.reply, self.filler
        self.reply = self.filler = None
        if filler is not None:
            self._report(filler, self._playout.heard_text(filler.turn, now), interrupted=True)
        if reply is not None:
            self._close(reply, now, interrupted=True)
        self._flush(now)

    def report_caller(self, reply: Reply) -> None:
        """The caller's turn can no longer be taken back: tell it, once its words are known."""
        if reply.answers and not reply.caller_reported and reply.caller_text:
            reply.caller_reported = True
            self._emit(CallerTurn(reply.turn, reply.caller_text, reply.timeline.get("speech_end", reply.begun_at)))

    def _flush(self, now: float) -> None:
        self._transport.flush(now)  # which ends a pause
        if self.held:
            self._transport.pause(now)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _release(self, now: float) -> None:
        """Use what the reply with the floor has, unless a filler is still being delivered."""
        reply, filler = self.reply, self.filler
        if reply is None or not reply.backlog:
            return
        if reply.answers and not reply.sounded and self._stirring(now):
            return
        if filler is not None:
            optional = filler.kind is ReplyKind.FILLER
            if optional and not filler.sounded and any(isinstance(event, AgentAudio) for event in reply.backlog):
                self.filler = None  # the answer was quicker
                self._emit(Interrupt(filler.turn, ""))
            elif not filler.audio_done:
                return
        backlog, reply.backlog = reply.backlog, []
        for event in backlog:
            self._use(reply, event, now)

    def _use(self, reply: Reply, event: AgentAudio | AgentAudioDone | ToolCall, now: float) -> None:
        if isinstance(event, AgentAudio):
            if (reply.audio_done and not reply.done_first) or not (event.audio or event.text):
                return
            if not reply.sounded:
                reply.sounded = True
                self._gate.close()
            self._transport.play(reply.turn, event.audio, event.text, now)
            self._said(event.text)
        elif isinstance(event, AgentAudioDone):
            self._done(reply, now)
        else:
            reply.used_tools = True
            reply.tools_running += 1
            self.report_caller(reply)
            arguments = json.dumps(event.arguments, ensure_ascii=False)
            self._history.tool_called(reply.turn, ToolUse(event.tool_call_id, event.name, arguments))
            self._emit(RunTool(event.turn, event.revision, event.tool_call_id, event.name, event.arguments))

    def _done(self, reply: Reply, now: float) -> None:
        if not reply.audio_done:
            reply.audio_done = True
            reply.done_first = not reply.sounded
            self._playout.end_turn(reply.turn, now, cut_short=reply.cut_short)

    def _close(self, reply: Reply, now: float, *, interrupted: bool) -> None:
        heard = self._playout.heard_text(reply.turn, now) if reply.sounded else ""
        self._history.agent(reply.turn, heard)
        if interrupted and reply.follow_up is not None:
            self._history.tool_note(reply.follow_up[0], INTERRUPTED)
        self.report_caller(reply)
        self._report(reply, heard, interrupted=interrupted)

    def _report(self, reply: Reply, heard: str, *, interrupted: bool) -> None:
        if not reply.sounded and not reply.answers:
            return
        timeline = reply.timeline
        first_packet_at = self._playout.first_packet_at(reply.turn) if reply.sounded else None
        if first_packet_at is not None:
            timeline["first_packet"] = first_packet_at
            heard_end = self._playout.last_heard_at
            if heard_end is not None:
                timeline["heard_end"] = heard_end
        self._emit(AgentTurn(reply.turn, heard, interrupted, reply.source, timeline))
