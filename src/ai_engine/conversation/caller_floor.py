"""The caller's side of a conversation: what he is saying, what of it the STT hears, and the guesses at its end.

At any time there is at most one utterance: in progress (`utterance`), or over the agent and not yet known to be more
than a noise (`suspect`). Beside it there may be one that was said over the agent and waits (`kept`), and the one that
the agent is answering, which may be taken back (`adopted`). All audio goes to the STT through here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.conversation.decisions import Adopt, Decision, Discard, Forget, SendAudio, Speculate, Transcribe
from ai_engine.conversation.turns import Reply, ReplyKind, Utterance
from ai_engine.providers.provider import CallerSpeech
from voice_core.end_of_turn import Completeness, EndOfTurn
from voice_core.gate import Gate
from voice_core.history import History
from voice_core.interruption import Interruption
from voice_core.turn_words import TurnWords
from voice_core.turn_words_en import ENGLISH
from voice_core.voice_activity import VoiceActivity
from voice_core.words import is_correction, tokens

_ANSWER_GAP_S: Final = 1.0
"""Of the silence between a turn and its going on, no more than this is sent."""
_CUT_OFF_GAP_S: Final = 1.5
"""A caller who takes the floor back so soon had not finished."""
_CUT_OFF_SPARE_S: Final = 0.5
"""In the middle of a number: as soon as so long after the end of the wait."""
_LONGEST_GAP_S: Final = 2.5
"""After a longer silence than this, what the caller says is a turn of its own, however late the answer came."""
_GOES_ON_S: Final = 0.5
"""A sound so soon after one over the agent that came to nothing goes on with it: its beginning was half a word."""
_GONE_ON_WITH_S: Final = 1.5
"""So far back such a beginning may lie."""
_LEVEL_FRAMES: Final = 2
_FULL_SCALE: Final = 32768.0


class CallerFloor:
    """Emits `SendAudio`, `Transcribe`, `Speculate`, `Adopt`, `Discard` and `Forget`."""

    def __init__(
        self,
        gate: Gate,
        history: History,
        settings: ConversationSettings,
        next_turn: Callable[[], int],
        emit: Callable[[Decision], None],
        *,
        words: TurnWords = ENGLISH,
    ) -> None:
        self._gate = gate
        self._history = history
        self._settings = settings
        self._next_turn = next_turn
        self._emit = emit
        self._words = words
        self.voice = VoiceActivity(
            onset_probability=settings.onset_probability,
            offset_probability=settings.offset_probability,
            onset_windows=settings.onset_windows,
            onset_probability_over_agent=settings.onset_probability_over_agent,
            onset_windows_over_agent=settings.onset_windows_over_agent,
            offset_ms=settings.offset_ms,
            echo_return_loss_db=settings.echo_return_loss_db,
        )
        self.end_of_turn = EndOfTurn(settings.wait, words=words)
        self.utterance: Utterance | None = None
        self.adopted: Utterance | None = None
        self.kept: Utterance | None = None
        self.suspect: Utterance | None = None
        self.interruption: Interruption | None = None
        """Decides about `suspect`; there is one exactly while there is the other."""
        self.probe: Reply | None = None
        """The decoding of `suspect` that is under way."""
        self._looks_back_to = -math.inf
        """No utterance reaches back further: what lies before was another's, or nobody's."""
        self._came_dbfs: tuple[float | None, float | None] = (None, None)
        """Of the last frames, as they came."""
        self._came_to_nothing: tuple[float, float] | None = None
        """Begin and end of the last sound over the agent that was judged to be nothing; it may be gone on with."""

    # --- sound --------------------------------------------------------------------------------------------------------

    def hear(self, audio: bytes, came_dbfs: float | None, now: float) -> None:
        """The caller's last frame: kept, and sent if it belongs to an utterance.

        `came_dbfs`: its level before the agent's echo was taken out; None where none was.
        """
        self._came_dbfs = (self._came_dbfs[1], came_dbfs)
        self._gate.hear(audio, now)
        utterance = self.utterance or self.suspect
        if utterance is not None and utterance.sending:
            self._emit(SendAudio(utterance.turn, audio))
            utterance.sent_until = now

    def level_dbfs(self) -> float:
        """How loud the caller is, as far as it may not be the agent's echo.

        Where that was taken out, the line must have been loud before (a canceller that has lost its way lets an echo
        through as it came) and what is left must not be as quiet as a remainder.
        """
        left_dbfs, came = self._left_dbfs(), [level for level in self._came_dbfs if level is not None]
        return min(max(came), left_dbfs + self._settings.cancelled_echo_db) if came else left_dbfs

    def _left_dbfs(self) -> float:
        """The louder of the last frames, which cover the window that was judged."""
        loudest = 0.0
        for pcm in self._gate.last(_LEVEL_FRAMES):
            samples = np.frombuffer(pcm, np.int16).astype(np.float32)
            if samples.size:
                loudest = max(loudest, float(samples.dot(samples)) / samples.size)
        return 20 * math.log10(math.sqrt(loudest) / _FULL_SCALE) if loudest > 0 else -math.inf

    def paused(self) -> None:
        """The voice went silent: from here the pause is measured, should the caller go on."""
        for spoken in (self.utterance, self.suspect):
            if spoken is not None:
                spoken.voiced_until = self.voice.voiced_until

    def forget_sound(self, now: float) -> None:
        """What is kept of the caller is none of the conversation's (hold music)."""
        self.voice.reset()
        self._gate.clear()
        self._looks_back_to = now
        self._came_to_nothing = None

    def backend_changed(self, *, needs_gating: bool) -> None:
        """Another STT backend is at work, perhaps in the middle of what the caller says over the agent."""
        self._gate.backend(needs_gating=needs_gating)
        if self.suspect is None or self.interruption is None:
            return
        self.interruption.backend(streaming=not needs_gating)
        if needs_gating:
            self.suspect.sending = False
        else:
            self.admit(self.suspect)

    # --- an utterance -------------------------------------------------------------------------------------------------

    def begin(self, started_at: float) -> None:
        """The caller, who has the floor, began to speak at `started_at`; goes on with what was kept."""
        self.utterance = self._utterance(started_at)
        self.end_of_turn.begin()
        self.admit(self.utterance)

    def admit(self, utterance: Utterance) -> None:
        """From here on the STT hears the caller as he speaks, beginning with what was withheld."""
        self._send_withheld(utterance)
        utterance.sending = True

    def goes_on(self, utterance: Utterance) -> None:
        """The caller speaks again after a pause inside the turn."""
        if utterance.attempt is not None:
            self._emit(Discard(utterance.turn, utterance.attempt.revision))
            utterance.attempt = None
        utterance.speculation_failed = False
        self.end_of_turn.went_on_after(1000 * (self.voice.started_at - utterance.voiced_until))
        self.end_of_turn.begin()

    def speculate(self, utterance: Utterance, now: float) -> Reply:
        """Begin an answer that may be thrown away."""
        utterance.revision += 1
        reply = Reply(utterance.turn, utterance.revision, ReplyKind.ANSWER, now, last_event_at=now)
        reply.timeline["speech_end"] = self.voice.voiced_until
        utterance.attempt = reply
        self._emit(Speculate(utterance.turn, utterance.revision, self._history.messages()))
        return reply

    def finish(self, utterance: Utterance, now: float) -> Reply | None:
        """The turn is over: its answer, adopted; None when it is known to hold no words."""
        reply = utterance.attempt or self.speculate(utterance, now)
        if reply.caller_text is not None and not tokens(reply.caller_text):
            self.forget(utterance)
            return None
        self._emit(Adopt(reply.turn, reply.revision))
        reply.timeline["end_of_turn"] = now
        if reply.caller_text is None and utterance.streamed_text:
            reply.caller_text = utterance.streamed_text
        if reply.caller_text:
            self._history.caller(reply.turn, reply.caller_text)
        utterance.attempt = None
        utterance.sending = False
        utterance.voiced_until = self.voice.voiced_until
        self.utterance, self.adopted = None, utterance
        self._looks_back_to = self.voice.voiced_until
        return reply

    def forget(self, utterance: Utterance) -> None:
        """There were no words in it."""
        self._emit(Forget(utterance.turn))
        self._looks_back_to = self.voice.voiced_until
        if utterance is self.utterance:
            self.utterance = None

    def forget_turn(self) -> None:
        """What the caller is saying, and what is kept of what he said before, gets no answer."""
        self.kept = None
        if self.utterance is not None:
            self.forget(self.utterance)

    def dictated(self, utterance: Utterance) -> int:
        """What was said of it is to be written down and not answered; returns the revision of its transcript."""
        utterance.revision += 1
        self._emit(Transcribe(utterance.turn, utterance.revision))
        self._looks_back_to = self.voice.voiced_until
        if utterance is self.utterance:
            self.utterance = None
        return utterance.revision

    def take_back(self, utterance: Utterance, reply: Reply) -> None:
        """The adopted turn was not over: the caller goes on with it."""
        self._reopen(utterance, reply, self.voice.started_at)

    def _reopen(self, utterance: Utterance, reply: Reply, went_on_at: float) -> None:
        self._emit(Discard(reply.turn, reply.revision))
        self._history.withdraw(reply.turn)
        self.end_of_turn.cut_off(1000 * (went_on_at - utterance.voiced_until))
        self.end_of_turn.begin()
        self.utterance, self.adopted = utterance, None
        utterance.taken_back += 1
        utterance.sent_until = max(utterance.sent_until, went_on_at - _ANSWER_GAP_S)
        utterance.speculation_failed = False
        self.admit(utterance)

    def may_join(self, reply: Reply) -> bool:
        """What the caller says over `reply` can still be the rest of the turn that it answers."""
        adopted, suspect = self.adopted, self.suspect
        return (
            adopted is not None
            and suspect is not None
            and adopted.turn == reply.turn
            and not (reply.used_tools or reply.caller_reported)
            and adopted.taken_back < self._settings.max_take_backs
            and not is_correction(self.interruption.text or "" if self.interruption is not None else "", self._words)
            and suspect.started_at - adopted.voiced_until <= _LONGEST_GAP_S
        )

    def join(self, reply: Reply) -> None:
        """What was said over the first sound of `reply` is the rest of the turn that it answers."""
        adopted, suspect = self.adopted, self.suspect
        assert adopted is not None and suspect is not None
        self.suspect = self.interruption = self.probe = None
        if suspect.sent_any:
            self._emit(Forget(suspect.turn))
        self._reopen(adopted, reply, suspect.started_at)
        adopted.voiced_until = self.voice.voiced_until

    # --- said over the agent ------------------------------------------------------------------------------------------

    def suspect_interruption(self, *, after_question: bool, greeting: bool) -> None:
        """The caller makes a sound over the agent."""
        self.suspect = self._utterance(self.voice.started_at)
        streaming = not self._gate.needs_gating
        self.interruption = Interruption(
            self.voice.started_at,
            after_question=after_question or self._dictating(),
            greeting=greeting,
            streaming=streaming,
            already=self.suspect.kept_words,
            limits=self._settings.interruption,
            words=self._words,
        )
        if streaming:
            self.admit(self.suspect)

    def decode(self, suspect: Utterance, now: float) -> None:
        """Have what was withheld of `suspect` transcribed, to tell whether it is an interruption."""
        self._send_withheld(suspect)
        suspect.revision += 1
        self.probe = Reply(suspect.turn, suspect.revision, ReplyKind.PROBE, now)
        self._emit(Transcribe(suspect.turn, suspect.revision))

    def promote_suspect(self) -> None:
        """What the caller said over the agent is the turn at hand: the floor is his."""
        suspect = self.suspect
        self.suspect = self.interruption = self.probe = None
        if suspect is None:
            return
        if self.adopted is not None:
            gap_s = suspect.started_at - self.adopted.voiced_until
            if gap_s <= _CUT_OFF_GAP_S or self._dictating(suspect.started_at):
                self.end_of_turn.cut_off(1000 * gap_s)
        self.adopted = None
        suspect.voiced_until = self.voice.voiced_until
        self.utterance = suspect
        self.end_of_turn.begin()
        if suspect.streamed_text:
            self.end_of_turn.transcript(suspect.streamed_text)
        self.admit(suspect)

    def drop_suspect(self, *, keep: bool = False, judged: bool = False) -> None:
        """The agent has the floor still; what was said is kept for the next turn, or was nothing.

        `judged`: by what was heard of it so far. Where its end was seen late, or was none, the caller goes on with it.
        """
        suspect, interruption = self.suspect, self.interruption
        self.suspect = self.interruption = self.probe = None
        if suspect is None or interruption is None:
            return
        suspect.sending = False
        if keep:
            suspect.kept_words = interruption.text or ""
        self._looks_back_to = self.voice.voiced_until
        if suspect.kept_words:
            self.kept = suspect
            return
        self._came_to_nothing = (suspect.earliest, self.voice.voiced_until) if judged else None
        if suspect.sent_any:
            self._emit(Forget(suspect.turn))

    # --- what the STT understood --------------------------------------------------------------------------------------

    def speaker_of(self, event: CallerSpeech) -> Utterance | None:
        """The utterance that words without a known revision belong to.

        A streaming STT ends a sentence by itself and cannot know which revision that is.
        """
        if event.revision != 0 and self._gate.needs_gating:
            return None
        for spoken in (self.utterance, self.suspect, self.kept):
            if spoken is not None and spoken.turn == event.turn:
                return spoken if event.revision == 0 or event.revision > spoken.revision else None
        if event.revision == 0 and self.adopted is not None and self.adopted.turn == event.turn:
            return self.adopted
        return None

    def streamed(self, event: CallerSpeech, spoken: Utterance) -> str:
        """Words of `spoken` without a revision; returns all of them so far."""
        spoken.hear_streamed(event.text, final=event.final)
        text = spoken.streamed_text
        if tokens(text):
            if spoken is self.utterance:
                self.end_of_turn.transcript(text)
            elif spoken is self.suspect and self.interruption is not None:
                self.interruption.transcript(text)
        return text

    # --- inside -------------------------------------------------------------------------------------------------------

    def _dictating(self, started_at: float | None = None) -> bool:
        """The turn being answered broke off in the middle of a number, and the caller goes on with it."""
        if self.adopted is None or self.end_of_turn.completeness is not Completeness.HALF_SAID:
            return False
        gap_s = (self.voice.started_at if started_at is None else started_at) - self.adopted.voiced_until
        return gap_s <= self.end_of_turn.wait_ms / 1000 + _CUT_OFF_SPARE_S

    def _utterance(self, started_at: float) -> Utterance:
        """The one that was kept, or a new one."""
        utterance, self.kept = self.kept, None
        before, self._came_to_nothing = self._came_to_nothing, None
        if utterance is None:
            earliest = max(started_at - self._settings.lookback_ms / 1000, self._looks_back_to)
            if before is not None and started_at - before[1] <= _GOES_ON_S:
                earliest = min(earliest, max(before[0], started_at - _GONE_ON_WITH_S))
            utterance = Utterance(self._next_turn(), started_at, earliest, earliest)
        utterance.voiced_until = self.voice.voiced_until
        return utterance

    def _send_withheld(self, utterance: Utterance) -> None:
        frames = list(self._gate.since(utterance.sent_until))
        if frames:
            self._emit(SendAudio(utterance.turn, b"".join(audio for _, audio in frames)))
            utterance.sent_until = frames[-1][0]
            utterance.sent_any = True
