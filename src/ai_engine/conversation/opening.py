"""How a call begins: who speaks first, the greeting, and the sentence that tells the caller what he talks with.

The disclosure is the greeting's beginning and cannot be interrupted. Where the caller speaks first, it is said before
the first answer; until it was heard to its end once, it is said again before the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.conversation_settings import ConversationSettings, GreetingMode, Phrases
from ai_engine.conversation.recovery import Say
from ai_engine.conversation.turns import Reply, ReplyKind
from voice_core.playout import Playout
from voice_core.speakable import speakable
from voice_core.words import tokens


class Opening:
    """The first words of a call. Speaks through `say`."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        playout: Playout,
        settings: ConversationSettings,
        phrases: Phrases,
        *,
        in_turns: bool,
        is_greeting: Callable[[str], bool],
        say: Say,
    ) -> None:
        """`in_turns`: False where the provider takes turns by itself; then nothing can be put before its answers."""
        self._agent = agent
        self._caller = caller
        self._playout = playout
        self._mode = settings.greeting_mode
        self._interruptible = settings.greeting_interruptible
        self._greeting = phrases.greeting
        self._disclosure = phrases.disclosure
        self._in_turns = in_turns
        self._is_greeting = is_greeting
        self._say = say
        self._due_in_s = {
            GreetingMode.AGENT: settings.greeting_delay_s,
            GreetingMode.WAIT: settings.greeting_wait_s,
            GreetingMode.NONE: math.inf,
        }[self._mode]
        self._over = False
        self._untold = bool(phrases.disclosure)
        self._telling: Reply | None = None
        self._last = 0.0

    @property
    def greeting_pending(self) -> bool:
        """The greeting is still to come: until then nobody has to be asked whether he is there."""
        return not self._over and self._due_in_s < math.inf and bool(self._greeting)

    def start(self, now: float) -> None:
        """The caller is connected."""
        self._last = now
        if not self._in_turns and self._untold and self._mode is not GreetingMode.AGENT:
            self._telling = self._say(ReplyKind.GREETING, self._disclosure, now, interruptible=False)
        elif self._due_in_s <= 0:
            self._greet(now)

    def tick(self, now: float, *, on_hold: bool = False) -> None:
        """Time passed; that in which somebody speaks, or the call is on hold, is not counted."""
        passed_s = max(0.0, now - self._last)
        self._last = now
        telling = self._telling
        if telling is not None and telling is not self._agent.reply and telling is not self._agent.filler:
            self._untold = not self._heard(telling, now)
            self._telling = None
        if self._over or on_hold:
            return
        caller = self._caller
        busy = caller.utterance is not None or caller.interruption is not None or caller.voice.speaking
        if not busy and self._agent.free:
            self._due_in_s -= passed_s
            if self._due_in_s <= 0:
                self._greet(now)

    def told(self, now: float) -> bool:
        """What the caller has to be told he has heard to its end, or there is nothing of that kind."""
        return not self._untold or (self._telling is not None and self._heard(self._telling, now))

    def answers(self, text: str, now: float) -> bool:
        """The caller spoke first, and only said hello: the greeting is the answer to that."""
        if self._over or self._mode is GreetingMode.NONE or not self._greeting or not self._is_greeting(text):
            return False
        self._greet(now)
        return True

    def turn_adopted(self, now: float) -> None:
        """The caller spoke first: no greeting any more. What has to be told is told before the answer."""
        self._over = True
        if self._untold and self._telling is None:
            self._telling = self._say(ReplyKind.DISCLOSURE, self._disclosure, now)

    def caller_spoke(self) -> None:
        """The same where the provider takes the turns."""
        self._over = True

    def _heard(self, telling: Reply, now: float) -> bool:
        told, heard = (_said(text) for text in (self._disclosure, self._playout.heard_text(telling.turn, now)))
        return heard[: len(told)] == told

    def _greet(self, now: float) -> None:
        self._over = True
        told = self._disclosure if self._untold else ""
        text = f"{told} {self._greeting}".strip()
        if not text:
            return
        interruptible = self._interruptible and (self._in_turns or not told)
        reply = self._say(ReplyKind.GREETING, text, now, interruptible=interruptible)
        if told:
            reply.locked_text = told
            self._telling = reply


def _said(text: str) -> list[str]:
    """The words of `text` that a voice says: marks and spaces may be others in what it is given, and signs left out."""
    return tokens(speakable(text))
