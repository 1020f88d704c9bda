"""Figures as people write them: thousands marked or not, decimals after a point or a comma."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_THIN: Final = "\u00a0\u202f\u2009"
FIGURE: Final = (
    rf"(?:[0-9]{{1,3}}(?:[{_THIN}][0-9]{{3}}){{1,4}}(?![0-9])(?:[.,][0-9]{{1,6}})?"
    r"|[0-9]{1,40}(?:[.,'’][0-9]{1,40}){0,6})"
)
"""A figure's pattern, no groups in it. Bounded everywhere, so that no text takes more than linear time."""
SPACED_FIGURE: Final = rf"(?:[0-9]{{1,3}}(?:[{_THIN} ][0-9]{{3}}){{1,4}}(?![0-9])(?:[.,][0-9]{{1,6}})?|{FIGURE})"
"""The same in languages that write 12 500 for twelve thousand five hundred."""
NOT_INSIDE: Final = r"(?<![\w.,:/@])"
"""Before a figure that stands alone."""
NOT_GOING_ON: Final = r"(?![\w])(?![.,:/][0-9])"
"""After one."""


@dataclass(frozen=True, slots=True)
class Figure:
    """`whole` and `fraction` are digits as written; `mark` is what stood between them."""

    whole: str
    fraction: str = ""
    mark: str = ""


def read_figure(text: str, *, decimal_comma: bool) -> Figure | None:
    """What `text`, which matches `FIGURE`, means; None where it is no quantity (1.2.3) but a list or a version.

    A mark that fits as a thousands separator of the language is one; the last of two kinds is the decimal mark.
    """
    text = re.sub(rf"[{_THIN} '’]", "'", text)
    marks = [character for character in text if not character.isdigit()]
    groups = re.split(r"[.,']", text)
    if not marks:
        return Figure(text)
    grouped = all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3 and groups[0].strip("0") != ""
    if len(set(marks)) == 1:
        mark = marks[0]
        if grouped and (mark == "'" or len(marks) > 1 or mark == (".," if decimal_comma else ",.")[0]):
            return Figure("".join(groups))
        if len(marks) > 1 or mark == "'":
            return None
        foreign = mark == ("." if decimal_comma else ",")
        if foreign and not decimal_comma and len(groups[1]) != 2:
            return None  # "rooms 1,2 and 3"
        return Figure(groups[0], groups[1], mark)
    head, last = groups[:-1], marks[-1]
    thousands = all(len(group) == 3 for group in head[1:]) and len(head[0]) <= 3
    if len(set(marks[:-1])) != 1 or last in marks[:-1] or last == "'" or not thousands:
        return None
    return Figure("".join(head), groups[-1], last)
