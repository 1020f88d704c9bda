"""The room a caller's hands-free telephone stands in: what the agent says comes back through the microphone."""

from __future__ import annotations

import numpy as np

from tools.call.wav import RATE_HZ, Pcm

_KEPT_S = 1.0
_JITTER_S = 0.040
"""Packets this early or late still follow each other without a gap."""


class Room:
    """Sound heard, `loss_db` quieter, `delay_ms` after it was heard."""

    def __init__(self, *, loss_db: float, delay_ms: float) -> None:
        self._gain = 10 ** (-loss_db / 20)
        self._delay_s = delay_ms / 1000
        self._heard: Pcm = np.zeros(round(_KEPT_S * RATE_HZ), np.int16)
        self._end_s = 0.0

    def hear(self, samples: Pcm, begin_s: float) -> None:
        """Sound that began at `begin_s` of the caller's clock; in order."""
        gap = round((begin_s - self._end_s) * RATE_HZ)
        if abs(gap) > _JITTER_S * RATE_HZ:
            silence = np.zeros(min(max(gap, 0), len(self._heard)), np.int16)
            samples, self._end_s = np.concatenate((silence, samples)), begin_s - len(silence) / RATE_HZ
        self._heard = np.concatenate((self._heard, samples))[-round(_KEPT_S * RATE_HZ) :]
        self._end_s += len(samples) / RATE_HZ

    def echo(self, begin_s: float, count: int) -> Pcm:
        """The `count` samples that come back from `begin_s` on; silence where nothing has been heard yet."""
        out = np.zeros(count, np.int16)
        first = round((begin_s - self._delay_s - (self._end_s - len(self._heard) / RATE_HZ)) * RATE_HZ)
        begin, end = max(first, 0), min(first + count, len(self._heard))
        if begin < end:
            out[begin - first : end - first] = np.rint(self._heard[begin:end] * self._gain).astype(np.int16)
        return out
