"""Ends the call, after a farewell that is heard to its end. A caller who speaks over it keeps the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from ai_engine.conversation.decisions import HangUp as HangUpDecision
from ai_engine.providers.components.options import Options, read_options
from ai_engine.tools.telephony_sentences import sentence
from ai_engine.tools.tool import ToolCallScope, ToolResult, ToolSpec

if TYPE_CHECKING:
    from ai_engine.tools.registry import ToolServices

_DESCRIPTION: Final = (
    "Ends the call. Use it only when the caller has said goodbye or that there is nothing more to do. A farewell is "
    "said for you."
)
_SAID: Final = (
    "Goodbye.",
    "Bye bye.",
    "Please end the call.",
    "You can hang up now.",
    "That is all, thank you, goodbye.",
)
_NOT_SAID: Final = (
    "Please end my subscription.",
    "You hung up on me.",
    "When does the offer end?",
    "I will call you back later.",
)
_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        "farewell": {"type": "string", "maxLength": 200, "description": "The last sentence, if a special one is due"}
    },
    "additionalProperties": False,
}


class HangUpOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    farewell: str = ""
    """Said before; absent: the model's words, or a farewell in the context's language."""


class HangUp:
    timeout_s = 2.0

    def __init__(self, name: str, options: HangUpOptions) -> None:
        self.spec = ToolSpec(name, _DESCRIPTION, _PARAMETERS, said=_SAID, not_said=_NOT_SAID)
        self._options = options

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        words = " ".join(arguments.get("farewell", "").split())
        return ToolResult(
            "The call ends when the farewell has been heard.",
            say=self._options.farewell or words or sentence("farewell", call.language),
            then=HangUpDecision(f"tool {self.spec.name}"),
        )


def make(name: str, options: Options, _services: ToolServices) -> HangUp:
    return HangUp(name, read_options(HangUpOptions, options, f"tools.{name}"))
