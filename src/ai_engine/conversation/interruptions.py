"""What the caller says over the agent: the agent pauses, the words or the length decide, and somebody has the floor.

`voice_core.interruption` holds the rules of one decision; this carries it out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.closing import Closing
from ai_engine.conversation.decisions import Announce, Decision
from ai_engine.conversation.turns import Reply, ReplyKind
from ai_engine.media.transport import MediaTransport
from voice_core.gate import Gate
from voice_core.interruption import Verdict
from voice_core.words import asks_about_now, tokens

_SOON_ANSWERED_S: Final = 0.4
"""So long after a question people begin to answer it, whatever the agent says by then."""

_JOINS_S: Final = 0.3
"""Nobody reacts to an answer so soon after its first sound: who speaks by then goes on with what he was saying."""


class Interruptions:
    """Emits `Announce`; whatever else is decided goes through the two floors."""

    def __init__(
        self,
        transport: MediaTransport,
        agent: AgentFloor,
        caller: CallerFloor,
        gate: Gate,
        closing: Closing,
        *,
        on_words: Callable[[], None],
        emit: Callable[[Decision], None],
    ) -> None:
        """`on_words`: the caller has said something that counts."""
        self._transport = transport
        self._playout = transport.played
        self._agent = agent
        self._caller = caller
        self._gate = gate
        self._closing = closing
        self._on_words = on_words
        self._emit = emit

    def suspect(self, now: float) -> None:
        """A sound over the agent: he pauses until it is known what it was."""
        self._transport.pause(now)
        reply = self._agent.filler or self._agent.reply
        if reply is not None:
            greeting = reply.kind is ReplyKind.GREETING
            self._caller.suspect_interruption(after_question=self._just_asked(reply, now), greeting=greeting)

    def _just_asked(self, reply: Reply, now: float) -> bool:
        """The caller began to speak in the last words of a question of `reply`, or soon after them."""
        text, playout = self._playout.text(reply.turn), self._playout
        since_s = max(0.0, now - self._caller.voice.started_at)
        heard = (playout.heard_text(reply.turn, now, ago_s=since_s + ago_s) for ago_s in (0.0, _SOON_ANSWERED_S))
        return any(asks_about_now(text, part) for part in heard)

    def tick(self, now: float) -> None:
        """Time passed while an interruption is suspected."""
        caller = self._caller
        voice, interruption, suspect = caller.voice, caller.interruption, caller.suspect
        if interruption is None or suspect is None:
            return
        if self._agent.free:  # the agent had said everything already
            self._transport.resume(now)
            caller.promote_suspect()
            return
        verdict = interruption.tick(now, speaking=voice.speaking, voiced_until=voice.voiced_until)
        if verdict is Verdict.TRANSCRIBE:
            caller.decode(suspect, now)
        elif verdict is Verdict.COMMIT or (verdict is Verdict.KEEP and self._closing.begun):
            self.commit(now, interruption.text or "")
        elif verdict is not None:
            kept = verdict is Verdict.KEEP
            if kept:
                voice.confirmed()
                self._on_words()
            elif not tokens(interruption.text or ""):
                voice.false_alarm()
                if self._agent.reply is not None:
                    self._agent.reply.false_alarms += 1
            caller.drop_suspect(keep=kept, judged=True)
            self._transport.resume(now)
            self._emit(Announce("kept" if kept else "resumed", now, interruption.text or ""))

    def commit(self, now: float, detail: str) -> None:
        """What the caller says over the agent takes the floor; or is the rest of his turn, which had not been over."""
        self._caller.voice.confirmed()
        reply = self._agent.reply
        if reply is not None and self._goes_on(reply, now):
            self._agent.withdraw(now)
            self._gate.committed()
            self._taken()
            self._caller.join(reply)
            self._emit(Announce("took_back", now, detail))
            return
        self.take_floor(now, detail)
        self._caller.promote_suspect()

    def _goes_on(self, reply: Reply, now: float) -> bool:
        """The caller began to speak as the first sound of `reply` came."""
        suspect, heard_at = self._caller.suspect, self._playout.first_heard_at(reply.turn, now)
        soon = suspect is not None and heard_at is not None and suspect.started_at - heard_at <= _JOINS_S
        return reply.answers and soon and self._agent.filler is None and self._caller.may_join(reply)

    def take_floor(self, now: float, detail: str) -> None:
        """What the agent says ends here, for the reason `detail`."""
        self._agent.cut(now)
        self._gate.committed()
        self._taken()
        self._emit(Announce("barge_in", now, detail))

    def _taken(self) -> None:
        """The floor is the caller's: he is there."""
        self._closing.call_off()
        self._on_words()

    def drop(self, now: float) -> None:
        """What was suspected does not matter any more: the agent may go on."""
        if self._caller.interruption is not None:
            self._caller.drop_suspect()
            self._transport.resume(now)
