"""Prices: $19.99, €5, 5,50 €, £3 million, $15/hour."""

from __future__ import annotations

import re

from spoken_forms.figures import FIGURE, NOT_INSIDE, SPACED_FIGURE, Figure, read_figure
from spoken_forms.language import Currency, Language
from spoken_forms.passes import Pass, one_of


def passes(language: Language) -> list[Pass]:
    signs = [name for name in language.currencies if not name.isalpha() or name.isupper()]
    magnitude = rf"(?:\s?(?P<magnitude>{one_of(language.magnitudes)})(?!\w))?"
    even = r"(?:[.,][-–—]+)?"
    """5,- is five and no cents."""
    per = r"(?P<per>\s?/\s?(?=[^\W\d_]))?"
    again = rf"(?P<again>\s{one_of(name for name in language.currencies if name[0].isalpha())}(?!\w))?"
    figure = SPACED_FIGURE if language.spaced_thousands else FIGURE

    def price(match: re.Match[str]) -> str | None:
        currency = language.currencies[re.sub(r"\s", " ", match["currency"])]
        read = read_figure(match["figure"], decimal_comma=language.decimal_comma)
        if read is None:
            return None
        if len(read.fraction) == 3 and read.whole.strip("0"):
            read = Figure(read.whole + read.fraction)  # $1,234 written in a language of decimal commas
        said = _amount(language, read, currency, match["magnitude"])
        groups = match.groupdict()
        if groups.get("sign"):
            said = f"{language.signs.minus} {said}"
        if (repeated := groups.get("again")) and language.currencies[repeated.strip()] != currency:
            said += repeated
        return f"{said} {language.signs.per} " if match["per"] else said

    found = [
        Pass(
            re.compile(
                rf"(?:(?<![\w)])(?P<sign>[-−]))?(?<!\w)(?P<currency>{one_of(signs)})\s?(?P<figure>{figure}){even}"
                rf"(?![\w.,]?[0-9]){magnitude}(?!\w){again}{per}"
            ),
            price,
        ),
        Pass(
            re.compile(
                rf"(?:(?<![\w.,:/@)])(?P<sign>[-−])|{NOT_INSIDE})(?:(?<!\w)\$\s?)?(?P<figure>{figure}){even}{magnitude}"
                rf"(?:\s(?:de|di|d['’])(?=\s|\w))?\s?(?P<currency>{one_of(language.currencies)})(?!\w){per}"
            ),
            price,
        ),
    ]
    return found[::-1] if language.decimal_comma else found  # "5 € 12" is five euros where the sign comes last


def _amount(language: Language, figure: Figure, currency: Currency, magnitude: str | None) -> str:
    if magnitude is None:
        return language.money(figure, currency)
    name = language.magnitudes[magnitude]
    round_name = name not in ("mil", "mille", "mila", "tausend", "thousand", "duizend")
    link = language.magnitude_link if round_name else " "
    said = language.figure(figure, name if round_name else "")
    if link.endswith("'") and currency.many[0] not in "aeiou":
        link = " de "
    return f"{said} {name}{link}{currency.many}"
