"""Presses keys: for calls that are answered by a menu, or doors that open on a tone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from ai_engine.providers.components.options import Options, read_options
from ai_engine.tools.tool import ToolCallScope, ToolResult, ToolSpec

if TYPE_CHECKING:
    from ai_engine.tools.registry import ToolServices

_DESCRIPTION: Final = "Presses keys of the telephone, for a menu at the other end of the line."


class SendDtmfOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    max_digits: int = Field(default=20, ge=1, le=60)
    """So many keys at the most in one go."""


class SendDtmf:
    timeout_s = 5.0

    def __init__(self, name: str, options: SendDtmfOptions) -> None:
        digits = {
            "type": "string",
            "minLength": 1,
            "maxLength": options.max_digits,
            "pattern": "^[0-9A-D*#w]+$",
            "description": "The keys, in order; w is half a second's pause",
        }
        schema = {
            "type": "object",
            "properties": {"digits": digits},
            "required": ["digits"],
            "additionalProperties": False,
        }
        self.spec = ToolSpec(name, _DESCRIPTION, schema)

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        await call.line.send_dtmf(arguments["digits"])
        return ToolResult("The keys were pressed.")


def make(name: str, options: Options, _services: ToolServices) -> SendDtmf:
    return SendDtmf(name, read_options(SendDtmfOptions, options, f"tools.{name}"))
