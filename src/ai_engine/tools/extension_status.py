"""Tells whether somebody can be reached, before the caller is put through or told to call again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ai_engine.destinations import Destination, target
from ai_engine.providers.components.options import Options, read_options
from ai_engine.tools.tool import ToolCallScope, ToolResult, ToolSpec
from ai_engine.tools.transfer_options import parameters

if TYPE_CHECKING:
    from ai_engine.tools.registry import ToolServices

_DESCRIPTION: Final = "Tells whether a colleague's telephone is free, busy, ringing or not reachable at this moment."
_WORDS: Final = {
    "available": "{name} is free.",
    "busy": "{name} is on another call.",
    "ringing": "The telephone of {name} is ringing.",
    "unreachable": "{name} cannot be reached: the telephone is not connected.",
}


class ExtensionStatusOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    destinations: dict[str, Destination] = Field(min_length=1)
    """Name → the telephone that is asked for: its `endpoint`, or its `extension`, which then needs a hint."""

    @field_validator("destinations")
    @classmethod
    def _inside(cls, destinations: dict[str, Destination]) -> dict[str, Destination]:
        if any(found.kind == "outside" for found in destinations.values()):
            raise ValueError("nothing is known of numbers outside: leave `outside` destinations away")
        return destinations


class ExtensionStatus:
    timeout_s = 5.0

    def __init__(self, name: str, options: ExtensionStatusOptions) -> None:
        self.spec = ToolSpec(name, _DESCRIPTION, parameters(options.destinations))
        self._options = options

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        found = target(self._options.destinations, arguments["destination"])
        status = await call.line.extension_status(found)
        words = _WORDS.get(status, "It is not known whether {name} can be reached.")
        return ToolResult(words.format(name=found.spoken))


def make(name: str, options: Options, _services: ToolServices) -> ExtensionStatus:
    return ExtensionStatus(name, read_options(ExtensionStatusOptions, options, f"tools.{name}"))
