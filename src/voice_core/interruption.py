"""Does a sound over the agent's speech take the floor?

Speech over the agent is *suspected* first: playout pauses. Then the words decide: listening noises ("uh-huh") let the
agent go on, a yes or no is kept as the next turn (and takes the floor only after a question), anything else commits.
Where no words come in time, length decides: speech that goes on commits, a short sound that ended does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from voice_core.turn_words import TurnWords
from voice_core.turn_words_en import ENGLISH
from voice_core.words import is_backchannel, is_digits, is_firm_answer, is_greeting, tokens


class Verdict(Enum):
    TRANSCRIBE = "transcribe"
    """Have what was withheld decoded now."""
    COMMIT = "commit"
    """The caller has the floor."""
    RESUME = "resume"
    """It was nothing: the agent goes on."""
    KEEP = "keep"
    """The agent goes on; what the caller said is the next turn."""


@dataclass(frozen=True, slots=True)
class InterruptionLimits:
    """In milliseconds, from the beginning of the caller's sound where nothing else is said."""

    decode_after_ms: float = 420.0
    decode_again_ms: float = 450.0
    """Between one decoding and the next, while the words so far decide nothing."""
    commit_after_ms: float = 1100.0
    """Speech that has gone on this long takes the floor whatever is known of its words."""
    commit_unheard_after_ms: float = 800.0
    """The same where no transcript has been asked for or it has failed."""
    commit_wordless_after_ms: float = 2000.0
    """The same where what was decoded has no words: a fit of coughing, a dog."""
    transcript_wait_ms: float = 1000.0
    """From asking for a transcript to giving it up."""
    streaming_wait_ms: float = 500.0
    """From the end of a sound to not expecting words of it from a streaming STT."""
    short_ms: float = 450.0
    """A sound that ended and was shorter than this is not speech enough to commit without words."""
    ended_after_ms: float = 200.0
    """Silence after which a sound counts as ended."""
    negligible_ms: float = 100.0
    """So much sound after the last decoding holds no word of its own."""
    unsure_confidence: float = 0.5
    """Below it (exp of the mean log-probability, 0 to 1) words of a short sound were guessed. Whisper's tiny.en makes
    "and Emma" of a "mm-hmm" at 0.42 and "Uh" of an "uh-huh" at 0.46; real words of one syllable have 0.7 and more."""
    unsure_ms: float = 700.0
    """Sounds up to this length have to be understood with confidence to take the floor."""


class Interruption:
    """One suspected interruption, from the onset to the verdict."""

    def __init__(
        self,
        started_at: float,
        *,
        after_question: bool,
        greeting: bool = False,
        streaming: bool = False,
        already: str = "",
        limits: InterruptionLimits | None = None,
        words: TurnWords = ENGLISH,
    ) -> None:
        """`started_at`: the beginning of the caller's sound. `streaming`: transcripts come without being asked for.

        `already`: words that were kept before; transcripts begin with them, and they decide nothing any more.
        """
        self._started_at = started_at
        self._after_question = after_question
        self._greeting = greeting
        self._streaming = streaming
        self._already = tokens(already)
        self._limits = limits or InterruptionLimits()
        self._words = words
        self._text: str | None = None
        self._sure = True
        self._asked_at = -math.inf
        self._waiting = False
        self._failed = False
        self._asked_voiced_until = -math.inf

    @property
    def text(self) -> str | None:
        """The words so far; None before the first transcript."""
        return self._text

    def backend(self, *, streaming: bool) -> None:
        """Another STT backend is at work. `streaming`: its words come without being asked for."""
        self._streaming = streaming

    def transcript(self, text: str, confidence: float | None = None) -> None:
        """What was decoded of the caller's sound so far. `confidence`: 0 to 1; None where the STT does not say."""
        self._text = text
        self._sure = confidence is None or confidence >= self._limits.unsure_confidence
        self._waiting = False

    def failed(self) -> None:
        """The transcript asked for will not come."""
        self._waiting = False
        self._failed = True

    def tick(self, now: float, *, speaking: bool, voiced_until: float) -> Verdict | None:
        """Look again. `speaking` and `voiced_until` are the voice activity's."""
        limits = self._limits
        age_ms = 1000 * (now - self._started_at)
        length_ms = 1000 * (voiced_until - self._started_at)
        ended = not speaking and 1000 * (now - voiced_until) >= limits.ended_after_ms
        undecoded = 1000 * (voiced_until - self._asked_voiced_until) > limits.negligible_ms
        if ended and undecoded and not (self._streaming or self._failed):
            # Its last words are decoded with the rest, however short it was: a "no" takes a fifth of a second.
            return self._transcribe(now, voiced_until)
        if ended and self._waits_for_words(now, voiced_until):
            return None
        if self._text is not None and tokens(self._text):
            verdict = self._by_words(self._text, ended=ended, length_ms=length_ms)
            if verdict is not None:
                return verdict
        elif ended:
            decoded = self._text is not None and not self._waiting
            return Verdict.RESUME if decoded or length_ms < limits.short_ms else Verdict.COMMIT
        if speaking and age_ms >= self._commit_after_ms():
            return Verdict.COMMIT
        return self._ask(now, voiced_until, age_ms)

    def _waits_for_words(self, now: float, voiced_until: float) -> bool:
        if self._streaming:
            silent_ms = 1000 * (now - voiced_until)
            return self._text is None and not self._failed and silent_ms < self._limits.streaming_wait_ms
        return self._waiting and 1000 * (now - self._asked_at) < self._limits.transcript_wait_ms

    def _commit_after_ms(self) -> float:
        limits = self._limits
        if self._text is None:
            return limits.commit_after_ms if self._waiting else limits.commit_unheard_after_ms
        return limits.commit_after_ms if tokens(self._text) else limits.commit_wordless_after_ms

    def _by_words(self, text: str, *, ended: bool, length_ms: float) -> Verdict | None:
        if self._already and (said := tokens(text))[: len(self._already)] == self._already:
            text = " ".join(said[len(self._already) :])
            if not text:
                return Verdict.RESUME if ended else None
        if not self._sure and not self._after_question and length_ms <= self._limits.unsure_ms:
            return Verdict.RESUME if ended else None
        if is_firm_answer(text, self._words):
            if self._after_question:
                return Verdict.COMMIT
            return Verdict.KEEP if ended else None
        if is_backchannel(text, self._words) or (self._greeting and is_greeting(text, self._words)):
            if self._after_question and not self._greeting:
                return Verdict.COMMIT if ended else None  # "okay" after a question is an answer
            return Verdict.RESUME if ended else None
        if is_digits(text, self._words) and not self._after_question:
            return Verdict.KEEP if ended else None
        if not ended and sum(token not in self._words.backchannels for token in tokens(text)) < 2:
            return None  # half a word was decoded, perhaps of an "uh-huh"
        return Verdict.COMMIT

    def _ask(self, now: float, voiced_until: float, age_ms: float) -> Verdict | None:
        if self._streaming or self._failed or self._waiting or age_ms < self._limits.decode_after_ms:
            return None
        if 1000 * (now - self._asked_at) < self._limits.decode_again_ms:
            return None
        return self._transcribe(now, voiced_until)

    def _transcribe(self, now: float, voiced_until: float) -> Verdict:
        self._asked_at = now
        self._asked_voiced_until = voiced_until
        self._waiting = True
        return Verdict.TRANSCRIBE
