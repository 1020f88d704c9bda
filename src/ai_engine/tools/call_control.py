"""What tools may do with the call they are run for. `Call` has it implemented in a file of its own.

Every method returns when it is done, is safe to cancel, and raises `ai_engine.tools.tool.ToolFailed` with words for the
model where Asterisk refuses. The ends of a call (transfer, hang up) are no methods: a tool returns them as the
`then` of its result, so that what is said before them is heard.
"""

from __future__ import annotations

from typing import Protocol


class CallControl(Protocol):
    """One call's line, as far as tools may touch it."""

    async def send_dtmf(self, digits: str) -> None:
        """Plays the tones (0-9, A-D, `*`, `#`, and `w` for half a second's pause) to the caller's channel."""

    async def extension_status(self, extension: str) -> str:
        """`available`, `busy`, `ringing`, `unreachable` or `unknown`."""
