"""Puts the caller through: he is told so, and then goes on in the dialplan. Nobody asks whether somebody is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ai_engine.conversation.decisions import Transfer
from ai_engine.providers.components.options import Options, read_options
from ai_engine.tools.telephony_sentences import sentence
from ai_engine.tools.tool import ToolCallScope, ToolResult, ToolSpec
from ai_engine.tools.transfer_options import NOT_SAID, TransferOptions, chosen, parameters, said

if TYPE_CHECKING:
    from ai_engine.tools.registry import ToolServices

_DESCRIPTION: Final = (
    "Puts the caller through to a person or department and ends your part of the call. Use it when the caller asks "
    "for somebody or needs what you cannot do."
)


class BlindTransfer:
    timeout_s = 5.0

    def __init__(self, name: str, options: TransferOptions) -> None:
        self.spec = ToolSpec(
            name, _DESCRIPTION, parameters(options.destinations), said=said(options.destinations), not_said=NOT_SAID
        )
        self._options = options

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        target = await chosen(self._options.destinations, arguments, call, by_dialplan=True)
        say = self._options.say
        say = sentence("putting_through", call.language, target.spoken) if say is None else say
        return ToolResult(
            f"The caller is told that you put them through to {target.spoken}, and then is.",
            say=say.replace("{name}", target.spoken),
            then=Transfer(target.extension, target.dialplan_context, f"tool {self.spec.name}: {target.name}"),
        )


def make(name: str, options: Options, _services: ToolServices) -> BlindTransfer:
    return BlindTransfer(name, read_options(TransferOptions, options, f"tools.{name}"))
