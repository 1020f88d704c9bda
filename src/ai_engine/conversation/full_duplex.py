"""Conversations whose provider takes turns by itself (`owns_turn_taking`).

The caller's audio passes straight on; the provider's events drive the playout. The provider numbers its turns upwards
from the greeting's. Words of the caller (`CallerSpeech`, the text may still be empty) for a turn above the one that
sounds mean that the provider has heard the caller take the floor: what is queued is flushed and `Interrupt` says what
was heard.
"""

from __future__ import annotations

from collections.abc import Callable

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.decisions import CallerTurn, Decision, Interrupt
from ai_engine.conversation.turns import Reply, ReplyKind
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    AgentText,
    CallerSpeech,
    ProviderFailed,
    StageReached,
    ToolCall,
    WordsRead,
)
from voice_core.history import History

TurnEvent = (
    AgentAudio | AgentAudioDone | CallerSpeech | WordsRead | AgentText | ToolCall | StageReached | ProviderFailed
)


class FullDuplex:
    """Follows the provider's turns; makes a reply of each. One that comes early waits until the last was heard."""

    def __init__(self, agent: AgentFloor, history: History, emit: Callable[[Decision], None]) -> None:
        self._agent = agent
        self._history = history
        self._emit = emit
        self._newest = 0
        """The newest turn that a reply was made for, or whose reply the caller cut."""
        self._next: Reply | None = None

    @property
    def caller_turn(self) -> int:
        """What caller audio is labelled with."""
        return self._newest + 1

    def admit(self, event: TurnEvent, now: float) -> bool:
        """Make room for `event`; True when it is to go on to the reply it belongs to."""
        if isinstance(event, CallerSpeech):
            self._caller_speech(event, now)
            return False
        reply, waiting = self._agent.reply, self._next
        if waiting is not None and waiting.turn == event.turn:
            if isinstance(event, AgentAudio | AgentAudioDone | ToolCall):
                self._agent.hear_audio(waiting, event, now)
            return False
        if isinstance(event, AgentAudio | ToolCall) and event.turn > self._newest:
            if reply is not None and reply.turn == event.turn:  # the greeting, which the call asked for
                self._newest = event.turn
                return True
            self._begin(event, now)
            return False
        return True

    def tick(self, now: float) -> None:
        """The reply that waits gets the floor once it is free."""
        if self._next is not None and self._agent.free:
            reply, self._next = self._next, None
            self._agent.take(reply, now)

    def refuse(self, turn: int) -> None:
        """No answer to the caller's `turn` is wanted."""
        self._next = None
        self._newest = max(self._newest, turn)
        self._emit(Interrupt(turn, ""))

    def _begin(self, event: AgentAudio | ToolCall, now: float) -> None:
        self._newest = event.turn
        new = Reply(event.turn, event.revision, ReplyKind.ANSWER, now, source="agent", last_event_at=now)
        new.backlog.append(event)
        if self._agent.free:
            self._agent.take(new, now)
            return
        if self._agent.reply is not None and not self._agent.reply.audio_done:
            self._agent.end_early(self._agent.reply, now, cut_short=False)
        self._next = new

    def _caller_speech(self, event: CallerSpeech, now: float) -> None:
        reply = self._agent.reply
        if reply is not None and event.turn > reply.turn and reply.interruptible:
            self._agent.cut(now)
            self._next = None
            self._newest = max(self._newest, event.turn - 1)
        text = event.text.strip()
        if event.final and text:
            self._history.caller(event.turn, text)
            self._emit(CallerTurn(event.turn, text, now))
