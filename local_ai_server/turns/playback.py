"""What a listener has heard of sound that was sent faster than it plays. Pure: the time is an argument."""

from __future__ import annotations


class Playback:
    """One answer's sound, taken to be played from its first piece on, as it comes: nobody hears more than that."""

    def __init__(self) -> None:
        self._sent_s = 0.0
        self._ends_at: float | None = None

    @property
    def sent_s(self) -> float:
        return self._sent_s

    def send(self, seconds: float, now: float) -> None:
        """So much more of it is sent."""
        self._sent_s += seconds
        self._ends_at = max(now if self._ends_at is None else self._ends_at, now) + seconds

    def left_s(self, now: float) -> float:
        """How much of what was sent is still to be heard."""
        return 0.0 if self._ends_at is None else max(0.0, self._ends_at - now)

    def heard_s(self, now: float) -> float:
        """The most that can have been heard."""
        return self._sent_s - self.left_s(now)
