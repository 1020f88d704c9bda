"""Plain numbers and what is counted: 5 km, −3 °C, 10 %, 1st, 1/2, 1,234.5, 2026."""

from __future__ import annotations

import re
from typing import Final

from spoken_forms.calendar_dates import short_date
from spoken_forms.figures import FIGURE, NOT_GOING_ON, NOT_INSIDE, SPACED_FIGURE, Figure, read_figure
from spoken_forms.language import Language
from spoken_forms.number_words import MAX_DIGITS
from spoken_forms.passes import SIGN, Pass, keep_stop, one_of, word_after, word_before

_VULGAR: Final = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8", "⅜": "3/8",
                  "⅝": "5/8"}  # fmt: skip
_OF: Final = frozenset({"of", "de", "des", "du", "d", "del", "della", "di", "da", "do", "der", "von", "van"})
_VULGAR_SIGN: Final = re.compile(rf"[{''.join(_VULGAR)}]")


def passes(language: Language) -> list[Pass]:
    figure = SPACED_FIGURE if language.spaced_thousands else FIGURE
    signs = language.signs

    def signed(match: re.Match[str], said: str) -> str:
        sign = match["sign"]
        if sign is None:
            return said
        plus_or_minus = {"+": signs.plus, "±": f"{signs.plus} {signs.or_} {signs.minus}"}.get(sign, signs.minus)
        return f"{plus_or_minus} {said}"

    def vulgar(match: re.Match[str]) -> str:
        before = match.string[: match.start()][-1:]
        return (" " if before.isdigit() else "") + _VULGAR[match[0]]

    def unit(match: re.Match[str]) -> str | None:
        read = read_figure(match["figure"], decimal_comma=language.decimal_comma)
        if read is None:
            return None
        one, many = language.units[re.sub(r"\s", " ", match["unit"])]
        return keep_stop(match, signed(match, language.count(read, one, many)))

    def ordinal(match: re.Match[str]) -> str | None:
        n, suffix = int(match[1]), match[2]
        if suffix == ".":
            return _german_ordinal(language, match, n)
        return language.ordinal(n, suffix, word_before(match), word_after(match)) if n else None

    def fraction(match: re.Match[str]) -> str:
        whole, a, b = match[1], int(match[2]), int(match[3])
        name = language.over(a, b)
        if whole is not None:
            head = language.cardinal(int(whole))
            if (a, b) == (1, 2):
                return f"{head} {language.and_a_half}"
            return f"{head} {signs.and_} {name}" if name else f"{head} {a} {signs.slash} {b}"
        if name and (word_after(match) in _OF or word_before(match).lower() not in language.date_leads):
            return name
        between = " " if a == b else f" {signs.slash} "
        return short_date(language, a, b, word_before(match)) or language.cardinal(a) + between + language.cardinal(b)

    def number(match: re.Match[str]) -> str | None:
        text, noun = match["figure"], match["noun"] or ""
        if text.isdigit() and len(text) == 4 and match["sign"] is None and language.is_year(int(text)):
            return language.year(int(text))
        read = read_figure(text, decimal_comma=language.decimal_comma)
        return signed(match, language.figure(read, noun) if read is not None else listed(text))

    def listed(text: str) -> str:
        """1.2.3 and 1,2,3: numbers with their dots, and with pauses."""
        said = []
        for piece in re.findall(r"[0-9]+|[.,]", text):
            if piece == ".":
                said.append(f" {signs.dot} ")
            else:
                said.append(", " if piece == "," else language.figure(Figure(piece[:40])))
        return "".join(said)

    def times(match: re.Match[str]) -> str:
        return f"{match[1]} {signs.times} {match[2] or ''}".rstrip()

    units = one_of(language.units)
    return [
        Pass(_VULGAR_SIGN, vulgar),
        Pass(re.compile(r"[~≈]\s?(?=[0-9$€£])"), lambda _: f"{signs.about} "),
        Pass(re.compile(rf"{NOT_INSIDE}([0-9]{{1,6}})\s?[x×]\s?([0-9]{{1,6}})?(?!\w)(?![x×.,][0-9])"), times),
        Pass(re.compile(rf"{SIGN}(?P<figure>{figure})\s?(?P<unit>{units})(?![\w/²])"), unit),
        Pass(re.compile(rf"{NOT_INSIDE}([0-9]{{1,6}}){language.ordinal_suffix}(?!\w)"), ordinal),
        Pass(re.compile(rf"{NOT_INSIDE}(?:([0-9]{{1,3}})\s)?([0-9]{{1,2}})/([0-9]{{1,2}})(?![\w/])"), fraction),
        Pass(re.compile(rf"{SIGN}(?P<figure>{figure}){NOT_GOING_ON}(?=(?:\s(?P<noun>[^\W\d_]{{1,30}}))?)"), number),
        Pass(re.compile(r"§§?\s?(?=\w)"), lambda _: f"{signs.section} "),
    ]


def _german_ordinal(language: Language, match: re.Match[str], n: int) -> str | None:
    """`der 3. Stock`, `am 3.`: a figure with a stop, which may only end a sentence."""
    before, after = word_before(match), word_after(match)
    said = language.ordinal(n, ".", before, after)
    certain = before.lower() in _BEFORE_ORDINALS
    at_end = not after or match.string[match.end() : match.end() + 1] in ".!?,;:"
    if at_end:
        return keep_stop(match, said, before_capital=False) if certain and n <= 31 and before.lower() != "um" else None
    if certain or after in _AFTER_ORDINALS or after[0].islower():
        return said
    return None


_BEFORE_ORDINALS: Final = frozenset({
    "am", "im", "zum", "vom", "beim", "zur", "den", "dem", "des", "der", "die", "das", "jeden", "jedem",
    "jeder", "jede",
})  # fmt: skip
_AFTER_ORDINALS: Final = frozenset({
    "Stock", "Etage", "Mal", "Platz", "Tag", "Klasse", "Kapitel", "Quartal", "Obergeschoss", "Reihe", "Person",
    "Versuch", "Woche", "Monat", "Jahr", "Jahrhundert",
})  # fmt: skip
assert MAX_DIGITS < 40  # FIGURE takes longer ones, which are read digit by digit
