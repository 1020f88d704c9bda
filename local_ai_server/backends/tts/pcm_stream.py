"""Audio that arrives in pieces of any size: the silence around the voice trimmed. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np

from local_ai_server.backends.tts.phrase_audio import LEADING_MS, Samples, trailing_ms

_WINDOW_MS: Final = 5.0
_UNDER_PEAK: Final = 10 ** (-40 / 20)
_AUDIBLE: Final = 10 ** (-60 / 20)


class StreamTrim:
    """As `phrase_audio.trim`, on a stream: 15 ms before the voice, what `closing`'s last mark asks for after it.

    Silence inside is held back until the voice goes on; so nothing waits but silence.
    """

    def __init__(self, rate_hz: int, closing: str) -> None:
        self._size = max(1, round(rate_hz * _WINDOW_MS / 1000))
        self._leading = round(rate_hz * LEADING_MS / 1000)
        self._trailing = round(rate_hz * trailing_ms(closing) / 1000)
        self._waiting = np.zeros(0, np.float32)
        """Less than a window."""
        self._silence = np.zeros(0, np.float32)
        self._peak = _AUDIBLE
        self._has_begun = False

    def feed(self, samples: Samples) -> Samples:
        """What is known to be kept."""
        samples = np.concatenate((self._waiting, samples))
        whole = samples.size // self._size * self._size
        self._waiting = samples[whole:]
        return self._sort(samples[:whole])

    def finish(self) -> Samples:
        """The rest, and the pause after it; nothing where there was no voice."""
        last = self._sort(np.pad(self._waiting, (0, -self._waiting.size % self._size)))
        if not self._has_begun:
            return last
        pause = self._silence[: self._trailing]
        return np.concatenate((last, pause, np.zeros(self._trailing - pause.size, np.float32)))

    def _sort(self, samples: Samples) -> Samples:
        if not samples.size:
            return samples
        levels = np.sqrt(np.mean(samples.reshape(-1, self._size) ** 2, axis=1))
        self._peak = max(self._peak, float(levels.max()))
        voiced = np.flatnonzero(levels > max(_AUDIBLE, self._peak * _UNDER_PEAK))
        held = np.concatenate((self._silence, samples))
        if not voiced.size:
            self._silence = held if self._has_begun else held[-self._leading :]
            return held[:0]
        end = self._silence.size + (int(voiced[-1]) + 1) * self._size
        begin = 0
        if not self._has_begun:
            begin = max(0, self._silence.size + int(voiced[0]) * self._size - self._leading)
            self._has_begun = True
        self._silence = held[end:]
        return held[begin:end]
