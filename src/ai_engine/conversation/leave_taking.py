"""Taking leave: whatever was being said makes room for the last sentence, which a caller may still keep from being it.

`Closing` says when the call ends; this carries it out.
"""

from __future__ import annotations

from collections.abc import Callable

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.closing import Closing
from ai_engine.conversation.decisions import Ending, FallBack
from ai_engine.conversation.interruptions import Interruptions
from ai_engine.conversation.message_floor import MessageFloor
from ai_engine.conversation.turns import ReplyKind
from voice_core.playout import Playout


class LeaveTaking:
    """Decides through `Closing` and the two floors."""

    def __init__(
        self,
        playout: Playout,
        agent: AgentFloor,
        caller: CallerFloor,
        closing: Closing,
        interruptions: Interruptions,
        *,
        messages: MessageFloor,
        giving_up: str,
        unhold: Callable[[float], None],
    ) -> None:
        """`giving_up` is said to a caller who is handed on. `unhold(now)`: a call on hold goes on."""
        self._playout = playout
        self._agent = agent
        self._caller = caller
        self._closing = closing
        self._interruptions = interruptions
        self._messages = messages
        self._giving_up = giving_up
        self._unhold = unhold

    def close(
        self, decision: Ending, text: str, now: float, *, rendered_only: bool = False, revocable: bool = False
    ) -> None:
        """Say the last sentence; `decision` follows when it was heard.

        `revocable`: unless the caller says something.
        """
        if self._closing.begun:
            if not revocable:
                self._closing.insist()
                self._interruptions.drop(now)  # who has begun to speak over the farewell no longer keeps the call
            return
        self._unhold(now)
        if self._messages.message is not None:
            self._messages.message.stop("stopped", now)
        self._interruptions.drop(now)
        self._caller.forget_turn()
        if not self._agent.free or self._playout.speaking(now):
            self._agent.cut(now)
        self._closing.begin(decision, now, revocable=revocable)
        if text:
            self._agent.say(ReplyKind.FAREWELL, text, now, interruptible=revocable, rendered_only=rendered_only)
        else:
            self._closing.finish()

    def hand_on(self, now: float) -> None:
        """There is no getting answers any more."""
        self.close(FallBack("the provider failed"), self._giving_up, now, rendered_only=True)

    def tick(self, now: float) -> None:
        """The farewell is being said; a caller who speaks over one that is for his silence keeps the call."""
        overdue = self._closing.tick(now, sounding=self._playout.speaking(now))
        if self._caller.interruption is not None:
            self._interruptions.tick(now)
        elif overdue:
            self._agent.cut(now)
            self._closing.finish()
