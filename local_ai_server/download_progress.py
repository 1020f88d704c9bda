"""How far a download is, as values: for the terminal's bar, for callers and for the API."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Stage = Literal["waiting", "connecting", "downloading", "retrying", "checking", "unpacking", "done"]
_WINDOW_S = 5.0


class Transfer(BaseModel):
    """One file at one moment."""

    model_config = ConfigDict(frozen=True)

    name: str
    stage: Stage
    done_bytes: int
    total_bytes: int | None
    """None while the server has not told it."""
    rate_bytes_per_s: float | None = None
    """Over the last five seconds."""
    eta_s: float | None = None


OnTransfer = Callable[[Transfer], None]


class TransferMeter:
    """Turns byte counts into `Transfer`s. Bytes found from an earlier try count as done, not towards the rate."""

    def __init__(self, name: str, report: OnTransfer, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._report = report
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, stage: Stage, done_bytes: int, total_bytes: int | None) -> None:
        now_s = self._clock()
        if stage != "downloading":
            self._seen.clear()
        self._seen.append((now_s, done_bytes))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        since_s, since_bytes = self._seen[0]
        rate = (done_bytes - since_bytes) / (now_s - since_s) if now_s > since_s else None
        eta_s = (total_bytes - done_bytes) / rate if rate and total_bytes is not None else None
        self._report(
            Transfer(
                name=self._name,
                stage=stage,
                done_bytes=done_bytes,
                total_bytes=total_bytes,
                rate_bytes_per_s=rate,
                eta_s=eta_s,
            )
        )
