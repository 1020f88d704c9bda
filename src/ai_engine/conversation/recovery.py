"""What is done when an answer fails: once more, an apology, and after too many of them the fallback.

The caller hears speech all the same. What has already come of an answer is played to its end before the apology; a
sentence that was only to be spoken is taken from the pre-rendered store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.decisions import Adopt, Announce, Decision, Discard, Interrupt, Speculate
from ai_engine.conversation.turns import Reply, ReplyKind, Utterance
from voice_core.history import History


class Say(Protocol):
    """Have a sentence spoken as a turn of its own."""

    def __call__(
        self, kind: ReplyKind, text: str, now: float, *, interruptible: bool = True, rendered_only: bool = False
    ) -> Reply: ...


class Recovery:
    """Counts failed turns in a row."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        history: History,
        *,
        max_failures: int,
        apology: str,
        say: Say,
        hand_on: Callable[[float], None],
        emit: Callable[[Decision], None],
    ) -> None:
        """`hand_on(now)` is called instead of the apology once `max_failures` turns have failed in a row."""
        self._agent = agent
        self._caller = caller
        self._history = history
        self._max_failures = max_failures
        self._apology = apology
        self._say = say
        self._hand_on = hand_on
        self._emit = emit
        self._in_a_row = 0

    def finished(self, reply: Reply, now: float) -> None:
        """`reply` was heard to its end, or as far as it came."""
        if reply.failed:
            self._apologise(now)
        elif reply.answers:
            self._in_a_row = 0

    def failed(self, reply: Reply, now: float, *, retryable: bool) -> None:
        """Nothing more will come of `reply`, which has or should have had the floor."""
        self._emit(Announce("failed", now, reply.kind.value))
        if reply.sounded:
            reply.failed = reply.answers
            self._agent.end_early(reply, now)
        elif reply.answers:
            utterance = self._caller.adopted
            once_more = not (reply.retried or reply.used_tools)  # a tool is not run twice
            retryable = retryable and once_more and self._caller.interruption is None
            if retryable and utterance is not None and utterance.turn == reply.turn:
                self._retry(reply, utterance, now)
                return
            self._agent.drop(reply)
            self._emit(Interrupt(reply.turn, ""))
            self._apologise(now)
        else:
            self._agent.drop(reply)
            if reply.kind is not ReplyKind.FILLER and not reply.rendered_only:
                self._say(reply.kind, reply.text, now, interruptible=reply.interruptible, rendered_only=True)

    def _retry(self, reply: Reply, utterance: Utterance, now: float) -> None:
        """The same turn once more, under the next revision."""
        utterance.revision += 1
        again = reply.once_more(utterance.revision, now)
        self._history.withdraw(reply.turn)
        self._emit(Discard(reply.turn, reply.revision))
        self._emit(Speculate(again.turn, again.revision, self._history.messages(), again.text))
        self._emit(Adopt(again.turn, again.revision))
        self._history.caller(again.turn, again.caller_text or "")
        self._agent.take(again, now)

    def _apologise(self, now: float) -> None:
        self._caller.adopted = None
        self._in_a_row += 1
        if self._in_a_row >= self._max_failures:
            self._hand_on(now)
        elif self._apology and self._agent.reply is None:
            self._say(ReplyKind.APOLOGY, self._apology, now, rendered_only=True)
