"""Audio that arrives in pieces of any size: the bytes made samples, the silence around the voice trimmed. Pure."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from local_ai_server.backends.tts.errors import TtsMisconfigured, TtsUnavailable
from local_ai_server.backends.tts.phrase_audio import LEADING_MS, Samples, trailing_ms
from voice_wire.resample import SAMPLE_RATES_HZ

_PCM: Final = 1
_EXTENSIBLE: Final = 0xFFFE
_LONGEST_HEADER: Final = 64 * 1024
_WINDOW_MS: Final = 5.0
_UNDER_PEAK: Final = 10 ** (-40 / 20)
_AUDIBLE: Final = 10 ** (-60 / 20)


class PcmDecoder:
    """16-bit mono samples of a stream, bare or in a WAV file (RIFF; sizes that a streaming writer left open are fine).

    `rate_hz` is the bare stream's until a WAV header says another.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._rest = b""
        self._in_header: bool | None = None

    def feed(self, data: bytes) -> Samples:
        """The samples that `data` completes. Raises `TtsMisconfigured` for a WAV of another kind."""
        self._rest += data
        if self._in_header is None and len(self._rest) >= 4:
            self._in_header = self._rest.startswith(b"RIFF")
        if self._in_header is not False and not self._skip_header():
            return np.zeros(0, np.float32)
        whole = len(self._rest) // 2 * 2
        samples = np.frombuffer(self._rest[:whole], "<i2").astype(np.float32) / np.float32(32768)
        self._rest = self._rest[whole:]
        return samples

    def _skip_header(self) -> bool:
        """Whether the samples have begun."""
        if not self._in_header:
            return False
        if len(self._rest) > _LONGEST_HEADER:
            raise TtsUnavailable("the speech server sent a WAV file whose samples never begin")
        at = 12
        while at + 8 <= len(self._rest):
            name, size = struct.unpack_from("<4sI", self._rest, at)
            if name == b"data":
                self._rest = self._rest[at + 8 :]
                self._in_header = False
                return True
            if name == b"fmt " and at + 24 <= len(self._rest):
                self._read_format(at + 8)
            at += 8 + size + size % 2
        return False

    def _read_format(self, at: int) -> None:
        kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", self._rest, at)
        if kind not in (_PCM, _EXTENSIBLE) or channels != 1 or bits != 16 or rate_hz not in SAMPLE_RATES_HZ:
            raise TtsMisconfigured(
                f"the speech server sends WAV of kind {kind}, {channels} channels, {bits} bits, {rate_hz} Hz; "
                "16-bit mono PCM is needed"
            )
        self.rate_hz = rate_hz


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
