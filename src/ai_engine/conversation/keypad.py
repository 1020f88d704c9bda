"""What the caller types: collected until it is complete, then a turn of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.decisions import Adopt, Decision, Speculate
from ai_engine.conversation.turns import Reply, ReplyKind, Utterance
from voice_core.history import History


class Keypad:
    """Digits and their turn. Emits `Speculate` and `Adopt`."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        history: History,
        *,
        wait_s: float,
        next_turn: Callable[[], int],
        emit: Callable[[Decision], None],
    ) -> None:
        """`wait_s` after the last digit the input is complete; `#` completes it at once."""
        self._agent = agent
        self._caller = caller
        self._history = history
        self._wait_s = wait_s
        self._next_turn = next_turn
        self._emit = emit
        self._keys = ""
        self._last_at = -math.inf

    def press(self, digit: str, now: float) -> None:
        self._keys += digit
        self._last_at = now if digit != "#" else -math.inf

    def complete(self, now: float) -> bool:
        """There is input, and no more of it is expected."""
        return bool(self._keys) and now - self._last_at >= self._wait_s

    def take(self) -> str:
        """The keys pressed so far, which are thereby used up."""
        keys, self._keys = self._keys, ""
        return keys

    def answer(self, keys: str, now: float) -> None:
        """Have `keys` answered as if they had been said. The floor has to be free."""
        text = f"[keypad] {keys}"
        reply = Reply(self._next_turn(), 1, ReplyKind.ANSWER, now, text=text, caller_text=text)
        reply.timeline = {"speech_end": now, "end_of_turn": now}
        self._emit(Speculate(reply.turn, 1, self._history.messages(), text))
        self._emit(Adopt(reply.turn, 1))
        self._history.caller(reply.turn, text)
        self._caller.adopted = Utterance(reply.turn, now, now, revision=1)
        self._agent.take(reply, now)
