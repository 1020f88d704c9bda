"""Sounds a caller's side makes besides clear speech, at levels that can be named: made from formulas or from speech.

Noises without end and call-progress tones are in tools/line_noise.py; here is what stands to speech in a relation (a
level, a signal-to-noise ratio), what is pressed, and the short sounds a throat makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.call.measure import levels, threshold
from tools.call.wav import RATE_HZ, Pcm

FULL_SCALE: Final = 32768.0
FRAME: Final = RATE_HZ // 50
Signal = NDArray[np.float64]

_ROWS_HZ: Final = (697, 770, 852, 941)
_COLUMNS_HZ: Final = (1209, 1336, 1477, 1633)
_KEYPAD: Final = "123A456B789C*0#D"
"""ITU-T Q.23, row by row."""


def pcm(signal: Signal) -> Pcm:
    """Samples of a signal in units of a sample; louder ones are clipped."""
    return np.clip(np.rint(signal), -32768, 32767).astype(np.int16)


def level_dbfs(sound: Pcm) -> float:
    """The RMS of the parts that are voiced (of 20 ms each), in dB below full scale; -inf for silence."""
    level = levels(sound, FRAME)
    voiced = level[level > threshold(level)]
    return float(20 * np.log10(np.sqrt(np.mean(voiced**2)) / FULL_SCALE)) if len(voiced) else -np.inf


def noise_level_dbfs(sound: Pcm) -> float:
    """The RMS of all of it, in dB below full scale; -inf for silence."""
    mean = float(np.mean(sound.astype(np.float64) ** 2)) if len(sound) else 0.0
    return 10 * float(np.log10(mean)) - 20 * float(np.log10(FULL_SCALE)) if mean else -np.inf


def speech_at(sound: Pcm, dbfs: float) -> Pcm:
    """The same speech at that level; silence stays silence."""
    now = level_dbfs(sound)
    return sound if np.isinf(now) else louder(sound, dbfs - now)


def noise_at(sound: Pcm, dbfs: float) -> Pcm:
    """The same noise at that level over all its length; silence stays silence."""
    now = noise_level_dbfs(sound)
    return sound if np.isinf(now) else louder(sound, dbfs - now)


def louder(sound: Pcm, db: float) -> Pcm:
    return pcm(sound.astype(np.float64) * 10 ** (db / 20))


def mix(*sounds: Pcm) -> Pcm:
    """All at once from the beginning, as long as the longest."""
    total = np.zeros(max((len(sound) for sound in sounds), default=0))
    for sound in sounds:
        total[: len(sound)] += sound
    return pcm(total)


def with_noise(speech: Pcm, noise: Pcm, *, snr_db: float) -> Pcm:
    """Speech over noise that is `snr_db` below its voiced parts; the noise is repeated as often as it takes."""
    if not len(noise):
        raise ValueError("there is no noise to mix in")
    below = noise_at(np.resize(noise, len(speech)), level_dbfs(speech) - snr_db)
    return mix(speech, below) if np.isfinite(level_dbfs(speech)) else speech


def babble(voices: Sequence[Pcm], seconds: float, *, seed: int = 0) -> Pcm:
    """A room of people: every voice as loud as the others, each without end from a place of its own choosing."""
    if not any(len(voice) for voice in voices):
        raise ValueError("babble is made of voices: give at least one")
    chance = np.random.default_rng(seed)
    count = round(seconds * RATE_HZ)
    talking = [np.resize(np.roll(voice, int(chance.integers(len(voice)))), count) for voice in voices if len(voice)]
    return mix(*(speech_at(voice, -20 - 10 * np.log10(len(talking))) for voice in talking))


def keys(digits: str, *, key_ms: int = 100, gap_ms: int = 100, dbfs: float = -16.0) -> Pcm:
    """DTMF as tones in the sound. Raises `ValueError` for what is no key."""
    key, gap = np.arange(key_ms * RATE_HZ // 1000) / RATE_HZ, np.zeros(gap_ms * RATE_HZ // 1000)
    parts: list[Signal] = []
    for digit in digits:
        row, column = divmod(_KEYPAD.index(digit), 4)
        tones = np.sin(2 * np.pi * _ROWS_HZ[row] * key) + np.sin(2 * np.pi * _COLUMNS_HZ[column] * key)
        parts += [tones * FULL_SCALE * 10 ** (dbfs / 20), gap]
    return pcm(np.concatenate(parts)) if parts else np.zeros(0, np.int16)


def beep(*, hz: float = 1000.0, seconds: float = 0.6, dbfs: float = -14.0) -> Pcm:
    """After which an answering machine records; its ends are soft."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    edge = np.minimum(1, np.minimum(t, seconds - t) / 0.01)
    return pcm(np.sin(2 * np.pi * hz * t) * edge * np.sqrt(2) * FULL_SCALE * 10 ** (dbfs / 20))


def _burst(chance: np.random.Generator, ms: float, loudest: float, smooth: int) -> Pcm:
    """Noise that begins hard and dies away; `smooth`: samples in its running mean, more is duller."""
    count = round(ms * RATE_HZ / 1000)
    sound = np.convolve(chance.normal(0, 1, count + smooth), np.ones(smooth) / smooth, "valid")[:count]
    shaped = sound * np.minimum(np.arange(count) / (0.015 * RATE_HZ), 1) * np.exp(-3 * np.arange(count) / count)
    return pcm(np.clip(shaped / np.abs(shaped).max() * loudest, -32000, 32000))


def breath(chance: np.random.Generator) -> Pcm:
    return _burst(chance, 500, 900, 2)


def cough(chance: np.random.Generator) -> Pcm:
    return _burst(chance, 260, 9000, 6)


def cough_twice(chance: np.random.Generator) -> Pcm:
    pause = np.zeros(RATE_HZ // 5, np.int16)
    return np.concatenate((_burst(chance, 220, 9000, 6), pause, _burst(chance, 240, 8000, 5)))


THROAT: Final[dict[str, Callable[[np.random.Generator], Pcm]]] = {
    "cough": cough,
    "cough twice": cough_twice,
    "breath": breath,
}
"""What a throat does over an agent that should go on speaking."""
