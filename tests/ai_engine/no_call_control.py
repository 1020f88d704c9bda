"""For a call whose line tools can do nothing with."""

from __future__ import annotations

from typing import Final

from ai_engine.destinations import Target
from ai_engine.tools.call_control import Consultation
from ai_engine.tools.tool import ToolFailed

_REFUSAL: Final = "Nothing was done: the telephone line of this call cannot do that."


class NoCallControl:
    """Implements `CallControl`: refuses all, and says so."""

    async def send_dtmf(self, digits: str) -> None:
        raise ToolFailed(_REFUSAL)

    async def dialplan_has(self, extension: str, dialplan_context: str = "") -> bool:
        return True

    async def extension_status(self, target: Target) -> str:
        return "unknown"

    async def consult(self, consultation: Consultation) -> None:
        raise ToolFailed(_REFUSAL)
