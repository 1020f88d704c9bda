"""Where an utterance begins and ends in a version-2 client's stream, by energy alone. Pure.

Where the voice-activity network is not installed; `turns.judged_splitter` is better. Version 3 has no use for either:
there the engine decides turns.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from voice_wire.audio import Pcm

_WINDOW_MS: Final = 20
_OVER_FLOOR_DB: Final = 10.0
_LOWEST_SPEECH_DBFS: Final = -48.0
_FLOOR_RISES_DB_A_SECOND: Final = 3.0
"""Slow, so that speech does not pass for noise; falling is at once."""
_PRE_ROLL_MS: Final = 300
_SHORTEST_SPEECH_MS: Final = 60
_AT_ONCE: Final = 256
"""Windows whose samples are held as floats at a time."""


class UtteranceSplitter:
    """Cuts a stream of PCM16 at one rate into utterances that `silence_ms` of quiet have ended."""

    def __init__(self, rate_hz: int, *, silence_ms: float, max_s: float) -> None:
        self.rate_hz = rate_hz
        self._window = rate_hz * _WINDOW_MS // 1000
        self._silence_windows = max(1, round(silence_ms / _WINDOW_MS))
        self._max_windows = round(1000 * max_s / _WINDOW_MS)
        self._floor_dbfs = -60.0
        self._rest = np.zeros(0, np.int16)
        self._windows: list[Pcm] = []
        self._voiced = 0
        self._quiet = 0

    @property
    def holds_speech(self) -> bool:
        """Speech has begun and not ended."""
        return self._voiced * _WINDOW_MS >= _SHORTEST_SPEECH_MS

    @property
    def n_held(self) -> int:
        """Samples of the utterance so far, pre-roll included."""
        return len(self._windows) * self._window

    def held_since(self, n: int) -> Pcm:
        """What came after the first `n` samples of the utterance; `n` was once `n_held`."""
        return np.concatenate((*self._windows[n // self._window :], np.zeros(0, np.int16)))

    def feed(self, pcm: Pcm) -> list[Pcm]:
        """More audio; the utterances that it ends."""
        ended = []
        samples = np.concatenate((self._rest, pcm))
        n = samples.size // self._window
        self._rest = samples[n * self._window :].copy()
        windows = samples[: n * self._window].reshape(n, self._window)
        for window, level_dbfs in zip(windows, _levels_dbfs(windows), strict=True):
            self._take(window, level_dbfs)
            if (self.holds_speech and self._quiet >= self._silence_windows) or len(self._windows) >= self._max_windows:
                ended.append(self.flush())
            elif not self._voiced:
                del self._windows[: -_PRE_ROLL_MS // _WINDOW_MS]
            elif not self.holds_speech and self._quiet >= self._silence_windows:
                self._voiced = 0  # a click
        return ended

    def flush(self) -> Pcm:
        """All that is held, as one utterance; the next audio begins another."""
        utterance = np.concatenate((*self._windows, np.zeros(0, np.int16)))
        self._windows, self._voiced, self._quiet = [], 0, 0
        return utterance

    def _take(self, window: Pcm, level_dbfs: float) -> None:
        voiced = level_dbfs > max(self._floor_dbfs + _OVER_FLOOR_DB, _LOWEST_SPEECH_DBFS)
        rise_db = _FLOOR_RISES_DB_A_SECOND * _WINDOW_MS / 1000
        self._floor_dbfs = min(max(level_dbfs, -70.0), self._floor_dbfs + rise_db)
        self._windows.append(window)
        self._voiced += voiced
        self._quiet = 0 if voiced else self._quiet + 1


def _levels_dbfs(windows: np.ndarray[tuple[int, int], np.dtype[np.int16]]) -> list[float]:
    """Of all windows at once: one by one, a minute of audio would hold up every other session for 100 ms."""
    levels: list[float] = []
    for at in range(0, len(windows), _AT_ONCE):
        block = windows[at : at + _AT_ONCE].astype(np.float32)
        powers = np.einsum("ij,ij->i", block, block) / (windows.shape[1] * 32768.0**2)
        levels += (10 * np.log10(np.maximum(powers, 1e-10))).tolist()
    return levels
