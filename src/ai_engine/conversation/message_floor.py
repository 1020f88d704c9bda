"""The floor while a caller leaves a message: nobody takes turns then, and there is one message at a time."""

from __future__ import annotations

from collections.abc import Callable

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.decisions import Decision
from ai_engine.conversation.interruptions import Interruptions
from ai_engine.conversation.message_taking import MessageRequest, MessageTaking
from ai_engine.media.transport import MediaTransport
from voice_core.gate import Gate


class MessageFloor:
    """Clears the floor for a message; what is emitted then is the message's own."""

    def __init__(
        self,
        transport: MediaTransport,
        agent: AgentFloor,
        caller: CallerFloor,
        gate: Gate,
        interruptions: Interruptions,
        *,
        transcribes: bool,
        emit: Callable[[Decision], None],
    ) -> None:
        """`transcribes`: False where the provider cannot be asked for a transcript alone."""
        self._transport = transport
        self._agent = agent
        self._caller = caller
        self._gate = gate
        self._interruptions = interruptions
        self._transcribes = transcribes
        self._emit = emit
        self.message: MessageTaking | None = None
        """The caller leaves one, or its last words are being transcribed."""

    @property
    def taken(self) -> bool:
        """By the caller's message."""
        return self.message is not None and self.message.has_floor

    def take(self, request: MessageRequest, now: float) -> bool:
        """Whatever was being said ends, and the caller is asked for his message. False: he is leaving one already."""
        if self.taken:
            return False
        if self.message is not None:
            self.message.call_over(now)
        self._interruptions.drop(now)
        self._caller.forget_turn()
        if not self._agent.free:
            self._agent.cut(now)
        self.message = MessageTaking(
            request,
            self._agent,
            self._caller,
            self._gate,
            self._transport,
            transcribes=self._transcribes,
            say=self._agent.say,
            emit=self._emit,
        )
        self.message.begin(now)
        return True

    def tick(self, now: float) -> None:
        """Every 20 ms, while there is a message."""
        if self.message is not None:
            self.message.tick(now)
            if self.message.over:
                self.message = None
