"""What of the caller's sound may reach the STT, and what is kept back until it may.

Some STT backends (Whisper) take the agent's echo for the caller's words; for them caller audio is withheld while the
agent has the floor. What is withheld is kept, so that words said over the agent are not lost: when the gate opens, the
audio from shortly before the caller began is sent on. The gate opens for exactly two reasons: the agent has been heard
to the end, or a committed interruption flushed it. Streaming backends are never withheld from, but the same ring gives
them the first syllable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum


class Opened(Enum):
    """Why the gate is open."""

    HEARD = "heard"
    """The agent was heard to the end."""
    COMMITTED = "committed"
    """A committed interruption flushed the agent."""


class Gate:
    """A ring of the last `capacity_ms` of caller audio behind a door. Starts gated and closed."""

    def __init__(self, *, capacity_ms: float = 4000.0, frame_ms: float = 20.0) -> None:
        self._frames: deque[tuple[float, bytes]] = deque(maxlen=max(1, round(capacity_ms / frame_ms)))
        self._needs_gating = True
        self._opened: Opened | None = None

    @property
    def needs_gating(self) -> bool:
        """The policy of the STT backend at work."""
        return self._needs_gating

    @property
    def opened(self) -> Opened | None:
        """Why the door is open; None while it is closed. Says nothing about a backend that needs no gating."""
        return self._opened

    @property
    def passes(self) -> bool:
        """Caller audio may go to the STT now."""
        return self._opened is not None or not self._needs_gating

    def backend(self, *, needs_gating: bool) -> None:
        """The STT backend at work is known, or was switched."""
        self._needs_gating = needs_gating

    def close(self) -> None:
        """The agent takes the floor."""
        self._opened = None

    def heard(self) -> None:
        """The agent has been heard to the end."""
        if self._opened is None:
            self._opened = Opened.HEARD

    def committed(self) -> None:
        """The caller took the floor and playout was flushed."""
        self._opened = Opened.COMMITTED

    def hear(self, audio: bytes, at: float) -> None:
        """Keep a frame that ended `at`."""
        self._frames.append((at, audio))

    def since(self, at: float) -> Iterator[tuple[float, bytes]]:
        """The kept frames that ended after `at`, oldest first, each with its time."""
        frames = self._frames
        first = len(frames)
        while first and frames[first - 1][0] > at:
            first -= 1
        for index in range(first, len(frames)):
            yield frames[index]

    def last(self, n: int) -> list[bytes]:
        """The last `n` frames, oldest first."""
        frames = self._frames
        return [frames[index][1] for index in range(max(0, len(frames) - n), len(frames))]

    def clear(self) -> None:
        """Forget what is kept (hold music)."""
        self._frames.clear()
