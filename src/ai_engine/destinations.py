"""Where callers may be put through to: names of the configuration, and outside numbers that fit its rules.

A model chooses among the names; what it makes up is refused here, before anything reaches Asterisk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_EXTENSION: Final = r"^[A-Za-z0-9_*#+.-]{1,80}$"
_ENDPOINT: Final = r"^[A-Za-z0-9_]+/[A-Za-z0-9_*#+.@:/-]{1,120}$"
_NUMBER: Final = re.compile(r"\+?[0-9]{2,24}")
_PATTERN: Final = re.compile(r"\+?(?:[0-9XZN]|\[[0-9]+(?:-[0-9])?\])+\.?")
_CLASSES: Final = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]", ".": "[0-9]+", "+": r"\+"}


class NotAllowed(Exception):
    """A destination that the configuration does not have; the message is for the model."""


def _pattern(value: str) -> str:
    if not _PATTERN.fullmatch(value):
        raise ValueError(
            f"{value!r} is no pattern of numbers: digits, X (0-9), Z (1-9), N (2-9), [156], and `.` at the end for the "
            "rest of the number"
        )
    return value


Extension = Annotated[str, Field(pattern=_EXTENSION)]
Pattern = Annotated[str, AfterValidator(_pattern)]


class Destination(BaseModel):
    """One place to be put through to."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kind: Literal["extension", "queue", "ring_group", "outside"] = "extension"
    """What stands there; `outside`: a number that the caller says, where `numbers` allow it."""
    description: str = ""
    """For the model: who answers there, and what about."""
    spoken: str = ""
    """How the agent names it to the caller ("the sales desk"); absent: the name."""
    extension: Extension | None = None
    """In the dialplan. Not for `outside`."""
    dialplan_context: Extension | None = None
    """Of `extension`, or for numbers outside; absent: the one the call came from."""
    endpoint: Annotated[str, Field(pattern=_ENDPOINT)] | None = None
    """What an attended transfer rings and a status asks for, such as `PJSIP/6001`; absent: the extension."""
    numbers: tuple[Pattern, ...] = ()
    """For `outside`: patterns as in the dialplan, such as `0Z.`."""
    except_numbers: tuple[Pattern, ...] = ()
    """For `outside`: numbers that are refused although `numbers` allow them, such as `0900.`."""
    prefix: Annotated[str, Field(pattern=r"^[0-9*#]{0,8}$")] = ""
    """For `outside`: dialled before the number."""

    @model_validator(mode="after")
    def _consistent(self) -> Destination:
        if self.kind == "outside":
            if not self.numbers:
                raise ValueError("an `outside` destination needs `numbers`: the patterns that are allowed")
            if self.extension or self.endpoint:
                raise ValueError("an `outside` destination has `numbers`, no `extension` or `endpoint`")
        elif self.extension is None:
            raise ValueError(f"a destination of the kind {self.kind!r} needs an `extension`")
        elif self.numbers or self.except_numbers or self.prefix:
            raise ValueError("`numbers`, `except_numbers` and `prefix` are for the kind `outside`")
        return self


@dataclass(frozen=True, slots=True)
class Target:
    """A destination of one call, ready to be reached."""

    name: str
    spoken: str
    extension: str
    dialplan_context: str
    """Empty: that of the caller's channel."""
    endpoint: str = ""
    """Empty: the extension."""

    def dialled(self, callers_context: str) -> str:
        """What Asterisk is asked to ring. The two halves of a Local channel stay: its id is what we know it by."""
        return self.endpoint or f"Local/{self.extension}@{self.dialplan_context or callers_context}/n"


def target(destinations: Mapping[str, Destination], name: str, number: str = "") -> Target:
    """The destination of that name, with the caller's number where it takes one. Raises `NotAllowed`."""
    found = destinations.get(name)
    if found is None:
        raise NotAllowed(f"there is no destination {name[:40]!r}, only {', '.join(destinations)}")
    spoken = found.spoken or name.replace("_", " ")
    if found.kind != "outside":
        assert found.extension is not None
        return Target(name, spoken, found.extension, found.dialplan_context or "", found.endpoint or "")
    dialled = re.sub(r"[\s()./-]", "", number)
    if not dialled:
        raise NotAllowed(f"{name!r} needs the `number` to call")
    if not _NUMBER.fullmatch(dialled) or not _fits(found.numbers, dialled) or _fits(found.except_numbers, dialled):
        raise NotAllowed(f"the number {dialled[:30]!r} may not be called from here")
    return Target(name, spoken, found.prefix + dialled, found.dialplan_context or "")


def _fits(patterns: tuple[str, ...], number: str) -> bool:
    return any(re.fullmatch(_expression(pattern), number) for pattern in patterns)


def _expression(pattern: str) -> str:
    """A dialplan pattern as a regular expression: classes one after another, which cannot take long."""
    pieces = re.findall(r"\[[^\]]+\]|.", pattern)
    return "".join(_CLASSES.get(piece, piece) for piece in pieces)
