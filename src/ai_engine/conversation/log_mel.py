"""Sound as Whisper sees it: a log-mel spectrogram, in the form that smart-turn's encoder was trained on.

80 mel bands on Slaney's scale (linear below 1 kHz, logarithmic above, triangles of equal area), windows of 25 ms every
10 ms, powers as log10 over a range of 8 decades below the loudest. The sound is brought to zero mean and unit variance
first: the telephone's level does not matter.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

RATE_HZ: Final = 16000
BANDS: Final = 80

_WINDOW: Final = 400
_HOP: Final = 160
_BREAK_HZ: Final = 1000.0
_MELS_PER_HZ: Final = 3 / 200
_MELS_PER_LOG: Final = 27 / np.log(6.4)
_LEAST_POWER: Final = 1e-10
_LEAST_VARIANCE: Final = 1e-7
_RANGE_DECADES: Final = 8.0

Floats = npt.NDArray[np.float32]


def log_mel(samples: Floats) -> Floats:
    """Shape (80, n // 160), values around -1 to 1, of n samples at 16 kHz (n at least 201)."""
    centred = samples - samples.mean(dtype=np.float64)
    normal = (centred / np.sqrt(centred.var(dtype=np.float64) + _LEAST_VARIANCE)).astype(np.float32)
    padded = np.pad(normal, _WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][: samples.size // _HOP]
    spectrum = np.fft.rfft(windows * _hann(), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    decades = np.log10(np.maximum(_bands() @ power.T, _LEAST_POWER))
    bounded = np.maximum(decades, decades.max() - _RANGE_DECADES)
    features: Floats = ((bounded + 4.0) / 4.0).astype(np.float32)
    return features


@cache
def _hann() -> Floats:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)


@cache
def _bands() -> Floats:
    """Shape (80, 201): how much of each frequency's power belongs to a band."""
    edges_hz = _hz(np.linspace(0.0, float(_mels(RATE_HZ / 2)), BANDS + 2))
    bins_hz = np.arange(_WINDOW // 2 + 1) * RATE_HZ / _WINDOW
    bands = [
        np.interp(bins_hz, edges_hz[band : band + 3], (0.0, 2.0 / (edges_hz[band + 2] - edges_hz[band]), 0.0))
        for band in range(BANDS)
    ]
    return np.asarray(bands, np.float32)


def _mels(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz * _MELS_PER_HZ
    return float(_BREAK_HZ * _MELS_PER_HZ + np.log(hz / _BREAK_HZ) * _MELS_PER_LOG)


def _hz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    break_mels = _BREAK_HZ * _MELS_PER_HZ
    above = _BREAK_HZ * np.exp((mels - break_mels) / _MELS_PER_LOG)
    result: npt.NDArray[np.float64] = np.where(mels < break_mels, mels / _MELS_PER_HZ, above)
    return result
