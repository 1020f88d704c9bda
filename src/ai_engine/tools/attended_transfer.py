"""Asks a colleague first: the caller waits with music, the colleague hears what it is about and accepts, or not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import Field

from ai_engine.providers.components.options import Options, read_options
from ai_engine.tools.call_control import JOIN_CONTEXT, JOIN_EXTENSION, Consultation
from ai_engine.tools.telephony_sentences import sentence
from ai_engine.tools.tool import Later, ToolCallScope, ToolFailed, ToolResult, ToolSpec
from ai_engine.tools.transfer_options import NOT_SAID, TransferOptions, chosen, parameters, said

if TYPE_CHECKING:
    from ai_engine.tools.registry import ToolServices

log = structlog.get_logger(__name__)

_DESCRIPTION: Final = (
    "Asks a colleague whether they can take this call while the caller waits, and connects both if they do; otherwise "
    "the caller comes back to you. Use it when the caller wants to speak to somebody who may not be available."
)
_MAX_BRIEFING_CHARS: Final = 400
"""Half a minute of speech: a colleague listens no longer."""


class AttendedOptions(TransferOptions):
    ring_s: float = Field(default=25.0, ge=3, le=120)
    """So long the colleague's telephone rings."""
    decide_s: float = Field(default=60.0, ge=10, le=300)
    """So long the colleague may take, briefing included, to accept. Silence, or a voice mailbox, declines."""
    music_class: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,40}$")
    """Of Asterisk's musiconhold.conf; absent: its default. A ringing tone where Asterisk has no music."""
    briefing: str = ""
    """What the colleague hears first, with `{about}` (the model's words), `{caller_name}` and `{caller_number}`.
    Absent: who calls and what about."""


class AttendedTransfer:
    timeout_s = 5.0

    def __init__(self, name: str, options: AttendedOptions) -> None:
        about = {
            "type": "string",
            "minLength": 1,
            "maxLength": _MAX_BRIEFING_CHARS,
            "description": "For the colleague: who is calling and what about, in one or two sentences",
        }
        self.spec = ToolSpec(
            name,
            _DESCRIPTION,
            parameters(options.destinations, {"about": about}, required=("about",)),
            said=said(options.destinations),
            not_said=NOT_SAID,
        )
        self._options = options

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        options = self._options
        target = await chosen(options.destinations, arguments, call, by_dialplan=False)
        if not await call.line.dialplan_has(JOIN_EXTENSION, JOIN_CONTEXT):
            log.error("no_join_extension", context=JOIN_CONTEXT, fix="add it to the dialplan: docs/transfers.md")
            raise ToolFailed("nothing was done: the telephone system is not set up for this")
        say = sentence("asking", call.language, target.spoken) if options.say is None else options.say
        values = {
            "about": " ".join(arguments["about"].split()),
            "caller_name": call.caller_name,
            "caller_number": call.caller_number,
        }
        template = options.briefing or "{about}"
        for key, value in values.items():
            template = template.replace(f"{{{key}}}", value)
        consultation = Consultation(
            target,
            briefing=f"{template} {sentence('offer', call.language)}",
            ring_s=options.ring_s,
            decide_s=options.decide_s,
            music_class=options.music_class,
        )
        return ToolResult(
            f"The caller has been asked to hold the line while {target.spoken} is asked. If nobody takes the call, the "
            "caller is told so and comes back to you.",
            say=say.replace("{name}", target.spoken),
            then=Later(partial(call.line.consult, consultation), f"asking {target.spoken}"),
        )


def make(name: str, options: Options, _services: ToolServices) -> AttendedTransfer:
    return AttendedTransfer(name, read_options(AttendedOptions, options, f"tools.{name}"))
