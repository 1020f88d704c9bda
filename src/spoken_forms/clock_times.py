"""Times of day and what spans them: 9:30, 5 p.m., 17h45, 9–17 Uhr, Mon–Fri, 24/7."""

from __future__ import annotations

import re
from typing import Final

from spoken_forms.figures import NOT_INSIDE
from spoken_forms.language import Half, Language
from spoken_forms.passes import Pass, keep_stop, one_of

_HOUR: Final = r"(?P<h>[01]?[0-9]|2[0-4])"
_MINUTE: Final = r"(?P<m>[0-5][0-9])"


def passes(language: Language) -> list[Pass]:
    half = rf"(?P<half>{_either_case(language.half)})(?!\w)"
    word = rf"(?P<word>{language.clock_word})(?!\w)"
    both = rf"(?:\s?{half})?(?:\s?{word})?(?!\w)"

    def clock(match: re.Match[str]) -> str | None:
        groups = match.groupdict()
        hour, minute = int(groups["h"]), int(groups.get("m") or 0)
        if groups.get("half") and not 1 <= hour <= 12:
            groups["half"] = None  # 17:45 pm
        which: Half = None
        if groups.get("half"):
            which = "am" if groups["half"][0] in "aA" else "pm"
        said = language.clock(hour, minute, which, word=groups.get("word") or "")
        if groups.get("s"):
            said += f" {language.cardinal(int(groups['s']))}"
        return keep_stop(match, said)

    def hour_alone(match: re.Match[str]) -> str | None:
        """`9 h` is nine hours, where nobody writes the time so."""
        letter = len(match["word"].rstrip(".")) == 1 and language.clock_letter == r"(?!)"
        return None if letter else clock(match)

    return [
        Pass(re.compile(r"(?<![\w.,:/])24/7(?![\w/])"), lambda _: f"{language.cardinal(24)} {language.cardinal(7)}"),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}:{_MINUTE}(?::(?P<s>[0-5][0-9]))?(?![0-9:]){both}"), clock),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}\.{_MINUTE}(?:\s?{half}|\s?{word})"), clock),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}\s?{half}"), clock),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}\s?(?:{language.clock_letter})\s?{_MINUTE}?(?!\w)"), clock),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}\s?{word}"), hour_alone),
    ]


def ranges(language: Language) -> list[Pass]:
    """What comes before all other figures: a dash that means `to`."""
    half = _either_case(language.half)
    figure = rf"[$€£]?[0-9]{{1,6}}(?:[.,:h][0-9]{{1,3}})?(?:\s?(?:(?:{half})(?!\w)|[%€$£]|°C?))?"
    spans = re.compile(
        rf"(?<![\w.,:/–—-])(?P<a>{figure})(?P<dash>\s[–—-]\s|[–—-])(?P<b>{figure})(?![0-9])(?![.,:/–—-][0-9])"
    )
    days = "|".join(sorted(map(re.escape, _both_cases(language.weekdays)), key=len, reverse=True))
    whole = {short.lower(): day for short, day in language.weekdays.items() if len(short) > 1}
    whole |= {short: day for short, day in language.weekdays.items() if len(short) == 1}

    def day(short: str) -> str:
        return whole.get(short) or whole.get(short.lower(), short)

    def span(match: re.Match[str]) -> str | None:
        a, b = match["a"], match["b"]
        if a.isdigit() and b.isdigit():
            hyphen = "-" in match["dash"]
            if len(a) != len(b) and max(len(a), len(b)) > 2 and (hyphen or (len(a), len(b)) == (3, 4)):
                return None  # 555-0134
            if hyphen and len(a) > 2 and int(a) >= int(b):
                return None
            if len(a) > 4 or (len(a) > 1 and a[0] == "0" and len(a) > 2):
                return None
        return f"{a} {language.signs.to} {b}"

    def days_span(match: re.Match[str]) -> str:
        return f"{day(match[1])} {language.signs.to} {day(match[2])}"

    def one_day(match: re.Match[str]) -> str:
        return keep_stop(match, day(match[1]))

    sure = one_of(language.sure_weekdays) if language.sure_weekdays else r"(?!)"
    before_time = r"(?=[.,:]?\s[0-9]{1,2}(?:[:.h][0-9]|\s?[–—-]|\s?(?:Uhr|uur|[ap]\.?m\b|bis|to|a|à|tot)\b|\.\s?[0-9]))"
    return [
        Pass(re.compile(rf"(?<![\w.])({days})\.?\s?[–—-]\s?({days})(?:\.(?=\s?[\w,;:]))?(?!\w)"), days_span),
        Pass(re.compile(rf"(?<![\w.-])({sure})\.?(?![\w-])"), one_day),
        Pass(re.compile(rf"(?<![\w.-])({days}){before_time}\.?(?![\w-])"), one_day),
        Pass(spans, span),
    ]


def _both_cases(words: dict[str, str]) -> set[str]:
    return set(words) | {word.capitalize() for word in words}


def _either_case(pattern: str) -> str:
    return rf"(?i:{pattern})"
