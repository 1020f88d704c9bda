"""Marks and figures: where they end a phrase and what they hold together, in any script."""

from __future__ import annotations

import re
from typing import Final

CLOSERS: Final = "\"'”’»)]}*_`"


OPENERS: Final = "\"'“‘«([{*_`¿¡"
STOPS: Final = (".", "!", "?", "؟", "۔", "।", "॥", "።", "។", "။", "։")
CLAUSE_MARKS: Final = (",", ";", ":", "—", "،", "؛", "፣")
WIDE_STOPS: Final = "。！？｡．"
WIDE_MARKS: Final = WIDE_STOPS + "，、；：､"
"""Those of scripts that put no space behind them."""
AFTER_WIDE_MARKS: Final = WIDE_MARKS + "」』）】》〉”’…"
UNSPACED: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of scripts that put no space between words: Thai, Lao, Burmese, Khmer, Kana, Han."""
FIRST_UNSPACED: Final = "\u0e00"
UNSPACED_PER_WORD: Final = 2
NO_BREAK: Final = "\u00a0\u202f\u2060"
HELD_BY_NO_BREAK: Final = "!?;:»%€$£°"
DASHES: Final = ("-", "–", "—")
UNIT: Final = re.compile(
    r"(?:[ap]\.?\s?m|[ap]|o['’]clock|percent|per|dollars?|euros?|pounds?|cents?|hours?|minutes?|mins?|uhr|uur|heures?"
    r"|horas?|ore|ora|h|prozent|por|pour|cent|dollar|stunden?|minuten?|eur|usd|gbp|chf|k?m|cm|mm|k?g|m?l|km/h|mph|million"
    r"(?:en|s)?|thousand|mio|mln|mil)\b|[€$£¥%°]|[½¼¾]",
    re.IGNORECASE,
)
"""What belongs to the figure before it."""
BEFORE_FIGURES: Final = re.compile(
    r"[€$£¥₹¢#№§+]|[A-Z]{1,2}\$|CHF|SFr\.|EUR|USD|GBP|n\.?[º°]s?|(?:no|nr|núm|number|room|code|nummer|zimmer|número|numéro|numero|chambre)\.?",
    re.IGNORECASE,
)
"""What belongs to the figure behind it."""


def count_words(word: str) -> int:
    if word.isascii():
        return int(any(letter.isalnum() for letter in word))
    unspaced = len(UNSPACED.findall(word))
    others = any(letter.isalnum() for letter in UNSPACED.sub("", word))
    return -(-unspaced // UNSPACED_PER_WORD) + others
