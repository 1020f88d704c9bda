"""What a caller of a load test says: a voice-like sound, so that voice activity and turn-taking have their work.

Made, not recorded: the network for voice activity takes it for speech, and nothing has to be installed for it.
"""

from __future__ import annotations

import numpy as np

from voice_wire.audio import Pcm, encode_mulaw

RATE_HZ = 8000
_PITCH_HZ = 130.0


def voice(seconds: float, seed: int = 7) -> Pcm:
    """PCM16 at 8 kHz: syllables of a voice with moving formants, with hisses between them."""
    t = np.arange(round(RATE_HZ * seconds)) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(_PITCH_HZ + 25 * np.sin(2 * np.pi * 1.1 * t)) / RATE_HZ
    first_hz = 600 + 250 * np.sin(2 * np.pi * 2.2 * t)
    second_hz = 1700 - 400 * np.sin(2 * np.pi * 1.7 * t)
    buzz = np.zeros(t.size)
    for harmonic in range(1, 25):
        hz = _PITCH_HZ * harmonic
        level = np.exp(-(((hz - first_hz) / 250) ** 2)) + 0.5 * np.exp(-(((hz - second_hz) / 350) ** 2)) + 0.03
        buzz += level * np.sin(harmonic * phase)
    syllable = 0.5 - 0.5 * np.cos(2 * np.pi * 4.3 * t)
    sound = syllable * buzz + 0.3 * (1 - syllable) ** 4 * np.random.default_rng(seed).normal(0, 1, t.size)
    pcm: Pcm = np.round(9000 * sound / np.abs(sound).max()).astype(np.int16)
    return pcm


def caller_sound(pattern_s: tuple[float, ...] = (1.3, 0.9, 4.0)) -> bytes:
    """Mu-law: silence, speech, silence, speech … of these lengths in seconds, for a stream that repeats it."""
    pieces = [
        voice(seconds) if number % 2 else np.zeros(round(RATE_HZ * seconds), np.int16)
        for number, seconds in enumerate(pattern_s)
    ]
    return encode_mulaw(np.concatenate(pieces))
