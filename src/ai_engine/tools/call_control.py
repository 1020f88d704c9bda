"""What tools may do with the call they are run for. `Call` has it implemented in a file of its own.

Every method returns when it is done, is safe to cancel, and raises `ai_engine.tools.tool.ToolFailed` with words for the
model where Asterisk refuses. The ends of a call (transfer, hang up) are no methods: a tool returns them as the
`then` of its result, so that what is said before them is heard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from ai_engine.destinations import Target

JOIN_CONTEXT: Final = "parley-join"
"""Dialplan context that bridges the caller with the channel PARLEY_PEER, in `JOIN_EXTENSION` (docs/transfers.md)."""
JOIN_EXTENSION: Final = "s"
PEER_EXTENSION: Final = "peer"
"""There the colleague's channel waits for that, for some seconds."""


@dataclass(frozen=True, slots=True)
class Consultation:
    """An attended transfer: whom to ask, what he is told, and for how long."""

    target: Target
    briefing: str
    """Spoken to the colleague alone; ends with how to accept or decline."""
    ring_s: float
    decide_s: float
    music_class: str = ""
    """What the caller hears meanwhile; empty: Asterisk's default."""


class CallControl(Protocol):
    """One call's line, as far as tools may touch it."""

    async def send_dtmf(self, digits: str) -> None:
        """Plays the tones (0-9, A-D, `*`, `#`, and `w` for half a second's pause) to the caller's channel."""

    async def dialplan_has(self, extension: str, dialplan_context: str = "") -> bool:
        """Whether there is such an extension, by default in the context the call came from. True where nobody knows."""

    async def extension_status(self, target: Target) -> str:
        """`available`, `busy`, `ringing`, `unreachable` or `unknown`."""

    async def consult(self, consultation: Consultation) -> None:
        """An attended transfer, to its end: the caller is with the colleague, is gone, or has been told why not."""
