"""How long to wait in a caller's pause before the turn is taken to be over.

The wait starts from a base, moves with what the words so far say (a complete question shortens it, "and the" lengthens
it), with this caller's own pauses in this call, and with a semantic end-of-turn probability where a model gives one.
That probability only moves the wait; it never decides, because such models are unsure in the middle of a sentence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from voice_core.words import (
    ENGLISH,
    TurnWords,
    is_answer,
    is_backchannel,
    is_digits,
    is_greeting,
    is_open_ended,
    is_question,
    spoken_digits,
    tokens,
)

_WHOLE_PHONE_NUMBER: Final = 7
_REMEMBERED_PAUSES: Final = 6
_SENTENCE_MARKS: Final = (".", "!", "?", "。", "？", "！")


class Completeness(Enum):
    """What the words so far say about the turn."""

    UNKNOWN = "unknown"
    """No transcript yet."""
    COMPLETE = "complete"
    PLAIN = "plain"
    UNMARKED = "unmarked"
    """Plain, without the mark that this recogniser puts behind finished sentences."""
    OPEN = "open"


def completeness(text: str | None, words: TurnWords = ENGLISH) -> Completeness:
    """Read `text` (None: not transcribed yet) for whether its speaker can be expected to go on."""
    if text is None:
        return Completeness.UNKNOWN
    found = tokens(text)
    if not found:
        return Completeness.PLAIN
    if is_answer(text, words) or is_greeting(text, words):
        return Completeness.COMPLETE
    if is_open_ended(text, words):
        return Completeness.OPEN
    digits = spoken_digits(text, words)
    if 2 <= digits < _WHOLE_PHONE_NUMBER and (digits > 2 or is_digits(text, words)) and not is_question(text):
        return Completeness.OPEN  # a number half said; a single digit is an answer
    if is_question(text) and len(found) >= 3 and found[-1] not in words.seldom_last:
        return Completeness.COMPLETE
    if is_backchannel(text, words):
        return Completeness.COMPLETE
    return Completeness.PLAIN


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """The waits, in milliseconds of silence after the last voiced window."""

    base_ms: float = 500.0
    complete_ms: float = 320.0
    open_ms: float = 1100.0
    unknown_ms: float = 650.0
    """No transcript has come although one was asked for."""
    unmarked_ms: float = 750.0
    """Words without an end mark, from a recogniser that otherwise sets them."""
    max_ms: float = 1200.0
    adaptive_max_ms: float = 850.0
    """The most that a caller's own pauses may raise the base."""
    semantic_span_ms: float = 200.0
    """A probability of 0 lengthens the wait by this much, of 1 shortens it."""


class EndOfTurn:
    """The wait policy of one call."""

    def __init__(self, limits: WaitLimits | None = None, *, words: TurnWords = ENGLISH) -> None:
        self._limits = limits or WaitLimits()
        self._words = words
        self._pauses: deque[float] = deque(maxlen=_REMEMBERED_PAUSES)
        self._completeness = Completeness.UNKNOWN
        self._semantic: float | None = None
        self._recogniser_marks = False
        self._wait_ms = 0.0
        self._compute()

    @property
    def wait_ms(self) -> float:
        """How much silence ends the turn, as things stand."""
        return self._wait_ms

    @property
    def completeness(self) -> Completeness:
        return self._completeness

    def begin(self) -> None:
        """The caller speaks (again): what was known of the words so far no longer says how they end."""
        self._completeness = Completeness.UNKNOWN
        self._semantic = None
        self._compute()

    def transcript(self, text: str) -> None:
        """The caller's words up to the pause."""
        self._completeness = completeness(text, self._words)
        marked = text.rstrip().endswith(_SENTENCE_MARKS)
        self._recogniser_marks = self._recogniser_marks or marked
        if self._completeness is Completeness.PLAIN and self._recogniser_marks and not marked and tokens(text):
            self._completeness = Completeness.UNMARKED
        self._compute()

    def semantic(self, probability: float) -> None:
        """A model's probability (0–1) that the turn is over."""
        self._semantic = min(1.0, max(0.0, probability))
        self._compute()

    def went_on_after(self, pause_ms: float) -> None:
        """The caller went on after a pause inside a turn: such pauses are this caller's habit."""
        if pause_ms >= 150:
            self._pauses.append(min(pause_ms, self._limits.max_ms))
            self._compute()

    def cut_off(self, pause_ms: float) -> None:
        """The turn was taken too early and had to be given back: a pause that counts twice."""
        self.went_on_after(pause_ms)
        self.went_on_after(pause_ms)

    def _habit_ms(self) -> float:
        """The longest pause but one of the last few, with a tenth to spare: one odd pause changes nothing."""
        if len(self._pauses) < 2:
            return 0.0
        return 1.1 * sorted(self._pauses)[-2]

    def _compute(self) -> None:
        limits = self._limits
        base = max(limits.base_ms, min(self._habit_ms(), limits.adaptive_max_ms))
        if self._completeness is Completeness.COMPLETE:
            wait = limits.complete_ms + 0.3 * (base - limits.base_ms)
        elif self._completeness is Completeness.OPEN:
            wait = max(limits.open_ms, base)
        elif self._completeness is Completeness.UNMARKED:
            wait = max(limits.unmarked_ms, base)
        elif self._completeness is Completeness.UNKNOWN:
            wait = max(limits.unknown_ms, base)
        else:
            wait = base
        if self._semantic is not None:
            wait += (0.5 - self._semantic) * 2 * limits.semantic_span_ms
        self._wait_ms = min(max(wait, limits.complete_ms), limits.max_ms)
