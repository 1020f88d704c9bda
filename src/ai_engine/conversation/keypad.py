"""What the caller types: collected until it is complete, then a turn of its own, or what somebody waits for."""

from __future__ import annotations

import math
from collections.abc import Callable

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.decisions import Adopt, Decision, KeysTyped, Speculate
from ai_engine.conversation.key_input import END_KEY, KeyRequest, KeyRules, Keys, KeysEnd, SecretQuestions
from ai_engine.conversation.turns import Reply, ReplyKind, Utterance
from voice_core.history import History


class Keypad:
    """Digits and their turn. Emits `Speculate` and `Adopt`, and `KeysTyped` for a request."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        history: History,
        *,
        wait_s: float,
        next_turn: Callable[[], int],
        emit: Callable[[Decision], None],
        rules: KeyRules,
        questions: SecretQuestions,
    ) -> None:
        """`wait_s` after the last digit the input is complete, unless `rules` have another; `#` completes it at once.

        `questions` is told what the agent says.
        """
        self._rules = rules
        self._agent = agent
        self._caller = caller
        self._history = history
        self._wait_s = wait_s if rules.wait_s is None else rules.wait_s
        self._next_turn = next_turn
        self._emit = emit
        self._questions = questions
        self._typed = ""
        self._typed_secretly = False
        self._last_at = -math.inf
        self._last_secret = ""
        self._waited_since = -math.inf
        self.request: KeyRequest | None = None
        """What is waited for: the next input is no turn of the conversation."""

    # --- what comes ---------------------------------------------------------------------------------------------------

    def press(self, digit: str, now: float) -> None:
        self._typed_secretly = self._typed_secretly or self.secret
        self._typed += digit
        self._last_at = now if digit != END_KEY else -math.inf

    def caller_spoke(self) -> None:
        """He said something; that answers a request, too."""
        self._questions.caller_spoke()
        if self.request is not None and not self._typed:
            self._end_request("spoke")

    # --- what has come ------------------------------------------------------------------------------------------------

    @property
    def secret(self) -> bool:
        """Whether what is typed now is nobody's business."""
        asked = self.request is not None and self.request.secret
        return self._rules.secret or asked or self._questions.asked or self._typed_secretly

    def complete(self, now: float) -> bool:
        """There is input, and no more of it is expected."""
        if not self._typed:
            return False
        wait_s, most = self._wait_s, self._rules.max_keys
        if self.request is not None:
            wait_s = wait_s if self.request.wait_s is None else self.request.wait_s
            most = self.request.max_keys
        return now - self._last_at >= wait_s or 0 < most <= len(self._typed)

    def take(self) -> Keys:
        """The keys pressed so far, which are thereby used up."""
        keys = Keys(self._typed, self._typed_secretly)
        self._typed, self._typed_secretly = "", False
        self._questions.typed()
        if keys.secret:
            self._last_secret = keys.digits
        return keys

    def take_secret(self) -> str:
        """The digits of the last input that was secret, once; "" where there are none."""
        digits, self._last_secret = self._last_secret, ""
        return digits

    def answer(self, keys: Keys, now: float) -> None:
        """Have `keys` answered as if they had been said. The floor has to be free."""
        text = f"[keypad] {keys.shown}"
        reply = Reply(self._next_turn(), 1, ReplyKind.ANSWER, now, text=text, caller_text=text)
        reply.timeline = {"speech_end": now, "end_of_turn": now}
        self._emit(Speculate(reply.turn, 1, self._history.messages(), text))
        self._emit(Adopt(reply.turn, 1))
        self._history.caller(reply.turn, text)
        self._caller.adopted = Utterance(reply.turn, now, now, revision=1)
        self._agent.take(reply, now)

    # --- a request ----------------------------------------------------------------------------------------------------

    def ask(self, request: KeyRequest, now: float) -> None:
        """The next input is for `request`; what has been typed already and is not used up belongs to it."""
        if self.request is not None:
            self._end_request("replaced")
        self.request = request
        self._waited_since = now
        self._typed_secretly = bool(self._typed) and (self._typed_secretly or request.secret)

    def call_off(self, request_id: str) -> None:
        """Nobody waits any more; nothing is told of it. What was typed for it, in part, is thrown away."""
        if self.request is not None and self.request.id == request_id:
            self.request = None
            self._typed, self._typed_secretly = "", False

    def tick_request(self, now: float, *, speaking: bool, is_set: Callable[[Keys], bool]) -> None:
        """Time passed for the request. `speaking`: the agent is heard. `is_set`: the keys act by themselves."""
        if self.complete(now):
            keys = self.take()
            if is_set(keys):
                self._end_request("set_phrase")
            else:
                self._end_request("complete", keys)
        elif speaking or self._typed:
            self._waited_since = now
        elif self.request is not None and now - self._waited_since >= self.request.first_key_s:
            self._end_request("none")

    def _end_request(self, how: KeysEnd, keys: Keys | None = None) -> None:
        request, self.request = self.request, None
        if request is not None:
            self._emit(KeysTyped(request.id, how, keys))
