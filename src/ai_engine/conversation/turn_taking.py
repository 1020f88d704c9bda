"""When a caller's turn is over, where the conversation decides that and not its provider (`full_duplex`)."""

from __future__ import annotations

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.conversation.interruptions import Interruptions
from ai_engine.conversation.keypad import Keypad
from ai_engine.conversation.onsets import Onsets
from ai_engine.conversation.opening import Opening
from ai_engine.conversation.set_answers import SetTurns
from ai_engine.conversation.turns import Reply, Utterance
from voice_core.end_of_turn import Completeness
from voice_core.silence import SilencePolicy


class TurnTaking:
    """Ends the caller's turns, spoken or typed, and gives the agent the floor."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        settings: ConversationSettings,
        *,
        interruptions: Interruptions,
        onsets: Onsets,
        opening: Opening,
        set_turns: SetTurns,
        keypad: Keypad,
        silence: SilencePolicy,
    ) -> None:
        self._agent = agent
        self._caller = caller
        self._interruptions = interruptions
        self._onsets = onsets
        self._opening = opening
        self._set = set_turns
        self._keypad = keypad
        self._silence = silence
        self._speculation_ms = settings.speculation_ms
        self._long_turn_s = settings.long_turn_s
        self._transcript_s = (settings.wait.unknown_ms - settings.speculation_ms) / 1000

    def tick(self, now: float) -> None:
        """Every 20 ms."""
        caller = self._caller
        self._onsets.tick(now)
        if caller.interruption is not None:
            self._interruptions.tick(now)
        utterance = caller.utterance
        if utterance is not None:
            if not caller.voice.speaking:
                self._tick_pause(utterance, now)
        elif caller.interruption is None and self._agent.free and self._keypad.complete(now):
            keys = self._keypad.take()
            if not self._set.typed(keys, now):
                self._opening.turn_adopted(now)
                self._keypad.answer(keys, now)

    def probably_over(self, turn: int, revision: int, probability: float) -> None:
        """A semantic model's opinion; it counts in the pause in which that revision was begun, and in no other."""
        utterance, voice = self._caller.utterance, self._caller.voice
        attempt = utterance.attempt if utterance is not None else None
        if attempt is None or voice.speaking:
            return
        if (attempt.turn, attempt.revision) == (turn, revision):
            self._caller.end_of_turn.semantic(probability)

    def _tick_pause(self, utterance: Utterance, now: float) -> None:
        """The caller pauses: guess at the end of the turn, then decide on it."""
        caller = self._caller
        pause_ms = caller.voice.pause_ms(now)
        if pause_ms < self._speculation_ms:
            return
        if utterance.attempt is None and not utterance.speculation_failed:
            caller.speculate(utterance, now)
        if pause_ms < caller.end_of_turn.wait_ms and now - utterance.started_at < self._long_turn_s:
            return
        if caller.voice.stirring(now):
            return
        if utterance.attempt is not None and self._awaits_words(utterance.attempt, now):
            return
        self._end_turn(utterance, now)

    def _end_turn(self, utterance: Utterance, now: float) -> None:
        """The caller has finished: his words act by themselves, are a greeting, or get an answer."""
        text = utterance.attempt.caller_text if utterance.attempt is not None else None
        text = utterance.streamed_text if text is None else text
        if text and self._set.finished(utterance, text, now):
            self._silence.caller_heard()
            self._keypad.caller_spoke()
            return
        if text and self._opening.answers(text, now):
            self._caller.forget(utterance)
            self._silence.caller_heard()
            return
        reply = self._caller.finish(utterance, now)
        if reply is None:
            return
        self._silence.caller_heard()
        self._keypad.caller_spoke()
        self._opening.turn_adopted(now)
        self._agent.take(reply, now)

    def _awaits_words(self, attempt: Reply, now: float) -> bool:
        """What was said over the agent may lie long back, but its transcript gets the usual time all the same."""
        if self._caller.end_of_turn.completeness is not Completeness.UNKNOWN:
            return False
        begun_late = attempt.begun_at - self._caller.voice.voiced_until > self._transcript_s
        return begun_late and now - attempt.begun_at < self._transcript_s
