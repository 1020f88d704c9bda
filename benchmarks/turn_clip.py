"""The sound of one turn, both sides, coarse enough for a picture and small enough for a report."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tools.call.measure import levels
from tools.call.wav import RATE_HZ, Pcm

STEP_MS: Final = 20
_BEFORE_S: Final = 1.5
_AFTER_S: Final = 1.2
_FULL: Final = 99
"""The level of each side's loudest step. The scale is the square root of the amplitude, so that soft sounds show."""


def clip(caller: Pcm, agent: Pcm, *, end_s: float, answer_s: float) -> dict[str, Any]:
    """From 1.5 s before the caller's last sample (`end_s`) to 1.2 s after the answer's first (`answer_s`).

    `caller` and `agent` hold the levels (0-99) of steps of `step_ms`, the first of which begins `from_ms` before the
    caller's last sample.
    """
    first = max(0, round((end_s - _BEFORE_S) * RATE_HZ))
    last = round((answer_s + _AFTER_S) * RATE_HZ)
    return {
        "from_ms": round(1000 * (first / RATE_HZ - end_s)),
        "step_ms": STEP_MS,
        "caller": _levels(caller[first:last]),
        "agent": _levels(agent[first:last]),
    }


def _levels(pcm: Pcm) -> list[int]:
    rms = np.sqrt(levels(pcm, RATE_HZ * STEP_MS // 1000))
    loudest = float(rms.max()) if rms.size else 0.0
    if loudest == 0.0:
        return [0] * rms.size
    return [round(_FULL * float(one) / loudest) for one in rms]
