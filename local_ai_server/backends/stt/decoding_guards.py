"""What Whisper does wrong and how it shows: loops, and words invented for what was no speech. Pure."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

SILENCE_DBFS: Final = -60.0
"""Below this in its loudest 20 ms nothing was said: a quiet caller is 30 dB louder, G.711's idle noise is below it."""
_MAX_COMPRESSION: Final = 2.4
"""Above this ratio a text repeats itself (the threshold of Whisper's own decoding fallback)."""
_LONGEST_PERIOD: Final = 16
_TOKENS_A_SECOND: Final = 10
"""Nobody talks faster: the fastest clip here has 5.4 tokens a second."""
_NO_SPEECH_WEIGHT: Final = 4.0
_INVENTED: Final = 2.45


def loudest_dbfs(samples: Samples, rate_hz: int) -> float:
    """Level of the loudest 20 ms, in dB below full scale; -inf for no audio."""
    size = rate_hz // 50
    n = samples.size // size
    if not n:
        return -math.inf
    power = float(np.max(np.mean(samples[: n * size].reshape(n, size).astype(np.float64) ** 2, axis=1)))
    return 10 * math.log10(power) if power > 0 else -math.inf


def token_limit(duration_s: float) -> int:
    """More tokens than that many seconds of speech can have; half of Whisper's window at most."""
    return min(224, 16 + math.ceil(_TOKENS_A_SECOND * duration_s))


def loops(tokens: Sequence[int], text: str) -> bool:
    """The text goes round: it ends in one pattern four times over, or compresses as no speech does."""
    for period in range(1, _LONGEST_PERIOD + 1):
        end = tokens[-period:]
        # Short patterns are also said: "no no no no", "five five five five". Eight tokens of them are not.
        times = max(4, -(-8 // period))
        if len(tokens) >= period * times and all(
            tokens[-period * (i + 1) : len(tokens) - period * i] == end for i in range(1, times)
        ):
            return True
    encoded = text.encode()
    return len(encoded) > 60 and len(encoded) / len(zlib.compress(encoded)) > _MAX_COMPRESSION


def is_invented(text: str, no_speech_probability: float, mean_log_probability: float) -> bool:
    """The text was made of silence, noise, tones or music, or is none ("...", "♪♪").

    Neither figure tells them apart alone: short answers, quiet or over noise, reach a no-speech probability of 0.5,
    ringback and music go down to 0.3; single words that are hard to hear ("Two") have a mean log-probability of -1.6,
    "you" out of silence -0.6. Together they do, see docs/stt.md: 4 p - m is at most 2.3 for what was said, at least
    2.6 for what was not.
    """
    if not any(character.isalnum() for character in text):
        return True
    return _NO_SPEECH_WEIGHT * no_speech_probability - mean_log_probability > _INVENTED


def quietest_split(samples: Samples, rate_hz: int, *, earliest_s: float, latest_s: float) -> int:
    """The sample to split long audio at: the middle of the quietest 200 ms between the two times."""
    begin, end = round(earliest_s * rate_hz), min(samples.size, round(latest_s * rate_hz))
    size = rate_hz // 5
    power = np.convolve(samples[begin:end].astype(np.float64) ** 2, np.ones(size), "valid")
    return begin + (int(np.argmin(power)) + size // 2 if power.size else 0)
