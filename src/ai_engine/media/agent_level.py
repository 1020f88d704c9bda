"""Voices made equally loud, without pumping: each has one gain, measured over all it has said.

What one TTS speaks at -14 dBFS another speaks at -27, and callers hear the difference between two calls, or between the
agent and the person he is put through to. A gain control that follows the sound would cure that and breathe; this one
measures a voice's level while it speaks (the mean of what is speech, after the manner of ITU-T P.56: pauses do not
count) and gives a whole turn one gain. Between turns of a call it moves by `MOST_STEP_DB` at most.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from voice_wire.audio import Pcm

MOST_GAIN_DB: Final = 12.0
MOST_STEP_DB: Final = 3.0
CEILING_DBFS: Final = -1.0
"""Of true peaks: what a telephone's converter makes between the samples counts."""

_FRAME_S: Final = 0.020
_FLOOR_DBFS: Final = -60.0
_MARGIN_DB: Final = 15.9
"""P.56: what is further below the mean of the speech is a pause."""
_ENOUGH_FRAMES: Final = 50
_FULL_FRAMES: Final = 15_000
_PEAK_FADES: Final = 0.7
"""In five minutes of speech: one crack must not keep a voice quiet for ever."""
_HALF_WAY: Final = (np.sinc(np.arange(-7.5, 8)) * np.hamming(16)).astype(np.float32)
"""Interpolates the sample between two."""
_KNEE: Final = 10 ** (-3.0 / 20)
_CEILING: Final = 10 ** (CEILING_DBFS / 20)
_FULL_SCALE: Final = 32768.0


class VoiceLevel:
    """What is known of one voice, from all calls in which it speaks. Lives on the control loop."""

    def __init__(self, target_dbfs: float) -> None:
        self._target_dbfs = target_dbfs
        self._counts: npt.NDArray[np.float64] = np.zeros(round(-_FLOOR_DBFS) + 1)
        """Frames by their level in whole dB above the floor."""
        self._peak = 0.0

    @property
    def measured_dbfs(self) -> float | None:
        """The level of its speech; None until there was a second of it."""
        if self._counts.sum() < _ENOUGH_FRAMES:
            return None
        levels = _FLOOR_DBFS + np.arange(self._counts.size)
        powers, counts = 10 ** (levels / 10), self._counts
        level = _FLOOR_DBFS
        while True:
            active = levels >= level - _MARGIN_DB
            higher = 10 * float(np.log10((powers * counts)[active].sum() / counts[active].sum()))
            if higher <= level + 0.01:
                return level
            level = higher

    @property
    def gain_db(self) -> float | None:
        """What brings it to the target, no true peak it has had above the ceiling; None until it is known."""
        level = self.measured_dbfs
        if level is None:
            return None
        gain = min(self._target_dbfs - level, CEILING_DBFS - 20 * float(np.log10(max(self._peak, 1e-4))))
        return max(-MOST_GAIN_DB, min(gain, MOST_GAIN_DB))

    def listen(self, pcm: Pcm, rate_hz: int) -> None:
        """Some of its sound, as it was made."""
        size = round(rate_hz * _FRAME_S)
        whole = pcm.size // size
        if not whole:
            return
        frames = pcm[: whole * size].astype(np.float32).reshape(whole, size) / np.float32(_FULL_SCALE)
        powers = np.einsum("ij,ij->i", frames, frames) / size
        levels = 10 * np.log10(np.maximum(powers, 1e-9))
        heard = levels >= _FLOOR_DBFS
        if not heard.any():
            return
        np.add.at(self._counts, np.rint(levels[heard] - _FLOOR_DBFS).astype(int), 1)
        if self._counts.sum() > _FULL_FRAMES:  # what was said long ago counts less and less
            self._counts /= 2
            self._peak *= _PEAK_FADES
        self._peak = max(self._peak, _peak_of(frames))


class TurnLevel:
    """The gain of one call's agent, turn by turn. Lives on the control loop."""

    def __init__(self, voice: VoiceLevel) -> None:
        self._voice = voice
        self._last_db: float | None = None

    def begin(self, pcm: Pcm, rate_hz: int) -> float:
        """The gain of a turn whose first sound is `pcm`, in dB: it may be all that is known of the voice so far."""
        if self._voice.measured_dbfs is None:
            self._voice.listen(pcm, rate_hz)
            gain_db = self._voice.gain_db
        else:
            gain_db = self._voice.gain_db
            self._voice.listen(pcm, rate_hz)
        if gain_db is None:
            gain_db = 0.0
        if self._last_db is not None:
            gain_db = max(self._last_db - MOST_STEP_DB, min(gain_db, self._last_db + MOST_STEP_DB))
        self._last_db = gain_db
        return gain_db

    def go_on(self, pcm: Pcm, rate_hz: int) -> None:
        """More of a turn."""
        self._voice.listen(pcm, rate_hz)


def amplified(pcm: Pcm, gain_db: float) -> Pcm:
    """`pcm` with that gain; what then exceeds -3 dBFS is bent, without a step, to stay below the ceiling."""
    if gain_db == 0.0 or not pcm.size:
        return pcm
    samples = pcm.astype(np.float32) * np.float32(10 ** (gain_db / 20) / _FULL_SCALE)
    size = np.abs(samples)
    if float(size.max()) > _KNEE:
        room = _CEILING - _KNEE
        bent = _KNEE + room * np.tanh((size - _KNEE) / room)
        samples = np.where(size > _KNEE, np.copysign(bent, samples), samples)
    louder: Pcm = np.rint(samples * _FULL_SCALE).astype(np.int16)
    return louder


class VoiceLevels:
    """The voices of one engine."""

    def __init__(self, target_dbfs: float | None) -> None:
        """None: no voice is changed."""
        self._target_dbfs = target_dbfs
        self._voices: dict[tuple[str, str], VoiceLevel] = {}

    def of(self, provider: str, voice: str) -> TurnLevel | None:
        """For one call's agent; None where nothing is to be changed."""
        if self._target_dbfs is None:
            return None
        known = self._voices.setdefault((provider, voice), VoiceLevel(self._target_dbfs))
        return TurnLevel(known)


def _peak_of(frames: npt.NDArray[np.float32]) -> float:
    """The greatest value that the sound reaches, at its samples and half-way between them."""
    samples = frames.reshape(-1)
    between = np.convolve(samples, _HALF_WAY, "valid") if samples.size >= _HALF_WAY.size else samples
    return float(max(np.abs(samples).max(), np.abs(between).max()))
