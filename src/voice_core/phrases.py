"""Cutting a reply into speakable phrases while it is being written. Pure: text in, phrases out.

The first phrase is short, because the caller waits for it; later ones are long, because they sound better whole. Where
a phrase ends depends on the text alone, never on how it arrived: each decision looks back, or waits for what it needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from voice_core.speakable import MAX_ASIDE_CHARACTERS, speakable

__all__ = ["Phrase", "PhraseCutter", "speakable"]

_CLOSERS: Final = "\"'”’»)]}*_`"


def _lexicon(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TITLES: Final = _lexicon(
    """dr mr mrs ms mx prof st mt ft sgt capt lt col gen sen rep rev hon fr e.g i.e cf vs approx ca tel ext est fig nr
    jan feb mar apr jun jul aug sep sept oct nov dec"""
)
"""Abbreviations that belong to what follows: never a phrase's end."""
_ALSO_WORDS: Final = _lexicon("mar jun sep fig gen rep col hon")
"""Those that are words, or nothing, when written small."""
_ENDINGS: Final = _lexicon("a.m p.m etc inc ltd co corp jr sr ave rd blvd u.s u.k u.s.a ph.d b.a m.a")
"""Abbreviations that may end a sentence: they do when a capital follows that is not a day or a month."""
_CALENDAR: Final = re.compile(
    r"(mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july|august"
    r"|(sept|nov|dec)ember|october",
    re.IGNORECASE,
)
_UNIT: Final = re.compile(
    r"[ap]\.?m\b|o['’]clock|percent|dollars?|euros?|pounds?|cents?|hours?|minutes?", re.IGNORECASE
)
_CONJUNCTIONS: Final = _lexicon("and but or so because although while when if which who where since unless then")
_LEANING: Final = _lexicon(
    """a an the of to in on at for from with by as and or but if is are was be been your our my his her their its this
    that these those not very no i we you it he she they can will would"""
)
"""Words that lean on the next one: a phrase cut after them sounds broken off."""
_LIST_NUMBER: Final = re.compile(r"\d{1,2}[.)]")
_LINK_TARGET_CHARACTERS: Final = 300
_CONTROL_CHARACTERS: Final = 44
_LEAN_WORDS: Final = 4
"""How far past its limit a phrase may run for a better place to be cut."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Something to say: `text` is `speakable(reply[start:end])`, the offsets are characters of the raw reply."""

    text: str
    start: int
    end: int


