"""How long to wait in a caller's pause before the turn is taken to be over.

The wait starts from a base, moves with what the words so far say (a complete question shortens it, "and the" lengthens
it), with this caller's own pauses in this call, and with a semantic end-of-turn probability where a model gives one.
That probability only moves the wait; it never decides, because such models are unsure in the middle of a sentence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

from voice_core.half_said import Dictated, dictated
from voice_core.turn_words import TurnWords
from voice_core.turn_words_en import ENGLISH
from voice_core.words import (
    END_MARKS,
    breaks_off,
    is_answer,
    is_backchannel,
    is_greeting,
    is_open_ended,
    is_question,
    lacks_object,
    tokens,
)

_REMEMBERED_PAUSES: Final = 6
_TRUSTED_PAUSES: Final = 4
"""So many short pauses make a quick speaker."""
_LEAST_PAUSE_MS: Final = 150.0
_NOTICED_MS: Final = 50.0
"""A window of voice activity and a tick: so long after the caller went on is it known that he may have."""


class Completeness(Enum):
    """What the words so far say about the turn."""

    UNKNOWN = "unknown"
    """No transcript yet."""
    COMPLETE = "complete"
    PLAIN = "plain"
    UNMARKED = "unmarked"
    """Plain, without the mark that this recogniser puts behind finished sentences."""
    OPEN = "open"
    HALF_SAID = "half said"
    """A number, a name or an address is being dictated and lacks its end."""
    MAYBE_WHOLE = "maybe whole"
    """The same, and this can be all of it."""


_DICTATED: Final = {
    Dictated.HALF: Completeness.HALF_SAID,
    Dictated.MAYBE: Completeness.MAYBE_WHOLE,
    Dictated.WHOLE: Completeness.COMPLETE,
}


def completeness(text: str | None, words: TurnWords = ENGLISH) -> Completeness:
    """Read `text` (None: not transcribed yet) for whether its speaker can be expected to go on."""
    if text is None:
        return Completeness.UNKNOWN
    found = tokens(text)
    if not found:
        return Completeness.PLAIN
    if is_answer(text, words) or is_greeting(text, words):
        return Completeness.COMPLETE
    found_dictated = dictated(text, words)
    if found_dictated is Dictated.HALF or (found_dictated is not None and not breaks_off(text)):
        return _DICTATED[found_dictated]
    if is_open_ended(text, words):
        return Completeness.OPEN
    if is_question(text) and len(found) >= 3 and found[-1] not in words.seldom_last:
        return Completeness.OPEN if lacks_object(text, words) else Completeness.COMPLETE
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
    ready_ms: float = 380.0
    """The same where the answer is ready and fits: it would be heard at once."""
    unsettled_ms: float = 750.0
    """A question to which there is a ready answer, or which begins as one does, and which may not be all."""
    unmarked_ms: float = 750.0
    """Words without an end mark, from a recogniser that otherwise sets them."""
    half_said_ms: float = 1400.0
    """In the middle of a number, a spelled name, an e-mail address."""
    maybe_whole_ms: float = 800.0
    """After a number that may be whole."""
    max_ms: float = 1200.0
    """The longest wait, but for things half said."""
    half_said_max_ms: float = 2500.0
    """The longest wait for those; from half_said_ms it is raised by this caller's own pauses between groups."""
    adaptive_min_ms: float = 400.0
    """The least to which the base falls for a caller whose pauses are all short."""
    adaptive_max_ms: float = 850.0
    """The most that a caller's own pauses may raise the base."""
    adaptive_margin_ms: float = 100.0
    """A quick caller's base stays so far above his pauses."""
    semantic_span_ms: float = 200.0
    """A probability of 0 lengthens the wait by this much, of 1 shortens it."""


