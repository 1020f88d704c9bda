"""Where a provider's events end up: the reply or the utterance they belong to, or nowhere.

The one place that tells living events from stale ones. An event lives when its turn and revision are those of a reply
that has the floor, bridges the wait, is being prepared, or only asks what the caller said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.decisions import Decision, Forget
from ai_engine.conversation.full_duplex import TurnEvent
from ai_engine.conversation.turns import Reply, ReplyKind, Utterance
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    CallerSpeech,
    ProviderFailed,
    StageReached,
    ToolCall,
    WordsRead,
)
from voice_core.gate import Gate
from voice_core.history import History
from voice_core.words import tokens


class OnFailed(Protocol):
    """A reply that has, or should have had, the floor has failed."""

    def __call__(self, reply: Reply, now: float, *, retryable: bool) -> None: ...


class ProviderEvents:
    """Hands each event on. Emits `Forget`, for a turn that turns out to hold no words."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        gate: Gate,
        history: History,
        *,
        on_failed: OnFailed,
        on_words: Callable[[Reply, str, float], bool],
        emit: Callable[[Decision], None],
    ) -> None:
        self._agent = agent
        self._caller = caller
        self._gate = gate
        self._history = history
        self._on_failed = on_failed
        self._on_words = on_words
        """Told the words of an adopted turn; True when its reply is thereby done with."""
        self._emit = emit
        self.stale = 0
        """Events so far that belonged to nothing alive."""

    def take(self, event: TurnEvent, now: float) -> None:
        """One event, in the order of the stream."""
        words = event if isinstance(event, CallerSpeech) else None
        reply = self._reply_of(event.turn, event.revision, words=words is not None)
        spoken = self._caller.speaker_of(words) if reply is None and words is not None else None
        if reply is not None:
            self._to_reply(event, reply, now)
        elif spoken is not None and words is not None:
            self._streamed(words, spoken, now)
        else:
            self.stale += 1

    def _reply_of(self, turn: int, revision: int, *, words: bool) -> Reply | None:
        """The living reply with these numbers. The caller's words may come after all was said."""
        utterance = self._caller.utterance
        attempt = utterance.attempt if utterance is not None else None
        last = self._agent.last if words else None
        for reply in (self._agent.reply, self._agent.filler, attempt, self._caller.probe, last):
            if reply is not None and reply.turn == turn and reply.revision == revision:
                return reply
        return None

    def _to_reply(self, event: TurnEvent, reply: Reply, now: float) -> None:
        if isinstance(event, CallerSpeech):
            self._understood(event.text.strip(), event.confidence, reply, now)
        elif isinstance(event, WordsRead):
            utterance = self._caller.utterance
            if utterance is not None and reply is utterance.attempt:
                self._caller.end_of_turn.answer_found(settled=event.settled)
        elif isinstance(event, AgentAudio | AgentAudioDone | ToolCall):
            if reply.kind is not ReplyKind.PROBE:
                self._agent.hear_audio(reply, event, now)
        elif isinstance(event, StageReached):
            reply.last_event_at = now
            reply.timeline.setdefault(event.stage, event.at)
            if event.detail:
                reply.source = event.detail
        elif isinstance(event, ProviderFailed):
            self._failed(event, reply, now)

    def _failed(self, event: ProviderFailed, reply: Reply, now: float) -> None:
        caller = self._caller
        if reply is caller.probe:
            caller.probe = None
            if caller.interruption is not None:
                caller.interruption.failed()
        elif caller.utterance is not None and reply is caller.utterance.attempt:
            caller.utterance.attempt = None
            caller.utterance.speculation_failed = True
        else:
            self._on_failed(reply, now, retryable=event.retryable)

    def _understood(self, text: str, confidence: float | None, reply: Reply, now: float) -> None:
        """What the caller said in the turn that `reply` answers."""
        caller = self._caller
        if reply is caller.probe:
            caller.probe = None
            if caller.interruption is not None:
                caller.interruption.transcript(text, confidence)
            return
        if not reply.answers:
            return
        reply.last_event_at = now
        reply.caller_text = text
        if caller.utterance is not None and reply is caller.utterance.attempt:
            caller.end_of_turn.transcript(text)
        elif tokens(text):
            if self._on_words(reply, text, now):
                return
            self._history.caller(reply.turn, text)
            if reply is self._agent.last:
                self._agent.report_caller(reply)
        elif reply is self._agent.reply and not reply.sounded:  # adopted, and there are no words in it
            self._agent.withdraw(now)
            self._gate.committed()
            self._emit(Forget(reply.turn))
            self._history.withdraw(reply.turn)
            caller.adopted = None

    def _streamed(self, event: CallerSpeech, spoken: Utterance, now: float) -> None:
        """Words of a streaming STT that name no revision."""
        text = self._caller.streamed(event, spoken)
        reply = self._agent.reply
        if spoken is self._caller.adopted and reply is not None and reply.turn == spoken.turn and tokens(text):
            reply.caller_text = text
            if event.final and self._on_words(reply, text, now):
                return
            self._history.caller(spoken.turn, text)