class PhraseCutter:
    """One reply. `feed` it as it comes, then `end` it.

    The first phrase ends at the first sentence; or at a comma or a conjunction about `first_words` in; or, where there
    is none, after twice as many. Later ones end at sentences, or in the same way about `max_words` in.
    """

    def __init__(self, first_words: int = 5, max_words: int = 24) -> None:
        if first_words < 1 or max_words < first_words:
            raise ValueError(f"first_words {first_words} and max_words {max_words}: need 1 <= first_words <= max_words")
        self._first_words = first_words
        self._max_words = max_words
        self._text = ""
        self._at = 0
        """Up to here the text is decided."""
        self._start = 0
        self._word_start: int | None = None
        self._previous = ""
        """The phrase's last whole word; empty at its start."""
        self._previous_end = 0
        self._words = 0
        self._is_first = True

    def feed(self, text_delta: str) -> list[Phrase]:
        """The phrases that `text_delta` completes."""
        self._text += text_delta
        return self._scan(at_end=False)

    def end(self) -> list[Phrase]:
        """The reply is complete: what is left of it."""
        phrases = self._scan(at_end=True)
        self._take_word(self._at, phrases)
        self._cut(self._at, self._at, phrases)
        return phrases

    def _scan(self, *, at_end: bool) -> list[Phrase]:
        phrases: list[Phrase] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            if character.isspace():
                self._space(character, phrases)
                continue
            after = self._aside_end(character, at_end=at_end) if character in "<[(*" else self._at + 1
            if after is None:
                break
            if self._word_start is None:
                self._word_start = self._at
            self._at = after
        return phrases

    def _space(self, character: str, phrases: list[Phrase]) -> None:
        word_end = self._at
        self._at += 1
        word = self._take_word(word_end, phrases)
        if word and self._ends_phrase(word):
            self._cut(word_end, self._at, phrases)
        elif character == "\n" and self._words and not self._is_list_number():
            self._cut(self._previous_end, self._at, phrases)

    def _take_word(self, word_end: int, phrases: list[Phrase]) -> str:
        """Counts the word that ends here, if there is one; cuts before it where that is the better place."""
        if self._word_start is None:
            return ""
        word = self._text[self._word_start : word_end]
        if self._previous and self._begins_phrase(word):
            self._cut(self._previous_end, self._word_start, phrases)
        self._previous, self._previous_end = word, word_end
        self._word_start = None
        if any(letter.isalnum() for letter in word):
            self._words += 1
        return word

    def _cut(self, end: int, next_start: int, phrases: list[Phrase]) -> None:
        raw = self._text[self._start : end]
        start = self._start + len(raw) - len(raw.lstrip())
        text = speakable(raw)
        if text:
            phrases.append(Phrase(text, start, end))
            self._is_first = False
        self._start = next_start
        self._words = 0
        self._previous = ""

    # Where a phrase may end

    def _ends_phrase(self, word: str) -> bool:
        """Whether the phrase ends with `word`, which has just been counted."""
        bare = word.rstrip(_CLOSERS)
        if bare.endswith(("...", "…")):
            return self._is_clause_long_enough()
        if bare.endswith((".", "!", "?")):
            return not self._is_abbreviation(bare) and self._words >= (1 if self._is_first else 3)
        if bare.endswith((",", ";", ":", "—")) or bare in ("-", "–"):
            return self._is_clause_long_enough()
        return False

    def _is_clause_long_enough(self) -> bool:
        return self._words >= (max(2, self._first_words - 2) if self._is_first else self._max_words // 2)

    def _begins_phrase(self, word: str) -> bool:
        """Whether the phrase ends before `word`, seen once `word` is whole."""
        previous = self._previous.rstrip(_CLOSERS)
        stem = previous.rstrip(".").lower()
        bare = word.lstrip("\"'“‘«([{*_`")
        if stem in _ENDINGS and previous.endswith("."):
            enough = 1 if self._is_first else 3
            if bare[:1].isupper() and not _CALENDAR.match(bare) and self._words >= enough:
                return True
        limit = 2 * self._first_words if self._is_first else self._max_words
        if previous.endswith((".", "!", "?")) and self._is_abbreviation(previous) and stem not in _ENDINGS:
            return False
        if previous[-1:].isdigit() and (bare[:1].isdigit() or _UNIT.match(bare)):
            return False
        leans = previous.lower() in _LEANING or previous[-1:].isdigit() or _UNIT.match(bare) is not None
        if leans:
            return self._words >= limit + _LEAN_WORDS
        if bare.lower() in _CONJUNCTIONS:
            return self._words >= (max(2, self._first_words - 1) if self._is_first else self._max_words * 2 // 3)
        return self._words >= limit

    def _is_abbreviation(self, bare: str) -> bool:
        if not bare.endswith("."):
            return False
        stem = bare.rstrip(".").lstrip("\"'“‘«([{*_`")
        if stem.lower() in _TITLES or stem.lower() in _ENDINGS:
            return stem not in _ALSO_WORDS
        if stem == "No" and self._words > 1:
            return True  # "No. 5"; alone it is an answer
        return (len(stem) == 1 and stem.isupper() and stem != "I") or self._is_list_number()

    def _is_list_number(self) -> bool:
        return self._words == 1 and _LIST_NUMBER.fullmatch(self._previous) is not None

    # What is never cut

    def _aside_end(self, opener: str, *, at_end: bool) -> int | None:
        """Where the piece that begins here may be left again; None while that cannot be known yet."""
        text, at = self._text, self._at
        if opener == "<":
            return self._tag_end(at_end=at_end)
        if opener == "*":
            if at + 1 >= len(text) and not at_end:
                return None
            starts_aside = (at == 0 or not (text[at - 1].isalnum() or text[at - 1] == "*")) and text[
                at + 1 : at + 2
            ].strip(" *\n")
            if not starts_aside:
                return at + 1
        closer = {"[": "]", "(": ")", "*": "*"}[opener]
        close = self._find(closer, at + 1, MAX_ASIDE_CHARACTERS, at_end=at_end)
        if close is None or close < 0:
            return at + 1 if close is not None else None
        if opener != "[":
            return close + 1
        if close + 1 >= len(text) and not at_end:
            return None  # a link's target may follow
        if text[close + 1 : close + 2] != "(":
            return close + 1
        target = self._find(")", close + 2, _LINK_TARGET_CHARACTERS, at_end=at_end)
        return None if target is None else target + 1 if target >= 0 else close + 1

    def _tag_end(self, *, at_end: bool) -> int | None:
        text, at = self._text, self._at
        if text.startswith("<think>", at):
            close = text.find("</think>", at)
            return close + len("</think>") if close >= 0 else len(text) if at_end else None
        if text.startswith("<|", at):
            end = self._find(">", at + 2, _CONTROL_CHARACTERS, at_end=at_end)
            return None if end is None else end + 1 if end >= 0 else at + 1
        undecided = "<think>".startswith(text[at : at + 7]) or text[at:] == "<"
        return None if undecided and not at_end else at + 1

    def _find(self, closer: str, start: int, reach: int, *, at_end: bool) -> int | None:
        """Index of `closer` on this line within `reach` characters; -1: it is not there; None: it may yet come."""
        window = self._text[start : start + reach]
        newline = window.find("\n")
        if newline >= 0:
            window = window[:newline]
        found = window.find(closer)
        if found >= 0:
            return start + found
        return -1 if at_end or newline >= 0 or len(window) == reach else None
