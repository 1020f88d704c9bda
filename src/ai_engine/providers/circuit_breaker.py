"""When something that fails is asked again: not at once, and not by every caller who comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_TRIAL_S: Final = 15.0
"""A trial that nobody told the end of (the caller hung up, the guess was dropped) is over after this long."""


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    failures: int = 2
    """In a row, until it is not asked any more."""
    rest_s: float = 5.0
    """Then it rests for this long, and twice as long after each trial that failed."""
    most_rest_s: float = 60.0


class CircuitBreaker:
    """Closed, it lets everybody through; open, nobody; after its rest one at a time, whose luck decides.

    Pure: times are monotonic seconds.
    """

    def __init__(self, limits: BreakerLimits = BreakerLimits()) -> None:
        self._limits = limits
        self._failures = 0
        self._rest_s = limits.rest_s
        self._open_until: float | None = None
        self._trial_ends = 0.0

    @property
    def closed(self) -> bool:
        """Whether it lets everybody through."""
        return self._open_until is None

    def would_allow(self, now: float) -> bool:
        """What `allows` would say; nothing is tried by asking this."""
        return self._open_until is None or (now >= self._open_until and now >= self._trial_ends)

    def allows(self, now: float) -> bool:
        """Whether it may be asked now. After its rest that is a trial: who was let through should tell how it went."""
        if not self.would_allow(now):
            return False
        if self._open_until is not None:
            self._trial_ends = now + _TRIAL_S
        return True

    def given_up(self) -> None:
        """Who was let through does not want it any more, and nothing was learned: the next may try."""
        self._trial_ends = 0.0

    def succeeded(self) -> bool:
        """It did what was asked. Returns whether it had been open."""
        was_open = self._open_until is not None
        self._failures, self._rest_s, self._open_until, self._trial_ends = 0, self._limits.rest_s, None, 0.0
        return was_open

    def failed(self, now: float) -> bool:
        """It did not. Returns whether it is open because of that, having been closed."""
        self._failures += 1
        if self._open_until is not None:
            if now >= self._open_until:  # a trial; an answer that was under way before says nothing new
                self._rest_s = min(2 * self._rest_s, self._limits.most_rest_s)
                self._open_until, self._trial_ends = now + self._rest_s, 0.0
            return False
        if self._failures < self._limits.failures:
            return False
        self._open_until = now + self._rest_s
        return True
