"""Dates: 2026-11-21, 21.11.2026, 11/21/2026, Nov 21st, 21 de noviembre."""

from __future__ import annotations

import re
from typing import Final

from spoken_forms.figures import NOT_INSIDE
from spoken_forms.language import Language
from spoken_forms.passes import Pass, keep_stop, word_before

_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def passes(language: Language) -> list[Pass]:
    month_of = {name.lower(): number for number, name in enumerate(language.months, 1)}
    month_of |= language.month_abbreviations
    names = "|".join(sorted(_spellings(language), key=len, reverse=True))
    month = rf"(?P<month>(?:{names}))(?!\w)(?P<stop>\.(?=\s?[\w,]|$))?"
    year = rf"(?:{language.year_after_month}(?P<year>[0-9]{{4}})(?![\w]))?"
    day = r"(?P<day>[0-3]?[0-9])"

    def iso(match: re.Match[str]) -> str | None:
        return dated(match, int(match[3]), int(match[2]), int(match[1]))

    def numeric(match: re.Match[str]) -> str | None:
        if match[2] == "-" and len(match[4]) == 2:
            return None
        year = int(match[4]) + (2000 if len(match[4]) == 2 else 0)
        day, month = int(match[1]), int(match[3])
        if (language.month_first and match[2] != "." and day <= 12) or month > 12:
            day, month = month, day
        return dated(match, day, month, year)

    def dotted(match: re.Match[str]) -> str | None:
        said = dated(match, int(match[1]), int(match[2]), None)
        return said and keep_stop(match, said, before_capital=False)

    def named(match: re.Match[str]) -> str | None:
        number = month_of[match["month"].lower()]
        year_text = match["year"]
        if not 1 <= int(match["day"]) <= _DAYS[number - 1]:
            return None
        said = language.named_date(
            int(match["day"]),
            number,
            int(year_text) if year_text else None,
            word_before(match),
            day_first=match.start("day") < match.start("month"),
        )
        return keep_stop(match, said, before_capital=False)

    def dated(match: re.Match[str], day: int, month: int, year: int | None) -> str | None:
        if not (1 <= month <= 12 and 1 <= day <= _DAYS[month - 1]):
            return None
        return language.date(day, month, year, word_before(match))

    found = [
        Pass(re.compile(r"(?<![\w./-])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![\w-])"), iso),
        Pass(re.compile(rf"{NOT_INSIDE}([0-9]{{1,2}})([./-])([0-9]{{1,2}})\2([0-9]{{4}}|[0-9]{{2}})(?![\w])(?![./-][0-9])"),
             numeric),
        Pass(re.compile(rf"{NOT_INSIDE}{day}{language.day_before_month}{month}{year}"), named),
    ]  # fmt: skip
    if language.day_before_month.startswith(r"\."):
        found.insert(2, Pass(re.compile(rf"{NOT_INSIDE}([0-3]?[0-9])\.([01]?[0-9])\.(?![0-9])"), dotted))
    if language.code.startswith("en"):
        found.append(Pass(re.compile(rf"(?<!\w){month}\s{day}(?:st|nd|rd|th)?(?![\w:])(?![.,][0-9]){year}"), named))
    return found


def _spellings(language: Language) -> set[str]:
    """Names of months as they are found in text: small too, where the language writes them so."""
    whole, short = set(language.months), set(language.month_abbreviations)
    capital = {name[0].upper() + name[1:] for name in whole | short}
    return capital if language.months[0][0].isupper() else capital | whole | short


def short_date(language: Language, a: int, b: int, before: str) -> str | None:
    """`a`/`b` as a date without a year, after the word `before`; None where it is none, or hardly one."""
    day, month = (b, a) if language.month_first else (a, b)
    if day <= 12 and before.lower() not in language.date_leads:
        return None
    if not (1 <= month <= 12 and 1 <= day <= _DAYS[month - 1]):
        return None
    return language.date(day, month, None, before)