class EndOfTurn:
    """The wait policy of one call."""

    def __init__(self, limits: WaitLimits | None = None, *, words: TurnWords = ENGLISH) -> None:
        self._limits = limits or WaitLimits()
        self._words = words
        self._pauses: deque[float] = deque(maxlen=_REMEMBERED_PAUSES)
        self._dictation_pauses: deque[float] = deque(maxlen=_REMEMBERED_PAUSES)
        """Between the groups of a number: longer than the others, and of no meaning for them."""
        self._completeness = Completeness.UNKNOWN
        self._semantic: float | None = None
        self._settled: bool | None = None
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
        self._semantic = self._settled = None
        self._compute()

    def transcript(self, text: str) -> None:
        """The caller's words up to the pause."""
        self._completeness = completeness(text, self._words)
        self._settled = None
        marked = text.rstrip().endswith(END_MARKS)
        self._recogniser_marks = self._recogniser_marks or marked
        unfinished = not self._words.listed or (self._recogniser_marks and not marked)
        if self._completeness is Completeness.PLAIN and unfinished and tokens(text):
            self._completeness = Completeness.UNMARKED
        self._compute()

    def semantic(self, probability: float) -> None:
        """A model's probability (0–1) that the turn is over."""
        self._semantic = min(1.0, max(0.0, probability))
        self._compute()

    def answer_found(self, *, settled: bool) -> None:
        """What the last transcript asks is known. `settled`: more words would not change the answer; else they may.

        An answer that is ready sounds as soon as the wait is over, so the wait is all that keeps it from being early.
        """
        self._settled = settled
        self._compute()

    def went_on_after(self, pause_ms: float) -> None:
        """The caller went on after a pause inside a turn: such pauses are this caller's habit.

        To be told before `begin`: which habit it is depends on the words before the pause.
        """
        if pause_ms < _LEAST_PAUSE_MS:
            return
        if self._completeness in (Completeness.HALF_SAID, Completeness.MAYBE_WHOLE):
            self._dictation_pauses.append(min(pause_ms, self._limits.half_said_max_ms))
        else:
            self._pauses.append(min(pause_ms, self._limits.max_ms))
        self._compute()

    def cut_off(self, pause_ms: float) -> None:
        """The turn was taken too early and had to be given back: a pause that counts twice."""
        self.went_on_after(pause_ms)
        self.went_on_after(pause_ms)

    def _base_ms(self) -> float:
        limits = self._limits
        habit = _habit_ms(self._pauses)
        if len(self._pauses) >= _TRUSTED_PAUSES and habit + limits.adaptive_margin_ms < limits.base_ms:
            return max(habit + limits.adaptive_margin_ms, limits.adaptive_min_ms)
        return max(limits.base_ms, min(habit, limits.adaptive_max_ms))

    def _compute(self) -> None:
        limits = self._limits
        base = self._base_ms()
        longest = limits.max_ms
        match self._completeness:
            case Completeness.COMPLETE:
                least = limits.ready_ms if self._settled else limits.complete_ms
                wait = least + 0.3 * (base - limits.base_ms)
            case Completeness.PLAIN if self._settled:
                wait = limits.ready_ms + 0.3 * (base - limits.base_ms)
            case Completeness.OPEN:
                wait = max(limits.open_ms, base)
            case Completeness.UNMARKED:
                wait = max(limits.unmarked_ms, base)
            case Completeness.UNKNOWN:
                wait = max(limits.unknown_ms, base)
            case Completeness.HALF_SAID:
                wait = max(limits.half_said_ms, base, _habit_ms(self._dictation_pauses))
                longest = max(longest, limits.half_said_max_ms)
            case Completeness.MAYBE_WHOLE:
                wait = max(limits.maybe_whole_ms, base, min(_habit_ms(self._dictation_pauses), limits.half_said_ms))
                longest = max(longest, limits.half_said_ms)
            case Completeness.PLAIN:
                wait = base
        if self._settled is False:
            wait = max(wait, limits.unsettled_ms)
        if self._semantic is not None:
            wait += (0.5 - self._semantic) * 2 * limits.semantic_span_ms
        self._wait_ms = min(max(wait, limits.complete_ms), longest)


def _habit_ms(pauses: Collection[float]) -> float:
    """The longest but one of the last few, with a tenth to spare: one odd pause changes nothing."""
    if len(pauses) < 2:
        return 0.0
    return 1.1 * sorted(pauses)[-2] + _NOTICED_MS
