"""Cutting a reply into speakable phrases while it is being written. Pure: text in, phrases out.

The first phrase is short, because the caller waits for it; later ones are long, because they sound better whole. Where
a phrase ends depends on the text alone, never on how it arrived: each decision looks back, or waits for what it needs.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from voice_core.phrase_marks import (
    AFTER_WIDE_MARKS,
    BEFORE_FIGURES,
    CLAUSE_MARKS,
    CLOSERS,
    DASHES,
    FIRST_UNSPACED,
    HELD_BY_NO_BREAK,
    NO_BREAK,
    OPENERS,
    STOPS,
    UNIT,
    UNSPACED,
    UNSPACED_PER_WORD,
    WIDE_MARKS,
    WIDE_STOPS,
    count_words,
)
from voice_core.phrase_words import phrase_words
from voice_core.speakable import MAX_ASIDE_CHARACTERS, MAX_TAG_CHARACTERS, TAG, speakable

__all__ = ["Phrase", "PhraseCutter", "speakable"]

_LIST_NUMBER: Final = re.compile(r"\d{1,2}[.)]")
_LINK_TARGET_CHARACTERS: Final = 300
_CONTROL_CHARACTERS: Final = 44
_MARKS: Final = 16
"""So many marks and closing quotes in a row belong together; more begin anew."""
_LEAN_WORDS: Final = 4
"""How far past its limit a phrase may run for a better place to be cut."""
_FIGURE_WORDS: Final = 8
"""How far for a figure to be whole: a telephone number has up to so many groups."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Something to say: `text` is `speakable(reply[start:end])`, the offsets are characters of the raw reply."""

    text: str
    start: int
    end: int


