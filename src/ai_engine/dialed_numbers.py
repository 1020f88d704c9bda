"""Which context a dialled number belongs to: numbers as they are, and patterns as Asterisk's dialplan writes them.

A pattern begins with `_`: `X` is any digit, `Z` 1 to 9, `N` 2 to 9, `[1-59]` one of those, `.` one or more of whatever
and `!` none or more, both only at the end. The most exact entry wins, place by place from the left, as in the dialplan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_SET: Final = re.compile(r"\[((?:[0-9*#](?:-[0-9])?)+)\]")
_CLASSES: Final = {"X": "0123456789", "Z": "123456789", "N": "23456789"}
_NUMBER: Final = re.compile(r"[0-9A-Za-z+*#_.@-]{1,80}")
_SPACING: Final = re.compile(r"[\s()/]|(?<=\d)[-.](?=\d)")
_ANY: Final = 1000
"""Choices that `.` and `!` count as: more than any class has."""


class NumberError(ValueError):
    """No number and no pattern; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class DialedNumber:
    """One entry. Two are the same where they fit the same numbers and are written alike but for spacing."""

    text: str
    """Without spaces and the like in numbers: `+49 30 1234-5` is `+493012345`."""
    regex: re.Pattern[str]
    rank: tuple[int, ...]
    """How many choices each place leaves; the smaller is the more exact."""

    @classmethod
    def parse(cls, written: str) -> DialedNumber:
        """Raises `NumberError`."""
        text = written.strip()
        if not text.startswith("_"):
            text = _SPACING.sub("", text)
            if not _NUMBER.fullmatch(text):
                raise NumberError(f"{written!r} is no number; write digits, or a pattern such as _49301234X")
            return cls(text, re.compile(re.escape(text)), (1,) * len(text))
        places, rank = _places(text)
        return cls(text, re.compile("".join(places)), rank)

    def fits(self, number: str) -> bool:
        return self.regex.fullmatch(number) is not None


def _places(text: str) -> tuple[list[str], tuple[int, ...]]:
    """Of a pattern: the regular expression of each place, and how many choices it leaves."""
    places: list[str] = []
    rank: list[int] = []
    at = 1
    while at < len(text):
        character = text[at]
        if character in ".!" and at + 1 == len(text):
            places.append(".+" if character == "." else ".*")
            rank.append(_ANY + (character == "!"))
            at += 1
            continue
        if character == "[" and (found := _SET.match(text, at)) is not None:
            choices, end = _choices(found[1], text), found.end()
        elif character in _CLASSES:
            choices, end = _CLASSES[character], at + 1
        elif character.isdigit() or character in "+*#":
            choices, end = character, at + 1
        elif character in "- ":
            at += 1
            continue
        else:
            raise NumberError(f"{text!r} is no pattern: {text[at:]!r} is no digit, X, Z, N, [1-5], or . at the end")
        places.append(f"[{re.escape(choices)}]")
        rank.append(len(choices))
        at = end
    if not places:
        raise NumberError(f"{text!r} is no pattern: there is nothing behind the _")
    return places, tuple(rank)


def _choices(inner: str, text: str) -> str:
    found: list[str] = []
    for first, last in re.findall(r"([0-9*#])(?:-([0-9]))?", inner):
        if not last:
            found.append(first)
        elif first.isdigit() and first <= last:
            found += [str(digit) for digit in range(int(first), int(last) + 1)]
        else:
            raise NumberError(f"{text!r} is no pattern: {first}-{last} holds nothing")
    return "".join(sorted(set(found)))


def context_of(number: str, entries: Mapping[str, Sequence[DialedNumber]]) -> str | None:
    """The name among `entries` (name: its numbers) that the dialled `number` belongs to; None: nobody's."""
    fitting = [
        (entry.rank, name) for name, numbers in entries.items() for entry in numbers if number and entry.fits(number)
    ]
    return min(fitting)[1] if fitting else None


def twice(entries: Mapping[str, Sequence[DialedNumber]]) -> Iterable[tuple[str, int, str]]:
    """(name, position, the name that has it already) of each entry that is written down for two."""
    owners: dict[str, str] = {}
    for name, numbers in entries.items():
        for position, entry in enumerate(numbers):
            if entry.text in owners:
                yield name, position, owners[entry.text]
            else:
                owners[entry.text] = name
