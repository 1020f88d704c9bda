"""Texts with variables in braces: checked when the configuration is read, filled in once per call.

A value is inserted as it is, after cleaning, and never looked at again: a caller named `{call_id}` is spoken to as
just that. What a template may not hold (an unknown name, a format, an attribute) is an error when it is parsed.
"""

from __future__ import annotations

import difflib
import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CALL_VARIABLES: Final = (
    *("caller_name", "caller_number", "dialed_number", "call_id", "now", "part_of_day", "time_greeting"),
    *("open_now", "hours_today", "next_opening"),
)
"""Every call has these, the last three where business hours chose its context. `ai_…` is a dialplan variable `AI_…` of
the call, empty where it was not set; `lookup_…` what a tool of the context's `before_call` found."""

MAX_VALUE_CHARACTERS: Final = 200
_OTHER_VARIABLE: Final = re.compile(r"(ai|lookup)_[a-z0-9_]+\Z")
_SPACES: Final = re.compile(r"\s+")


class TemplateError(ValueError):
    """A text whose braces do not name a variable. The message says which and what to write."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: literal pieces, and between them the names of variables."""

    source: str
    pieces: tuple[tuple[str, str | None], ...]
    """(literal text, variable that follows it or None)."""

    @classmethod
    def parse(cls, source: str) -> Template:
        """Raises `TemplateError`. `{{` and `}}` stand for the braces themselves."""
        pieces: list[tuple[str, str | None]] = []
        try:
            for literal, name, spec, conversion in string.Formatter().parse(source):
                if name is not None:
                    _check(name, spec, conversion)
                pieces.append((literal, name))
        except TemplateError:
            raise
        except ValueError as error:
            raise TemplateError(f"{error}; write {{{{ and }}}} for braces that are no variable") from None
        return cls(source, tuple(pieces))

    @property
    def variables(self) -> frozenset[str]:
        return frozenset(name for _, name in self.pieces if name is not None)

    @property
    def constant(self) -> bool:
        """Whether the text is the same in every call (and may be rendered to sound ahead of it)."""
        return not self.variables

    def fill(self, values: Mapping[str, str]) -> str:
        """The text of one call. A variable that `values` lacks is empty."""
        return "".join(
            literal if name is None else literal + clean_value(values.get(name, "")) for literal, name in self.pieces
        )


def clean_value(value: str) -> str:
    """A caller's or dialplan's value made safe to stand in a prompt: one line, no control or invisible characters.

    Unicode categories C* (controls, format marks such as bidirectional overrides, private use) and line separators
    become spaces, runs of white space one space, and the rest is cut after `MAX_VALUE_CHARACTERS`.
    """
    # Cut first: a value may be as long as the signalling allows, and only its beginning is ever used.
    head = unicodedata.normalize("NFC", value[: 4 * MAX_VALUE_CHARACTERS])
    visible = "".join(" " if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029" else c for c in head)
    return _SPACES.sub(" ", visible).strip()[:MAX_VALUE_CHARACTERS].rstrip()


def _check(name: str, spec: str | None, conversion: str | None) -> None:
    if spec or conversion:
        raise TemplateError(f"`{{{name}}}` takes no format; write {{{name}}} alone")
    if name in CALL_VARIABLES or _OTHER_VARIABLE.match(name):
        return
    near = difflib.get_close_matches(name.lower(), CALL_VARIABLES, n=1, cutoff=0.6)
    known = ", ".join(CALL_VARIABLES)
    hint = f"did you mean {{{near[0]}}}?" if near else f"known are {known} and ai_… for dialplan variables AI_…"
    raise TemplateError(f"unknown variable {{{name}}}; {hint}")
