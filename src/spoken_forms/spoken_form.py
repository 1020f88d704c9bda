"""Written text as a voice shall say it: figures, prices, times, dates, addresses and abbreviations in words.

What is spoken may differ from what is written: history and transcripts keep the written text, only the voice is given
this. A language that is not here is left to the voice as it is written.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from spoken_forms import abbreviations, addresses, calendar_dates, clock_times, digit_strings, prices, quantities
from spoken_forms.dutch import Dutch
from spoken_forms.english import BritishEnglish, English
from spoken_forms.french import French
from spoken_forms.german import German
from spoken_forms.italian import Italian
from spoken_forms.language import Language
from spoken_forms.passes import Pass
from spoken_forms.portuguese import BrazilianPortuguese, Portuguese
from spoken_forms.spanish import Spanish

LANGUAGES: Final[dict[str, type[Language]]] = {
    kind.code: kind
    for kind in (English, BritishEnglish, German, Spanish, French, Italian, Portuguese, BrazilianPortuguese, Dutch)
}
"""By `Language.code`."""
_THREE_LETTERS: Final = {"eng": "en", "deu": "de", "ger": "de", "spa": "es", "fra": "fr", "fre": "fr", "ita": "it",
                         "por": "pt", "nld": "nl", "dut": "nl"}  # fmt: skip
_FIGURE: Final = re.compile(r"[0-9½⅓⅔¼¾⅕⅛⅜⅝]")
_MONTH_FIRST: Final = frozenset({"", "us", "ca", "ph"})
"""Countries that write 11/21 in English; espeak's `en-us` too."""


def spoken_form(text: str, language: str) -> str:
    """`text` with everything in words that `language` (`de`, `en-GB`, `pt_BR`) says in words.

    Never fails, loses no word and takes time in proportion to the text. What is in words already stays as it is.
    """
    code = _code_of(language)
    if code is None:
        return text
    for each in _passes(code, with_figures=_FIGURE.search(text) is not None):
        text = each.over(text)
    return text


@lru_cache(maxsize=256)
def _code_of(language: str) -> str | None:
    """The key of `LANGUAGES` that a tag means."""
    tag = language.strip().lower().replace("_", "-").partition(".")[0]
    name, _, regions = tag.partition("-")
    name, region = _THREE_LETTERS.get(name, name), regions.partition("-")[0]
    if name == "en" and region not in _MONTH_FIRST:
        return BritishEnglish.code
    if name == "pt" and region == "br":
        return BrazilianPortuguese.code
    return name if name in LANGUAGES else None


@lru_cache
def _passes(code: str, *, with_figures: bool) -> tuple[Pass, ...]:
    """In this order: what a later pass would take apart comes first."""
    language = LANGUAGES[code]()
    if not with_figures:
        return (
            *addresses.passes(language),
            *clock_times.weekdays(language),
            *abbreviations.passes(language),
        )
    return (
        *addresses.passes(language),
        *clock_times.weekdays(language),
        *clock_times.ranges(language),
        *clock_times.passes(language),
        *calendar_dates.passes(language),
        *prices.passes(language),
        *abbreviations.passes(language),
        *digit_strings.passes(language),
        *quantities.passes(language),
    )
