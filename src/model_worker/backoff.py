"""How long to wait before a restart. Pure: the time is an argument."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Exponential with jitter: `first_s`, doubled up to `ceiling_s`; from the start again after `healthy_s` of health.

    Each delay is drawn from 50-100 % of its step, so that workers that died together do not load together.
    """

    def __init__(
        self,
        *,
        first_s: float = 0.5,
        ceiling_s: float = 30.0,
        healthy_s: float = 60.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._first_s = first_s
        self._ceiling_s = ceiling_s
        self._healthy_s = healthy_s
        self._draw = draw
        self._failures = 0
        self._ready_at: float | None = None

    def ready(self, now: float) -> None:
        """The worker became ready at `now`."""
        self._ready_at = now

    def next_delay_s(self, now: float) -> float:
        """The worker failed at `now`: the seconds to wait before its next start."""
        if self._ready_at is not None and now - self._ready_at >= self._healthy_s:
            self._failures = 0
        self._ready_at = None
        step_s = min(self._ceiling_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return step_s * (0.5 + 0.5 * self._draw())
