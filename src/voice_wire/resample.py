"""Sample-rate conversion: steady for live frames, one-shot for whole phrases.

`StreamingResampler` is a polyphase FIR: a Kaiser-windowed sinc (Kaiser 1974, A = 80 dB) over 32 samples of the lower
rate, cut off at half that rate. What lies below 0.85 of the band passes flat, and its images and aliases are 80 dB
down. Each chunk yields its share at once, because the output's count follows the input's without any block size:
`soxr.ResampleStream` keeps several frames and gives them back in bursts, which a live call hears as a stutter.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from voice_wire.g711 import Pcm

SAMPLE_RATES_HZ: Final = (8000, 16000, 22050, 24000, 44100, 48000)

_HALF_WIDTH: Final = 16
"""Filter reach either side, in samples of the lower rate: 2 ms at 8000 Hz."""
_KAISER_BETA: Final = 0.1102 * (80 - 8.7)

_Samples = npt.NDArray[np.float32]


@lru_cache(maxsize=64)
def _polyphase(up: int, down: int) -> _Samples:
    """Taps as (up, reach): row p holds, oldest input first, the weights of the outputs that fall p/up past an input."""
    lower = max(up, down)  # one sample of the lower rate, counted on the grid of up x the input rate
    half = _HALF_WIDTH * lower
    grid = np.arange(-half, half + 1)
    prototype = np.sinc(grid / lower) * np.kaiser(grid.size, _KAISER_BETA)
    reach = -(-prototype.size // up)
    taps = np.zeros(reach * up)
    taps[: prototype.size] = prototype
    phases = taps.reshape(reach, up).T
    # Each phase is made to pass a constant unchanged, or the phases' small differences would sound at the input rate.
    phases = phases / phases.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(phases[:, ::-1], np.float32)


class StreamingResampler:
    """Converts one live stream, chunk by chunk. The joints between chunks leave no trace: any split sounds the same.

    After n input samples, ceil(n x to / from) output samples have been given. They lag the input by `delay_s`;
    `flush` gives what is still inside and makes the object ready for another stream.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        _require_rate(from_hz)
        _require_rate(to_hz)
        self.from_hz = from_hz
        self.to_hz = to_hz
        divisor = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // divisor, from_hz // divisor
        self._taps = _polyphase(self._up, self._down)
        self._history = np.zeros(self._taps.shape[1] - 1, np.float32)
        self._position = 0
        """Where the next output lies past the next input, on the grid of up x the input rate."""

    @property
    def delay_s(self) -> float:
        """How far the output lags the input: 2 ms when the lower rate is 8000 Hz, 0 when the rates are equal."""
        return 0.0 if self._up == self._down else _HALF_WIDTH / min(self.from_hz, self.to_hz)

    def feed(self, pcm: Pcm) -> Pcm:
        """The output that `pcm` completes."""
        if self._up == self._down or pcm.size == 0:
            return pcm
        samples = np.concatenate((self._history, pcm), dtype=np.float32)
        self._history = samples[pcm.size :].copy()
        # Output j of this chunk lies at position + j x down on the fine grid, and is due if the chunk reaches past it.
        due = -(-(pcm.size * self._up - self._position) // self._down)
        output = self._interpolate(samples, due) if due > 0 else np.empty(0, np.float32)
        self._position += due * self._down - pcm.size * self._up
        np.rint(output, out=output)
        return np.clip(output, -32768, 32767, out=output).astype(np.int16)

    def flush(self) -> Pcm:
        """The stream's last `delay_s`, as if silence followed; then the start of another stream."""
        if self._up == self._down:
            return np.empty(0, np.int16)
        tail = self.feed(np.zeros(-(-_HALF_WIDTH * max(self._up, self._down) // self._up), np.int16))
        self._history[:] = 0
        self._position = 0
        return tail

    def _interpolate(self, samples: _Samples, due: int) -> _Samples:
        up, down, taps = self._up, self._down, self._taps
        if down == 1:  # every phase of every input: one correlation a phase, no gathering
            output = np.empty((due // up, up), np.float32)
            for phase in range(up):
                output[:, phase] = np.correlate(samples, taps[phase], "valid")
            return output.reshape(-1)
        grid = self._position + down * np.arange(due)
        windows = np.lib.stride_tricks.sliding_window_view(samples, taps.shape[1])
        gathered: _Samples = (
            windows[grid] @ taps[0] if up == 1 else np.einsum("ij,ij->i", windows[grid // up], taps[grid % up])
        )
        return gathered


def resample(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """A whole phrase at another rate, by soxr's high quality: no delay, length round(n x to / from)."""
    _require_rate(from_hz)
    _require_rate(to_hz)
    if from_hz == to_hz or pcm.size == 0:
        return pcm
    converted: Pcm = soxr.resample(pcm, from_hz, to_hz)
    return converted


def _require_rate(rate_hz: int) -> None:
    if rate_hz not in SAMPLE_RATES_HZ:
        raise ValueError(f"sample rate {rate_hz} Hz is not one of {', '.join(map(str, SAMPLE_RATES_HZ))}")
