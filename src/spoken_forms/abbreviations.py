"""Words written short, and signs between words: Dr., e.g., No. 5, A & B, and/or."""

from __future__ import annotations

import re
from typing import Final

from spoken_forms.language import Language
from spoken_forms.passes import Pass, keep_stop, one_of

_LETTER: Final = r"[^\W\d_]"


def passes(language: Language) -> list[Pass]:
    signs = language.signs
    everywhere = language.abbreviations | language.closing_abbreviations

    def whole(match: re.Match[str]) -> str:
        short = re.sub(r"\s", " ", match[0])
        return keep_stop(match, everywhere[short], before_capital=short in language.closing_abbreviations)

    def numbered(match: re.Match[str]) -> str:
        return f"{language.before_numbers[match[1]]} "

    def either(match: re.Match[str]) -> str:
        a, b = match[1], match[2]
        if a.lower() == signs.and_ and b.lower() == signs.or_:
            return f"{a} {b}"
        if a.isupper() and b.isupper():
            return f"{a} {b}"  # A/C, TCP/IP
        return f"{a} {signs.or_} {b}"

    def before(match: re.Match[str]) -> str:
        """Written together with what follows: C/Mayor."""
        said = everywhere[match[0]]
        return said if said.endswith("-") or match.string[match.end()].isspace() else f"{said} "

    boundary = r"(?<![\w.@/-])"
    units = [short for short in everywhere if short in language.units]
    inside = [short for short in everywhere if short.endswith(("/", "-"))]
    others = [short for short in everywhere if short not in inside and short not in units]
    found = [
        Pass(re.compile(rf"{boundary}({one_of(language.before_numbers)})\s?(?=#?[0-9])"), numbered),
        Pass(re.compile(rf"{boundary}{one_of(others)}(?![\w@])"), whole),
        Pass(re.compile(r"(?<=[^\s&])\s?&(?:amp;)?\s?(?=[^\s&])"), lambda _: f" {signs.and_} "),
        Pass(re.compile(rf"(?<!\S)({_LETTER}{{1,30}})/({_LETTER}{{1,30}})(?![\w/])"), either),
        Pass(re.compile(r"(?<=\S\s)\+(?=\s\S)"), lambda _: signs.plus),
        Pass(re.compile(r"(?<=\S\s)=(?=\s\S)"), lambda _: signs.equals),
        Pass(re.compile(r"(?<!\S)@(?=\s?\S)\s?"), lambda _: f"{signs.at} "),
    ]
    if inside:
        found.insert(2, Pass(re.compile(rf"{boundary}{one_of(inside)}(?=\s?\S)"), before))
    if units:  # 5 min. is said by the unit's name
        found.insert(2, Pass(re.compile(rf"(?<![0-9])(?<![0-9]\s){boundary}{one_of(units)}(?!\w)"), whole))
    if street := {"de": "straße", "nl": "straat"}.get(language.code):
        found.append(Pass(re.compile(r"(?<=[a-zäöüß])str\.(?!\w)"), lambda match: keep_stop(match, street)))
    if language.code.startswith("en"):
        found[1:1] = _english(everywhere)
    return found


def _english(everywhere: dict[str, str]) -> list[Pass]:
    """`St.` and `Dr.` stand before a name or after it."""
    name = r"(?=\s[A-Z])"
    after_name = r"(?<=[a-z0-9]\s)"
    return [
        Pass(re.compile(rf"(?<![\w.]){after_name}St\b\.?(?=\s*(?:$|[,;!?)]|[A-Z][a-z]+\s|and\b|in\b|at\b|on\b|near\b))"),
             lambda match: keep_stop(match, "Street")),
        Pass(re.compile(rf"(?<![\w.])St\.?{name}"), lambda _: "Saint"),
        Pass(re.compile(rf"(?<![\w.])Dr\.?{name}"), lambda _: "Doctor"),
        Pass(re.compile(rf"(?<![\w.]){after_name}Dr\.(?=\s*(?:$|[,;!?)]))"), lambda match: keep_stop(match, "Drive")),
        Pass(re.compile(r"(?<![\w.])Dr\.(?!\w)"), lambda match: keep_stop(match, "Doctor", before_capital=False)),
        Pass(re.compile(r"(?<![\w.])St\.(?!\w)"), lambda match: keep_stop(match, "Street")),
    ]  # fmt: skip
