"""Samples by their place in a stream, as far back as they may yet be wanted. Pure."""

from __future__ import annotations

import numpy as np

from voice_wire.audio import Pcm


class SoundBuffer:
    """PCM16 at one rate; places are samples from the beginning of the stream."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._first = 0

    @property
    def first(self) -> int:
        """The place of the oldest sample that is kept."""
        return self._first

    @property
    def end(self) -> int:
        """The place behind the newest."""
        return self._first + len(self._data) // 2

    def append(self, pcm: Pcm) -> None:
        self._data += pcm.astype("<i2", copy=False).tobytes()

    def between(self, start: int, end: int) -> Pcm:
        """A copy of what is kept from `start` up to `end`."""
        first = max(0, start - self._first)
        last = max(first, end - self._first)
        return np.frombuffer(bytes(self._data[2 * first : 2 * last]), "<i2").astype(np.int16, copy=False)

    def forget_before(self, place: int) -> None:
        """What lies before `place` will not be asked for."""
        n = min(max(0, place - self._first), len(self._data) // 2)
        if n:
            del self._data[: 2 * n]
            self._first += n
