"""What is sent while the agent says nothing: silence, or noise so quiet that it only tells that the line is alive.

The noise is made once for each format and level: five seconds whose end joins their beginning, cut into frames that all
calls share. It is no sound of the agent: `Playout`, echo canceller and recording never see it.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Final

import numpy as np

from voice_wire.audio import AudioFormat, encode

LEAST_DBFS: Final = -75.0
LOUDEST_DBFS: Final = -40.0

_FRAME_MS: Final = 20
_FRAMES: Final = 256
_FLAT_BELOW_HZ: Final = 500.0
_LOWEST_HZ: Final = 100.0
_SEED: Final = 20
_FULL_SCALE: Final = 32768.0


class ComfortNoise:
    """One call's. `frame` is for each tick in which the agent says nothing; it makes nothing anew."""

    def __init__(self, format: AudioFormat, dbfs: float | None = None) -> None:
        """`dbfs`: RMS level of the noise; None for silence. Raises `ValueError` for one that nobody hears or bears."""
        if dbfs is not None and not LEAST_DBFS <= dbfs <= LOUDEST_DBFS:
            raise ValueError(f"comfort noise of {dbfs:g} dBFS: it lies between {LEAST_DBFS:g} and {LOUDEST_DBFS:g}")
        self._frames = (format.silence(_FRAME_MS),) if dbfs is None else noise_frames(format, dbfs)
        self._next = random.randrange(len(self._frames))  # calls side by side do not hiss in step

    def frame(self) -> bytes:
        """The next 20 ms."""
        number = self._next
        self._next = number + 1 if number + 1 < len(self._frames) else 0
        return self._frames[number]


def comfort_noise_gain(payload: bytes | memoryview) -> float:
    """What a received comfort noise packet (RFC 3389) makes of noise of `LOUDEST_DBFS`: a factor of at most 1.

    Its first octet is the level in -dBov; the spectrum after it is left alone. Without a level it is silence.
    """
    if not payload:
        return 0.0
    level_dbfs = -float(payload[0] & 0x7F)
    return float(10 ** (min(0.0, level_dbfs - LOUDEST_DBFS) / 20))


@lru_cache(maxsize=16)
def noise_frames(format: AudioFormat, dbfs: float) -> tuple[bytes, ...]:
    """Frames that make steady noise when sent one after the other, round and round.

    Flat up to 500 Hz and falling by 6 dB an octave above, as the noise of rooms does: less of a hiss than white noise.
    """
    rate_hz = format.sample_rate_hz
    n = rate_hz * _FRAME_MS // 1000 * _FRAMES
    hz = np.fft.rfftfreq(n, 1 / rate_hz)
    shape = np.where(hz < _LOWEST_HZ, 0.0, _FLAT_BELOW_HZ / np.maximum(hz, _FLAT_BELOW_HZ))
    phases = np.random.default_rng(_SEED).uniform(0, 2 * np.pi, hz.size)
    noise = np.fft.irfft(shape * np.exp(1j * phases), n)
    noise *= _FULL_SCALE * 10 ** (dbfs / 20) / np.sqrt(np.mean(noise**2))
    audio = encode(np.rint(noise).astype(np.int16), format.encoding)
    size = format.bytes_for_ms(_FRAME_MS)
    return tuple(audio[start : start + size] for start in range(0, len(audio), size))
