"""Requests with variables in braces: an address, headers, a JSON body, and what is taken out of the answer. Pure.

What a caller or a model says is always a value: it is percent-encoded in an address, a string in JSON, one line in a
header. It can be no host, no further path segment upwards, no key and no header's name.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

MAX_VALUE_CHARACTERS: Final = 1000
"""Of one value in an address."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_AUTHORITY: Final = re.compile(r"https?://[^/?#\\]+")
_MISSING: Final = object()


class RequestTemplateError(ValueError):
    """A text in the configuration that cannot be a template; the message says what to write."""


class ValueRefused(Exception):
    """A value that must not stand where the template has it; the message is for the model."""


@dataclass(frozen=True, slots=True)
class Text:
    """Literal pieces, and between them names of variables (with dots where `parse` was told to allow paths)."""

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, source: str, *, paths: bool = False) -> Text:
        """Raises `RequestTemplateError`. `{{` and `}}` stand for the braces themselves."""
        try:
            parsed = list(string.Formatter().parse(source))
        except ValueError as error:
            raise RequestTemplateError(f"{error}; write {{{{ and }}}} for braces that are no variable") from None
        for _, name, spec, conversion in parsed:
            if name is None:
                continue
            named = all(name.split(".")) if paths else _NAME.match(name)
            if spec or conversion or not named:
                raise RequestTemplateError(f"`{{{name}}}` is no variable; write a name alone, as in {{caller_number}}")
        return cls(tuple((literal, name) for literal, name, _, _ in parsed))

    @property
    def variables(self) -> frozenset[str]:
        return frozenset(name for _, name in self.pieces if name is not None)

    def fill(self, value_of: Callable[[str], str]) -> str:
        return "".join(literal + (value_of(name) if name is not None else "") for literal, name in self.pieces)


class UrlTemplate:
    """An address whose scheme, host and port are fixed."""

    def __init__(self, source: str) -> None:
        """Raises `RequestTemplateError`."""
        self._text = Text.parse(source)
        literal = self._text.pieces[0][0] if self._text.pieces else ""
        found = _AUTHORITY.match(literal)
        if found is None or (found.end() == len(literal) and self._text.variables):
            raise RequestTemplateError(
                "scheme, host and port are fixed: write them without variables and with a `/` after them, "
                "as in https://host/customers/{caller_number}"
            )
        self.origin = found[0]
        self.variables = self._text.variables

    def fill(self, values: Mapping[str, Any]) -> str:
        """Raises `ValueRefused` for a value that is empty within the path, too long, or would walk up in it."""
        filled, in_path = "", True
        for literal, name in self._text.pieces:
            filled += literal
            in_path = in_path and not {"?", "#"} & set(literal)
            if name is not None:
                filled += _encoded(name, as_text(values.get(name)), in_path=in_path)
        path = re.split(r"[?#]", filled.removeprefix(self.origin), maxsplit=1)[0]
        if any(segment in (".", "..") for segment in re.split(r"[/\\]", unquote(path))):
            raise ValueRefused("a value would lead to another address")
        return filled


def _encoded(name: str, value: str, *, in_path: bool) -> str:
    if len(value) > MAX_VALUE_CHARACTERS:
        raise ValueRefused(f"{name} is longer than {MAX_VALUE_CHARACTERS} characters")
    if in_path and not value.strip():
        raise ValueRefused(f"{name} is empty")
    # A lone surrogate has no UTF-8: what a model writes as \ud800 becomes a question mark.
    return quote(value, safe="", errors="replace")


def json_variables(body: Any) -> frozenset[str]:
    """The variables that a JSON body names. Raises `RequestTemplateError`."""
    return frozenset[str]().union(*(Text.parse(text).variables for text in _strings(body)))


def fill_json(body: Any, values: Mapping[str, Any]) -> Any:
    """The body with values in it; a text that is one variable alone takes the value as it is: a number stays one."""
    if isinstance(body, str):
        text = Text.parse(body)
        if len(text.pieces) == 1 and text.pieces[0][0] == "" and (name := text.pieces[0][1]) is not None:
            return values.get(name)
        return text.fill(lambda name: as_text(values.get(name)))
    if isinstance(body, Mapping):
        return {key: fill_json(inner, values) for key, inner in body.items()}
    if isinstance(body, list | tuple):
        return [fill_json(inner, values) for inner in body]
    return body


def one_line(value: str) -> str:
    """A header's value: no control characters, so no further header."""
    return "".join(c if c.isprintable() and c.isascii() else " " for c in value).strip()


def as_text(value: Any) -> str:
    """A value of JSON as it is written in a text: no quotes around a string, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def at_path(answer: Any, path: str) -> Any:
    """What stands at `orders.0.number` in a JSON answer; None where there is nothing. Empty: all of it."""
    current = answer
    for step in path.split(".") if path else ():
        current = _step(current, step)
        if current is _MISSING:
            return None
    return current


def _step(value: Any, step: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step, _MISSING)
    if isinstance(value, list) and step.isascii() and step.isdigit() and int(step[:9]) < len(value):
        return value[int(step[:9])]
    return _MISSING


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise RequestTemplateError(f"the key {key!r} of `json` is no text; write it in quotes")
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
