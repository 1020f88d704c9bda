"""Audio that arrives in pieces of any size: the bytes made samples. Pure."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from openai_wire.errors import TtsMisconfigured, TtsUnavailable
from voice_wire.resample import SAMPLE_RATES_HZ

_PCM: Final = 1
_EXTENSIBLE: Final = 0xFFFE
_LONGEST_HEADER: Final = 64 * 1024

Samples = npt.NDArray[np.float32]
"""-1 to 1."""


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
