"""What is done to a synthesised phrase before it goes to a caller: silence trimmed, level set, peaks bounded.

Plain functions on float samples in [-1, 1].
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

_WINDOW_MS: Final = 5.0
_VOICED_BELOW_PEAK_DB: Final = 40.0
"""What lies this far under the phrase's loudest window is silence: below it a telephone line's own noise is louder."""
LEADING_MS: Final = 15.0
"""Kept before the first voiced window. Every millisecond here is one that the caller waits."""
_TRAILING_MS: Final = {",": 110.0, ";": 160.0, ":": 160.0, ".": 220.0, "!": 220.0, "?": 220.0, "…": 260.0}
_TRAILING_MS_ELSE: Final = 50.0
"""Pauses a reader makes after these marks, so that phrases played back to back sound like one speech."""
TARGET_ACTIVE_DBFS: Final = -20.0
"""Level of the voiced parts: 6 dB above the nominal -26 dBov of ITU-T P.56 test speech, as mobile networks have it."""
_PEAK_LIMIT: Final = 0.891
"""-1 dBFS."""
_CLOSING_MARKS: Final = "\"'”’)]} \t\n"


def _window_levels(samples: Samples, rate_hz: int) -> tuple[npt.NDArray[np.float64], int]:
    """RMS of each 5 ms window (the last, shorter one included) and the window's size in samples."""
    size = max(1, round(rate_hz * _WINDOW_MS / 1000))
    padded = np.zeros(-(-samples.size // size) * size, np.float64)
    padded[: samples.size] = samples
    return np.sqrt(np.mean(padded.reshape(-1, size) ** 2, axis=1)), size


def trailing_ms(text: str) -> float:
    """The silence that belongs after a phrase that ends as `text` does."""
    stripped = text.rstrip(_CLOSING_MARKS)
    return _TRAILING_MS.get(stripped[-1:], _TRAILING_MS_ELSE)


def trim(samples: Samples, rate_hz: int, text: str) -> Samples:
    """`samples` with at most 15 ms of silence before the voice and, after it, what `text`'s last mark asks for.

    Silence that is missing at the end is added; a phrase without any voice becomes empty.
    """
    levels, size = _window_levels(samples, rate_hz)
    peak = float(levels.max(initial=0.0))
    if peak < 1e-4:
        return np.zeros(0, np.float32)
    voiced = np.flatnonzero(levels > peak * 10 ** (-_VOICED_BELOW_PEAK_DB / 20))
    begin = max(0, int(voiced[0]) * size - round(rate_hz * LEADING_MS / 1000))
    end = (int(voiced[-1]) + 1) * size + round(rate_hz * trailing_ms(text) / 1000)
    kept = samples[begin:end]
    return np.pad(kept, (0, end - begin - kept.size))


def active_level_dbfs(samples: Samples, rate_hz: int) -> float:
    """Mean power of the windows within 16 dB of the loudest one (the margin of ITU-T P.56), in dB below full scale."""
    levels, _ = _window_levels(samples, rate_hz)
    peak = float(levels.max(initial=0.0))
    if peak <= 0:
        return -120.0
    active = levels[levels > peak * 10 ** (-16 / 20)]
    return float(10 * np.log10(np.mean(active**2)))


def set_level(samples: Samples, gain: float) -> Samples:
    """`samples` times `gain`, or by as much less as keeps the loudest of them under -1 dBFS."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak * gain > _PEAK_LIMIT:
        gain = _PEAK_LIMIT / peak
    return (samples * np.float32(gain)).astype(np.float32)
