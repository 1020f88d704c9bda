"""What a bad network does to a stream of packets: loss, jitter, reordering, doubles, freezes.

    bad = Impairer(Impairment(loss=0.05, jitter_ms=60), seed=1)
    for due_s, packet in bad.take(packet, now_s): ...   # hand it on at due_s

No socket and no clock: times are the caller's own, and the same seed does the same to the same packets.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Impairment:
    """One direction's trouble; the default has none."""

    loss: float = 0.0
    """Share of packets that never come, 0 … 1."""
    loss_burst: float = 1.0
    """Mean number of packets lost in a row; the share stays `loss` (a two-state Gilbert model). 1: each by itself."""
    delay_ms: float = 0.0
    """Each packet is at least so late."""
    jitter_ms: float = 0.0
    """And up to this much later, each by its own draw (uniform)."""
    reorder: bool = True
    """A packet may overtake those before it; False: it waits for them, as behind one queue."""
    duplicate: float = 0.0
    """Share of packets that come twice, the second one with a draw of its own."""

    def __post_init__(self) -> None:
        if not (0 <= self.loss < 1 and 0 <= self.duplicate <= 1):
            raise ValueError("loss must be 0 … below 1, duplicate 0 … 1")
        if self.loss_burst < 1 or self.delay_ms < 0 or self.jitter_ms < 0:
            raise ValueError("loss_burst is at least 1; delay_ms and jitter_ms are not negative")
        if self.loss_burst > 1 and self.loss_burst * (1 - self.loss) < self.loss:
            raise ValueError(f"{self.loss:.0%} loss needs runs longer than {self.loss_burst:g} packets on average")


@dataclass(slots=True)
class ImpairmentStats:
    """Packets so far."""

    taken: int = 0
    lost: int = 0
    doubled: int = 0
    overtaken: int = 0
    """Came after one that was sent later."""


class Impairer:
    """One direction of a stream. Packets are given in the order they were sent, with times that never go back."""

    def __init__(self, impairment: Impairment, *, seed: int = 0) -> None:
        self.impairment = impairment
        self.stats = ImpairmentStats()
        self._random = random.Random(seed)
        self._losing = False
        self._latest_due_s = 0.0
        self._frozen_until_s = 0.0
        self._gone_until_s = 0.0

    def freeze(self, now_s: float, seconds: float, *, lost: bool = False) -> None:
        """Nothing comes through for so long; then all that was held comes at once, in order, or is lost."""
        if lost:
            self._gone_until_s = max(self._gone_until_s, now_s + seconds)
        else:
            self._frozen_until_s = max(self._frozen_until_s, now_s + seconds)

    def take(self, packet: bytes, now_s: float) -> list[tuple[float, bytes]]:
        """When and how often `packet`, sent at `now_s`, comes out: empty when it is lost."""
        self.stats.taken += 1
        if self._loses() or now_s < self._gone_until_s:
            self.stats.lost += 1
            return []
        out = [(self._due_s(now_s), packet)]
        if self.impairment.duplicate and self._random.random() < self.impairment.duplicate:
            self.stats.doubled += 1
            out.append((self._due_s(now_s), packet))
        return out

    def _loses(self) -> bool:
        """Bursts end with probability 1/`loss_burst`, and begin so that the share comes out right."""
        bad = self.impairment
        if not bad.loss:
            return False
        ends = 1 / bad.loss_burst
        begins = ends * bad.loss / (1 - bad.loss)
        chance = bad.loss if bad.loss_burst == 1 else (1 - ends if self._losing else begins)
        self._losing = self._random.random() < chance
        return self._losing

    def _due_s(self, now_s: float) -> float:
        bad = self.impairment
        due_s = now_s + bad.delay_ms / 1000
        if bad.jitter_ms:
            due_s += self._random.uniform(0, bad.jitter_ms) / 1000
        due_s = max(due_s, self._frozen_until_s)
        if due_s < self._latest_due_s:
            if bad.reorder:
                self.stats.overtaken += 1
            else:
                due_s = self._latest_due_s
        self._latest_due_s = max(self._latest_due_s, due_s)
        return due_s
