"""Turns that are answered by the configuration, whatever the language model thinks of them.

The caller's words decide before anything of an answer is used: what was prepared is thrown away without a trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.closing import Closing
from ai_engine.conversation.decisions import Announce, CallerTurn, Decision, Ending, Forget
from ai_engine.conversation.key_input import Keys
from ai_engine.conversation.recovery import Say
from ai_engine.conversation.turns import Reply, ReplyKind, Utterance
from ai_engine.conversation.waiting import Close
from voice_core.gate import Gate
from voice_core.history import History
from voice_core.set_phrases import SetPhrases


@dataclass(frozen=True, slots=True)
class SetAnswer:
    """What is done about one set phrase."""

    text: str = ""
    then: Ending | None = None
    """After `text` was heard; None: the conversation goes on."""


@dataclass(frozen=True, slots=True)
class SetAnswers:
    """The phrases of a persona and what each does, by its id."""

    phrases: SetPhrases
    answers: Mapping[str, SetAnswer]


class SetTurns:
    """Emits `Forget`, `CallerTurn` and `Announce`; speaks and closes through `say` and `close`."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        gate: Gate,
        history: History,
        set_answers: SetAnswers | None,
        *,
        closing: Closing,
        next_turn: Callable[[], int],
        say: Say,
        close: Close,
        emit: Callable[[Decision], None],
    ) -> None:
        self._agent = agent
        self._caller = caller
        self._gate = gate
        self._history = history
        self._closing = closing
        self._set = set_answers
        self._next_turn = next_turn
        self._say = say
        self._close = close
        self._emit = emit
        self._acted_on = 0
        """The last turn that was a set phrase."""

    def finished(self, utterance: Utterance, text: str, now: float) -> bool:
        """The caller's turn is over and says `text`; True when it was a set phrase and is dealt with."""
        found = self._set.phrases.match(text) if self._set is not None else None
        if found is None:
            return False
        self._caller.forget(utterance)
        self._act(found, utterance.turn, text, self._caller.voice.voiced_until, now)
        return True

    def understood(self, reply: Reply, text: str, now: float) -> bool:
        """The words of an adopted turn came late; True when `reply` to it is thrown away because of them."""
        if self._set is None or self._closing.begun or reply.turn == self._acted_on:
            return False
        if reply is not self._agent.reply and not (self._agent.free and self._caller.utterance is None):
            return False
        found = self._set.phrases.match(text)
        if found is None:
            return False
        if reply is self._agent.reply and not reply.sounded and not reply.used_tools:
            self._agent.withdraw(now)
            self._gate.committed()
            self._emit(Forget(reply.turn))
        elif not self._agent.free:
            self._agent.cut(now)
            self._caller.drop_suspect()
            self._gate.committed()
        self._caller.adopted = None
        self._act(found, reply.turn, text, reply.timeline.get("speech_end", now), now)
        return True

    def heard_by_provider(self, turn: int, text: str, now: float) -> bool:
        """The same for a provider that takes turns by itself; it has to be told to keep silent."""
        found = self._set.phrases.match(text) if self._set is not None else None
        if found is None or turn == self._acted_on:
            return False
        if not self._agent.free:
            self._agent.cut(now)
        self._act(found, turn, text, now, now)
        return True

    def typed(self, keys: Keys, now: float) -> bool:
        """The keypad's input is complete; True when it stands for a set phrase."""
        found = self._set.phrases.match_keys(keys.typed) if self._set is not None else None
        if found is None:
            return False
        self._act(found, self._next_turn(), f"[keypad] {keys.shown}", now, now)
        return True

    def has_key(self, digit: str) -> bool:
        """That key alone stands for a set phrase."""
        return self._set is not None and self._set.phrases.match_keys(digit) is not None

    def _act(self, found: str, turn: int, text: str, spoken_until: float, now: float) -> None:
        assert self._set is not None
        answer = self._set.answers[found]
        self._acted_on = turn
        self._history.caller(turn, text)
        self._emit(CallerTurn(turn, text, spoken_until))
        self._emit(Announce("set_phrase", now, found))
        if answer.then is not None:
            self._close(answer.then, answer.text, now)
        else:
            reply = self._say(ReplyKind.SET_ANSWER, answer.text, now)
            reply.source = f"set:{found}"
            reply.timeline |= {"speech_end": spoken_until, "end_of_turn": now}
