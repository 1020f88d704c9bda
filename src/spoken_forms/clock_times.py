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

    def led(match: re.Match[str]) -> str:
        return f"{match['lead']} {clock(match)}"

    return [
        Pass(re.compile(r"(?<![\w.,:/])24/7(?![\w/])"), lambda _: f"{language.cardinal(24)} {language.cardinal(7)}"),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}:{_MINUTE}(?::(?P<s>[0-5][0-9]))?(?![0-9:]){both}"), clock),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}\.{_MINUTE}(?:\s?{half}|\s?{word})"), clock),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}\s?{half}"), clock),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}\s?(?:{language.clock_letter})\s?{_MINUTE}?(?!\w)"), clock),
        Pass(re.compile(rf"{NOT_INSIDE}{_HOUR}\s?{word}"), hour_alone),
        Pass(
            re.compile(
                rf"(?<!\w)(?P<lead>(?i:{language.clock_lead}))\s{_HOUR}\.{_MINUTE}(?![\w.,:/]*[0-9])(?!\s?[%€$£°])"
            ),
            led,
        ),
        Pass(re.compile(r"(?<=[ap]\.m\.)\.(?!\.)"), lambda _: ""),
    ]


def weekdays(language: Language) -> list[Pass]:
    """Mon–Fri, and short days alone where they can be nothing else."""
    days = _longest_first(_both_cases(language.weekdays))
    any_days = _longest_first(_both_cases(language.weekdays) | set(language.weekdays.values()))
    whole = {short.lower() if len(short) > 1 else short: day for short, day in language.weekdays.items()}
    sure = one_of(language.sure_weekdays) if language.sure_weekdays else r"(?!)"
    before_time = r"(?=[.,:]?\s[0-9]{1,2}(?:[:.h][0-9]|\s?[–—-]|\s?(?:Uhr|uur|[ap]\.?m\b|bis|to|a|à|tot)\b|\.\s?[0-9]))"

    def day(short: str) -> str:
        return whole.get(short) or whole.get(short.lower(), short)

    def span(match: re.Match[str]) -> str:
        return f"{day(match[1])} {language.signs.to} {day(match[2])}"

    def one_day(match: re.Match[str]) -> str:
        return keep_stop(match, day(match[1]))

    short = _longest_first({name for name in _both_cases(language.weekdays) if len(name) > 1})
    link = r"(\s(?:a|al|au|bis|to|tot|t/m|through|y|e|et|en|und|and|&)\s)"

    def linked(match: re.Match[str]) -> str:
        return keep_stop(match, f"{day(match[1])}{match[2]}{day(match[3])}")

    return [
        Pass(re.compile(rf"(?<![\w.])({any_days})\.?\s?[–—-]\s?({any_days})(?:\.(?=\s?[\w,;:]))?(?!\w)"), span),
        Pass(re.compile(rf"(?<![\w.])({days})\.?{link}({days})(?![\w-])\.?"), linked),
        Pass(re.compile(rf"(?<![\w.-])({sure})\.?(?![\w-])"), one_day),
        Pass(re.compile(rf"(?<![\w.-])({days}){before_time}\.?(?![\w-])"), one_day),
        Pass(re.compile(rf"(?<![\w.-])({short})\.(?=\s[^\W\d_A-ZÀ-ÖØ-Þ])"), one_day),  # no sentence begins small
    ]


def ranges(language: Language) -> list[Pass]:
    """What comes before all other figures: a dash that means `to`."""
    half = _either_case(language.half)
    figure = (
        r"[$€£]?[0-9]{1,6}(?:[.,:][0-9]{1,3}|\s?h(?:\s?[0-9]{2})?(?!\w))?"
        rf"(?:\s?(?:(?:{half})(?!\w)|[%€$£]|°C?))?"
    )
    spans = re.compile(
        rf"(?<![\w.,:/–—-])(?P<a>{figure})(?P<dash>\s[–—-]\s|[–—-])(?P<b>{figure})(?![0-9])(?![.,:/–—-][0-9])"
    )

    def span(match: re.Match[str]) -> str | None:
        a, b = match["a"], match["b"]
        return f"{a} {language.signs.to} {b}" if _is_range(a, b, hyphen="-" in match["dash"]) else None

    return [Pass(spans, span)]


def _is_range(a: str, b: str, *, hyphen: bool) -> bool:
    """Whether figures with a dash between them are from one to the other, and not 555-0134 or 0171-123."""
    if not (a.isdigit() and b.isdigit()):
        return True
    shorter_first = len(a) != len(b) and max(len(a), len(b)) > 2
    if shorter_first and (hyphen or (len(a), len(b)) == (3, 4)):
        return False
    if len(a) > 4 or (len(a) > 2 and a[0] == "0"):
        return False
    return not hyphen or len(a) <= 2 or int(a) < int(b)


def _longest_first(words: set[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


def _both_cases(words: dict[str, str]) -> set[str]:
    return set(words) | {word.capitalize() for word in words}


def _either_case(pattern: str) -> str:
    return rf"(?i:{pattern})"
