"""A pass over the text: what it looks for, and what it puts there. Passes are made once for a language."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

SIGN: Final = r"(?:(?<![\w.,:/@)\]])(?P<sign>[-−+±])|(?<![\w.,:/@]))"
"""Before a figure that may have a sign."""
_NEAR: Final = 40
_LAST_WORD: Final = re.compile(r"([^\W\d_]+)[.,]?\s*$")
_NEXT_WORD: Final = re.compile(r"\s*([^\W\d_]+)")
_SENTENCE_MAY_BEGIN: Final = re.compile(r"[\"'”’»)\]]*(?:$|\s+[\"'“‘«([¿¡]*[A-ZÀ-ÖØ-Þ])")
_TEXT_ENDS: Final = re.compile(r"[\"'”’»)\]]*\s*$")


class Pass(NamedTuple):
    """`said` gives what stands in place of a match, or None to leave it as it is."""

    pattern: re.Pattern[str]
    said: Callable[[re.Match[str]], str | None]

    def over(self, text: str) -> str:
        return self.pattern.sub(self._one, text)

    def _one(self, match: re.Match[str]) -> str:
        said = self.said(match)
        return match[0] if said is None else said


def one_of(words: Iterable[str]) -> str:
    """A pattern for any of `words`, the longest first. A space in one may be any."""
    longest_first = sorted(set(words), key=lambda word: (-len(word), word))
    return "(?:" + "|".join(re.escape(word).replace(r"\ ", r"\s") for word in longest_first) + ")"


def word_before(match: re.Match[str]) -> str:
    """The word before a match, empty where there is none near."""
    found = _LAST_WORD.search(match.string[max(0, match.start() - _NEAR) : match.start()])
    return found[1] if found else ""


def word_after(match: re.Match[str]) -> str:
    found = _NEXT_WORD.match(match.string[match.end() : match.end() + _NEAR])
    return found[1] if found else ""


def keep_stop(match: re.Match[str], said: str, *, before_capital: bool = True) -> str:
    """`said` with the stop that ended a sentence beside ending what was written short."""
    if not match[0].endswith(".") or said.endswith("."):
        return said
    ends = _SENTENCE_MAY_BEGIN if before_capital else _TEXT_ENDS
    return f"{said}." if ends.match(match.string[match.end() : match.end() + _NEAR]) else said
