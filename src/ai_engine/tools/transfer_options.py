"""What the two kinds of transfer have in common: destinations by name, and what the model is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from ai_engine.destinations import Destination, NotAllowed, Target, target
from ai_engine.tools.tool import ToolCallScope, ToolFailed

_SAID: Final = ("Please put me through.", "Connect me, please.")
_SAID_BY_NAME: Final = ("Put me through to {}.", "I would like to speak to {}.")
NOT_SAID: Final = ("I was put through to you.", "I just spoke to somebody else.", "I will speak to them tomorrow.")
_NAMED: Final = 20
"""Destinations, the first of them: each wording costs 16 ms when the first call of a context begins."""


class TransferOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    destinations: dict[str, Destination] = Field(min_length=1)
    """Name → where it leads. The model chooses a name; there is no other way to say where."""
    say: str | None = None
    """Said before; `{name}` is the destination. Absent: such a sentence in the context's language."""


def parameters(
    destinations: Mapping[str, Destination], more: Mapping[str, Any] | None = None, *, required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The JSON Schema: a name among the destinations, and a number where one of them takes any."""
    known = "; ".join(
        f"{name}: {found.description}" if found.description else name for name, found in destinations.items()
    )
    properties: dict[str, Any] = {
        "destination": {"type": "string", "enum": list(destinations), "description": f"Where to: {known}"}
    }
    outside = [name for name, found in destinations.items() if found.kind == "outside"]
    if outside:
        properties["number"] = {
            "type": "string",
            "maxLength": 40,
            "description": f"The telephone number as the caller said it; only for {', '.join(outside)}",
        }
    return {
        "type": "object",
        "properties": {**properties, **(more or {})},
        "required": ["destination", *required],
        "additionalProperties": False,
    }


def said(destinations: Iterable[str]) -> tuple[str, ...]:
    """What callers say who want to be put through, to nobody or to one of these by name."""
    names = [name.replace("_", " ").replace("-", " ") for name in islice(destinations, _NAMED)]
    return (*_SAID, *(wording.format(name) for name in names for wording in _SAID_BY_NAME))


async def chosen(
    destinations: Mapping[str, Destination], arguments: Mapping[str, Any], call: ToolCallScope, *, by_dialplan: bool
) -> Target:
    """The destination that the model named, as far as it may be reached. Raises `ToolFailed`.

    `by_dialplan`: the caller himself goes to the extension. One that the dialplan does not have would hang him up.
    """
    try:
        found = target(destinations, arguments["destination"], arguments.get("number", ""))
    except NotAllowed as refusal:
        raise ToolFailed(f"nothing was done: {refusal}") from None
    if (by_dialplan or not found.endpoint) and not await call.line.dialplan_has(
        found.extension, found.dialplan_context
    ):
        raise ToolFailed(f"nothing was done: the telephone system has no extension for {found.name!r}")
    return found