class PhraseCutter:
    """One reply. `feed` it as it comes, then `end` it.

    The first phrase ends at the first sentence; or at a comma or a conjunction about `first_words` in; or, where there
    is none, after twice as many. Later ones end at sentences, or in the same way about `max_words` in. Of scripts
    without spaces two letters count as a word. `language`: the text's, whose abbreviations and conjunctions count.
    """

    def __init__(self, first_words: int = 5, max_words: int = 24, *, language: str = "en") -> None:
        if first_words < 1 or max_words < first_words:
            raise ValueError(f"first_words {first_words} and max_words {max_words}: need 1 <= first_words <= max_words")
        self._first_words = first_words
        self._max_words = max_words
        self._lexicon = phrase_words(language)
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
                held = self._is_held(character, at_end=at_end)
                if held is None:
                    break
                if not held:
                    self._space(character, phrases)
                    continue
            after = self._aside_end(character, at_end=at_end) if character in "<[(*" else self._at + 1
            if character in WIDE_MARKS:
                after = self._wide_mark_end(at_end=at_end)
            if after is None:
                break
            if self._word_start is None:
                self._word_start = self._at
            if character in WIDE_MARKS and not self._is_inside_figure(after):
                self._wide_mark(after, phrases)
                continue
            if character >= FIRST_UNSPACED and self._is_endless(character):
                self._take_word(self._at, phrases)
                self._cut(self._at, self._at, phrases)
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

    def _is_held(self, space: str, *, at_end: bool) -> bool | None:
        """Whether what stands around a no-break space is one word; None while that cannot be known yet."""
        if space not in NO_BREAK:
            return False
        if self._at + 1 >= len(self._text):
            return False if at_end else None
        before, after = self._text[self._at - 1 : self._at], self._text[self._at + 1]
        return self._word_start is not None and (
            before.isdigit() or after.isdigit() or before == "«" or after in HELD_BY_NO_BREAK
        )

    def _wide_mark_end(self, *, at_end: bool) -> int | None:
        """Where the marks and closing quotes that begin here end; None while more may come."""
        end = self._at + 1
        most = min(len(self._text), self._at + _MARKS)  # or a stream of nothing else would be looked through each time
        while end < most and self._text[end] in AFTER_WIDE_MARKS:
            end += 1
        return end if end < len(self._text) or end - self._at >= _MARKS or at_end else None

    def _is_inside_figure(self, after: int) -> bool:
        text = self._text
        return self._at > 0 and text[self._at - 1].isdigit() and text[after : after + 1].isdigit()

    def _wide_mark(self, after: int, phrases: list[Phrase]) -> None:
        stops = any(mark in WIDE_STOPS for mark in self._text[self._at : after])
        self._at = after
        self._take_word(after, phrases)
        if self._is_long_enough() if stops else self._is_clause_long_enough():
            self._cut(after, after, phrases)

    def _is_endless(self, character: str) -> bool:
        """Whether too much has come without a mark or a space; `character` is one that may be cut before."""
        at, start = self._at, self._word_start
        if start is None or start == at or not UNSPACED.match(character) or not UNSPACED.match(self._text[at - 1]):
            return False
        words = self._words + (at - start) // UNSPACED_PER_WORD
        return words >= 2 * self._limit() and not unicodedata.category(character).startswith("M")

    def _take_word(self, word_end: int, phrases: list[Phrase]) -> str:
        """Counts the word that ends here, if there is one; cuts before it where that is the better place."""
        if self._word_start is None:
            return ""
        word = self._text[self._word_start : word_end]
        if self._previous and self._begins_phrase(word):
            self._cut(self._previous_end, self._word_start, phrases)
        self._word_start = None
        if word in DASHES and self._previous[-1:].isdigit():
            self._previous, self._previous_end = self._previous + word, word_end  # 9 – 5 is one thing
            return ""
        if word[:2].lower() == "m." and self._previous.lower() in ("a.", "p."):
            word = self._previous + word
        self._previous, self._previous_end = word, word_end
        self._words += count_words(word)
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
        bare = word.rstrip(CLOSERS)
        if bare.endswith(("...", "…")):
            return self._is_clause_long_enough()
        if bare.endswith(STOPS):
            return not self._is_abbreviation(bare) and self._is_long_enough()
        if bare.endswith(CLAUSE_MARKS) and bare[-2:-1].isdigit():
            return False  # the year may follow, or another figure: decided with the next word
        return (bare.endswith(CLAUSE_MARKS) or bare in DASHES) and self._is_clause_long_enough()

    def _is_long_enough(self) -> bool:
        return self._words >= (1 if self._is_first else 3)

    def _is_clause_long_enough(self) -> bool:
        return self._words >= (max(2, self._first_words - 2) if self._is_first else self._max_words // 2)

    def _limit(self) -> int:
        return 2 * self._first_words if self._is_first else self._max_words

    def _begins_phrase(self, word: str) -> bool:
        """Whether the phrase ends before `word`, seen once `word` is whole."""
        previous = self._previous.rstrip(CLOSERS)
        bare = word.lstrip(OPENERS)
        if not any(letter.isalnum() for letter in word):
            return False
        sentence_ended = previous.endswith(".") and self._may_end(previous) and bare[:1].isupper()
        if sentence_ended and not self._is_calendar(bare) and self._is_long_enough():
            return True
        if self._words < self._limit() + _FIGURE_WORDS and self._belongs_together(previous, bare):
            return False
        if previous.endswith(CLAUSE_MARKS) and self._is_clause_long_enough():
            return True
        leans = previous.lower() in self._lexicon.leaning or previous[-1:].isdigit() or UNIT.match(bare) is not None
        if leans:
            return self._words >= self._limit() + _LEAN_WORDS
        if bare.lower() in self._lexicon.conjunctions:
            return self._words >= (max(2, self._first_words - 1) if self._is_first else self._max_words * 2 // 3)
        return self._words >= self._limit()

    def _belongs_together(self, previous: str, bare: str) -> bool:
        """Whether a cut between the two would break a figure, a date, or an abbreviation from what it stands for."""
        stem = previous.rstrip(".").lower()
        if self._is_abbreviation(previous) and (bare[:1].isdigit() or not self._may_end(previous)):
            return True
        named = stem in self._lexicon.titles and previous.lstrip(OPENERS)[:1].isupper() and bare[:1].isupper()
        if named and stem not in self._lexicon.also_words:
            return True  # Mr Smith, Dott.ssa Verdi
        if previous.rstrip("-–—,;:")[-1:].isdigit() and bare[:1].isdigit():
            return True
        if previous[-1:].isdigit() and UNIT.match(bare):
            return True
        if bare[:1].isdigit() and (BEFORE_FIGURES.fullmatch(previous.lstrip(OPENERS)) or self._is_calendar(previous)):
            return True
        return previous.lstrip(OPENERS)[:1].isdigit() and self._is_calendar(bare)

    def _is_calendar(self, word: str) -> bool:
        return word.strip(".,;:!?").lower() in self._lexicon.calendar

    def _may_end(self, abbreviation: str) -> bool:
        """Whether it is one that a sentence may end with."""
        stem = abbreviation.rstrip(".").lstrip(OPENERS)
        return stem.lower() in self._lexicon.endings or stem in self._lexicon.also_words

    def _is_abbreviation(self, bare: str) -> bool:
        if not bare.endswith("."):
            return False
        stem = bare.rstrip(".").lstrip(OPENERS)
        if stem == "No":
            return self._words > 1  # "No. 5"; alone it is an answer
        if stem.lower() in self._lexicon.titles or stem.lower() in self._lexicon.endings:
            return True
        if self._lexicon.ordinal_stop and stem.isdigit() and len(stem) <= 2:
            return True
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
        if text[at:] == "<" or "<think>".startswith(text[at : at + 7]):
            return at + 1 if at_end else None
        if not text[at + 1].isascii() or not (text[at + 1].isalpha() or text[at + 1] == "/"):
            return at + 1
        end = self._find(">", at + 1, MAX_TAG_CHARACTERS, at_end=at_end)
        if end is None:
            return None
        return end + 1 if end >= 0 and TAG.fullmatch(text, at, end + 1) else at + 1

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
