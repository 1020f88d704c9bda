"""Whole numbers as words, by the library `num2words` (LGPL, used as it comes). All others here go through this."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

from num2words import num2words

MAX_DIGITS: Final = 15
"""Longer figures are nobody's quantity: they are read digit by digit."""


@lru_cache(maxsize=4096)
def number_words(n: int, library_language: str, kind: Literal["cardinal", "ordinal", "year"] = "cardinal") -> str:
    """`n` (0 to 10^15) in words, without commas: a voice would pause at them."""
    words: str = num2words(n, lang=library_language, to=kind)
    return words.replace(",", "")
