"""Long recordings in pieces short enough that nobody on the telephone waits for one, cut where it is quiet. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from voice_wire.audio import Pcm

LONGEST_S: Final = 14.5
"""Small Whisper models read 15 s in a third of the time of 30 s, with no more errors (`faster_whisper`)."""
SHORTEST_S: Final = 8.0
"""But for the last: context helps the model."""
SILENCE_DBFS: Final = -60.0
"""Pieces whose loudest 20 ms are below hold no speech: they are not decoded."""
_WINDOW_S: Final = 0.02
_QUIET_WINDOWS: Final = 10
_UNDER_LOUDEST_DB: Final = 35.0

_Levels = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """`at`: its first sample's place in the recording."""

    at: int
    pcm: Pcm

    def speech(self, rate_hz: int) -> tuple[int, int] | None:
        """Where in the recording sound begins and ends, within 20 ms; None for silence."""
        levels = _levels_dbfs(self.pcm, rate_hz)
        loudest = float(levels.max(initial=-np.inf))
        if loudest < SILENCE_DBFS:
            return None
        voiced = np.flatnonzero(levels > max(loudest - _UNDER_LOUDEST_DB, SILENCE_DBFS))
        size = round(rate_hz * _WINDOW_S)
        if not voiced.size:
            return self.at, self.at + self.pcm.size
        return self.at + int(voiced[0]) * size, self.at + min((int(voiced[-1]) + 1) * size, self.pcm.size)


class PieceCutter:
    """A recording in blocks of any size in; its pieces, which leave nothing out, out."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._at = 0
        self._held: Pcm = np.zeros(0, np.int16)

    def feed(self, pcm: Pcm) -> list[Piece]:
        """The pieces that are complete."""
        self._held = np.concatenate((self._held, pcm))
        pieces = []
        while self._held.size > LONGEST_S * self._rate_hz:
            pieces.append(self._take(self._quietest()))
        return pieces

    def end(self) -> list[Piece]:
        """What is left."""
        return [self._take(self._held.size)] if self._held.size else []

    def _take(self, n: int) -> Piece:
        piece = Piece(self._at, self._held[:n])
        self._held = self._held[n:].copy()
        self._at += n
        return piece

    def _quietest(self) -> int:
        """The middle of the quietest 200 ms where a cut may be."""
        begin, end = round(SHORTEST_S * self._rate_hz), round(LONGEST_S * self._rate_hz)
        size = round(self._rate_hz * _WINDOW_S)
        powers = _powers(self._held[begin:end], size)
        sums = np.convolve(powers, np.ones(_QUIET_WINDOWS), "valid")
        return begin + (int(np.argmin(sums)) + _QUIET_WINDOWS // 2) * size


def _powers(pcm: Pcm, size: int) -> _Levels:
    """Of each window, the last one filled up with silence."""
    padded = np.zeros(-(-pcm.size // size) * size, np.float32)
    padded[: pcm.size] = pcm
    windows = padded.reshape(-1, size)
    powers: _Levels = np.einsum("ij,ij->i", windows, windows).astype(np.float64) / (size * 32768.0**2)
    return powers


def _levels_dbfs(pcm: Pcm, rate_hz: int) -> _Levels:
    powers = _powers(pcm, round(rate_hz * _WINDOW_S))
    levels: _Levels = 10 * np.log10(np.maximum(powers, 1e-12))
    return levels
