"""How good one leg of a call's line is: ours (Asterisk ↔ us) or the caller's (telephone ↔ Asterisk).

The same figures for both, in packets or, where the transport knows none, in frames of 20 ms. None means that this
transport cannot know: no loss on TCP, no round trip without RTCP.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True, slots=True)
class LineQuality:
    """Counts since the leg began; "in" is the caller's sound, "out" is the agent's."""

    received: int = 0
    """In, duplicates included."""
    sent: int = 0
    """Out."""
    lost: int | None = None
    """In: those that never came (RFC 3550: expected minus received)."""
    late: int | None = None
    """In: those that came after their moment had been handed out; discarded."""
    duplicates: int | None = None
    concealed: int | None = None
    """Frames made up in place of lost or late ones."""
    restarts: int | None = None
    """In: new sources, or new timelines of the same one."""
    strays: int | None = None
    """Datagrams from anybody but the peer, ignored. Once they flood, the kernel drops them uncounted."""
    malformed: int | None = None
    """What is no packet of the agreed protocol."""
    events: int | None = None
    """Packets with a dynamic payload type, like telephone events (RFC 4733); the digits come by ARI."""
    comfort_noise: int | None = None
    """Packets that say that the caller is silent (RFC 3389)."""
    unexpected: int | None = None
    """Packets of another payload type than the one agreed on."""
    rtcp: int | None = None
    send_errors: int | None = None
    """Out: those the network stack refused."""
    jitter_ms: float | None = None
    """In: interarrival jitter, RFC 3550 section 6.4.1."""
    delay_ms: float | None = None
    """In: how long sound waited in the jitter buffer, the mean over what was handed out."""
    lost_by_peer: int | None = None
    """Out: those that never came, as the other end reports by RTCP."""
    peer_jitter_ms: float | None = None
    """Out: jitter as the other end reports by RTCP."""
    round_trip_ms: float | None = None

    @property
    def loss(self) -> float | None:
        """Share 0..1 of the packets in that never came."""
        return _share(self.lost, self.received)

    @property
    def loss_by_peer(self) -> float | None:
        """Share 0..1 of the packets out that never came."""
        return _share(self.lost_by_peer, self.sent - (self.lost_by_peer or 0))

    def known(self) -> dict[str, int | float]:
        """The figures by name, without those that cannot be known; milliseconds to one decimal."""
        figures = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: round(value, 1) for name, value in figures if value is not None}


COUNTED: Final = (
    "received",
    "sent",
    "lost",
    "late",
    "duplicates",
    "concealed",
    "restarts",
    "strays",
    "malformed",
    "unexpected",
    "send_errors",
    "lost_by_peer",
)
"""The counts that metrics add up over calls."""


def _share(lost: int | None, came: int) -> float | None:
    if lost is None or lost + came <= 0:
        return None
    return max(0, lost) / (lost + came)
