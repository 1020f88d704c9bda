"""The arguments of a tool that a caller's words name plainly: one of a list, a number, a code of digits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_UNITS: Final = {
    **{"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4"},
    **{"five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"},
}
"""English; recognisers write figures in most languages anyway."""
_TOKEN: Final = re.compile(r"[0-9]+|[^\W\d_]+(?:'[^\W\d_]+)?")
_MOST_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class ArgumentsSaid:
    """What was found."""

    arguments: Mapping[str, Any]
    missing: tuple[str, ...]
    """Required, and not found by these means: a model may find them."""
    impossible: bool
    """One of those is a code or a number, and the words hold none: whatever a model gave would be made up."""


def arguments_said(said: str, parameters: Mapping[str, Any]) -> ArgumentsSaid:
    """The arguments in `said`, by the tool's JSON Schema. They still have to be checked against all of it."""
    found: dict[str, Any] = {}
    missing: list[str] = []
    impossible = False
    properties = parameters.get("properties") or {}
    for name, schema in properties.items():
        value = _value(said, schema) if isinstance(schema, Mapping) else None
        if value is not None:
            found[name] = value
    for name in parameters.get("required") or ():
        if name in found:
            continue
        missing.append(name)
        schema = properties.get(name)
        impossible = impossible or (isinstance(schema, Mapping) and _is_of_digits(schema))
    return ArgumentsSaid(found, tuple(missing), impossible)


def _value(said: str, schema: Mapping[str, Any]) -> Any:
    """None where the words do not name exactly one."""
    for key in ("const", "default"):
        if schema.get(key) is not None:
            return schema[key]
    if isinstance(choices := schema.get("enum"), list):
        named = [choice for choice in choices if isinstance(choice, str) and _names(said, choice)]
        return choices[0] if len(choices) == 1 else named[0] if len(named) == 1 else None
    if not _is_of_digits(schema):
        return None
    numbers = list(dict.fromkeys(_numbers(said)))
    if (pattern := schema.get("pattern")) is not None:
        numbers = [number for number in numbers if re.search(pattern, number)]
    if len(numbers) != 1:
        return None
    return int(numbers[0]) if schema.get("type") == "integer" else numbers[0]


def _is_of_digits(schema: Mapping[str, Any]) -> bool:
    """A whole number, or a text whose pattern takes digits and no letters."""
    if "enum" in schema or "const" in schema or "default" in schema:
        return False
    if schema.get("type") == "integer":
        return True
    pattern = schema.get("pattern")
    return isinstance(pattern, str) and not re.search("[A-Za-z]", pattern.replace(r"\d", "")) and bool(
        re.search(r"\\d|0-9", pattern)
    )  # fmt: skip


def _names(said: str, choice: str) -> bool:
    """Whether the words of `choice` are among those said, one after the other: `front_desk` in "the front desk"."""
    words = re.sub(r"[\W_]+", " ", choice.lower()).strip()
    return bool(words) and re.search(rf"\b{re.escape(words)}\b", re.sub(r"[\W_]+", " ", said.lower())) is not None


def _numbers(said: str) -> Iterator[str]:
    """Digits that were said one after the other, as one number each: "five oh two seven", "50 27"."""
    run = ""
    for token in (*_TOKEN.findall(said.lower()), ""):
        if token.isascii() and token.isdigit():
            run += token
        elif token in _UNITS:
            run += _UNITS[token]
        elif token in ("oh", "o") and run:
            run += "0"
        else:
            if run:
                yield run[:_MOST_DIGITS]
            run = ""
