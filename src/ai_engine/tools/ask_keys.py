"""Waits for what the caller types: a customer number, a choice. The question is the tool's `filler`, or the model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ai_engine.conversation.key_input import KeyRequest
from ai_engine.providers.components.options import Options, read_options
from ai_engine.tools.tool import ToolCallScope, ToolFailed, ToolResult, ToolSpec

if TYPE_CHECKING:
    from ai_engine.tools.registry import ToolServices

_DESCRIPTION: Final = (
    "Waits until the caller has typed a number on the telephone's keypad. Ask him for it first, in the same answer."
)
_PARAMETERS: Final = {"type": "object", "properties": {}, "additionalProperties": False}
_SPARE_S: Final = 60.0
"""For the question, and for typing."""


class AskKeysOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    max_keys: int = Field(default=0, ge=0, le=100)
    """So many keys are enough. 0: any number, until `#` or a pause."""
    first_key_s: float = Field(default=10.0, gt=0, le=60)
    """So long it is waited for the first key, once the question was heard."""
    wait_s: float | None = Field(default=None, gt=0, le=30)
    """The pause after the last key that ends the input; absent: as the context says."""
    secret: bool = False
    """True: the model is told how many digits were typed and not which; they are kept nowhere."""
    keep_as: str = Field(default="", pattern=r"^([a-z][a-z0-9_]{0,40})?$")
    """With `secret: true`: until the call ends, `http` tools may send the digits as {secret_…} of this name."""

    @model_validator(mode="after")
    def _consistent(self) -> AskKeysOptions:
        if self.keep_as and not self.secret:
            raise ValueError("`keep_as` is for secret keys: add `secret: true`")
        return self


class AskKeys:
    def __init__(self, name: str, options: AskKeysOptions) -> None:
        self.spec = ToolSpec(name, _DESCRIPTION, _PARAMETERS)
        self.timeout_s = options.first_key_s + _SPARE_S
        self._keep_as = options.keep_as
        self._request = KeyRequest("", options.max_keys, options.first_key_s, options.wait_s, options.secret)

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        if call.collect_keys is None:
            raise ToolFailed("This telephone line has no keypad.")
        typed = await call.collect_keys(self._request)
        if typed.keys is not None and typed.keys.digits:
            if self._keep_as and call.secrets is not None:
                call.secrets.keep(self._keep_as, typed.keys.digits)
            shown = typed.keys.shown if typed.keys.secret else typed.keys.digits
            return ToolResult(f"The caller typed {shown}.")
        if typed.how == "spoke":
            return ToolResult("The caller typed nothing and spoke instead.", ok=False)
        return ToolResult("The caller typed nothing.", ok=False)


def make(name: str, options: Options, _services: ToolServices) -> AskKeys:
    return AskKeys(name, read_options(AskKeysOptions, options, f"tools.{name}"))
