"""What a piece of audio is: its encoding, rate and length in time, and turning one format into another.

All audio here is mono. `linear16` is signed 16-bit little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

import numpy as np

from voice_wire.g711 import ALAW_SILENCE, MULAW_SILENCE, Pcm, decode_alaw, decode_mulaw, encode_alaw, encode_mulaw
from voice_wire.resample import SAMPLE_RATES_HZ, StreamingResampler, resample

__all__ = [
    "ALAW_8K",
    "MULAW_8K",
    "PCM_8K",
    "PCM_16K",
    "SAMPLE_RATES_HZ",
    "AudioFormat",
    "AudioFormatError",
    "Encoding",
    "Pcm",
    "StreamingResampler",
    "convert",
    "decode",
    "decode_alaw",
    "decode_mulaw",
    "encode",
    "encode_alaw",
    "encode_mulaw",
    "fade_in",
    "fade_out",
    "resample",
]

Encoding = Literal["mulaw", "alaw", "linear16"]
_ENCODINGS: Final[tuple[str, ...]] = get_args(Encoding)
_SILENCE: Final[dict[Encoding, bytes]] = {"mulaw": MULAW_SILENCE, "alaw": ALAW_SILENCE, "linear16": b"\x00\x00"}


class AudioFormatError(ValueError):
    """Audio or its description that cannot be what it says it is. The message says what would be right."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """An encoding and a sample rate, one of `SAMPLE_RATES_HZ`."""

    encoding: Encoding
    sample_rate_hz: int

    def __post_init__(self) -> None:
        if self.encoding not in _ENCODINGS:
            raise AudioFormatError(f"encoding {self.encoding!r} is not one of {', '.join(_ENCODINGS)}")
        if type(self.sample_rate_hz) is not int or self.sample_rate_hz not in SAMPLE_RATES_HZ:
            rates = ", ".join(map(str, SAMPLE_RATES_HZ))
            raise AudioFormatError(f"sample rate {self.sample_rate_hz!r} is not one of {rates} (a whole number of Hz)")

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> AudioFormat:
        """The format that a message names in `encoding` and `sample_rate_hz` (or `sample_rate`).

        Absent or null fields mean mulaw and 8000 Hz. Anything else that is not a format raises `AudioFormatError`.
        """
        encoding = fields.get("encoding")
        rate_hz = fields.get("sample_rate_hz")
        if rate_hz is None:
            rate_hz = fields.get("sample_rate")
        return cls(
            cast("Encoding", "mulaw" if encoding is None else encoding),
            cast("int", 8000 if rate_hz is None else rate_hz),
        )

    @property
    def bytes_per_sample(self) -> int:
        return 2 if self.encoding == "linear16" else 1

    @property
    def bytes_per_second(self) -> int:
        return self.bytes_per_sample * self.sample_rate_hz

    @property
    def silence_bytes(self) -> bytes:
        """One sample of silence, as it lies on the wire."""
        return _SILENCE[self.encoding]

    def duration_s(self, n_bytes: int) -> float:
        """How long that many bytes sound."""
        return n_bytes / self.bytes_per_second

    def bytes_for_ms(self, ms: float) -> int:
        """The bytes of that many milliseconds, rounded to a whole sample (22050 Hz has 220.5 of them in 10 ms)."""
        return round(self.sample_rate_hz * ms / 1000) * self.bytes_per_sample

    def silence(self, ms: float) -> bytes:
        """That many milliseconds of silence."""
        return self.silence_bytes * (self.bytes_for_ms(ms) // self.bytes_per_sample)


MULAW_8K: Final = AudioFormat("mulaw", 8000)
ALAW_8K: Final = AudioFormat("alaw", 8000)
PCM_8K: Final = AudioFormat("linear16", 8000)
PCM_16K: Final = AudioFormat("linear16", 16000)


def decode(audio: bytes | bytearray | memoryview, encoding: Encoding) -> Pcm:
    """Samples of encoded audio. Half a sample at the end of `linear16` raises `AudioFormatError`."""
    if encoding == "mulaw":
        return decode_mulaw(audio)
    if encoding == "alaw":
        return decode_alaw(audio)
    if len(audio) % 2:
        raise AudioFormatError(f"{len(audio)} bytes of linear16 end in half a sample; send whole 16-bit samples")
    return np.frombuffer(audio, "<i2").astype(np.int16, copy=False)


def encode(pcm: Pcm, encoding: Encoding) -> bytes:
    """Encoded audio of int16 samples."""
    if encoding == "mulaw":
        return encode_mulaw(pcm)
    if encoding == "alaw":
        return encode_alaw(pcm)
    return pcm.astype("<i2", copy=False).tobytes()


def convert(audio: bytes, src: AudioFormat, dst: AudioFormat) -> bytes:
    """A whole phrase in another format. Live frames go through a `StreamingResampler` of their own instead."""
    if src == dst:
        return audio
    return encode(resample(decode(audio, src.encoding), src.sample_rate_hz, dst.sample_rate_hz), dst.encoding)


def fade_out(pcm: Pcm, ms: float, rate_hz: int) -> Pcm:
    """A copy whose last `ms` (or all of it, when shorter) sink to zero without a click: a raised cosine."""
    faded = pcm.copy()
    n = min(pcm.size, round(rate_hz * ms / 1000))
    if n:
        faded[-n:] = np.rint(pcm[-n:] * _rise(n)[::-1]).astype(np.int16)
    return faded


def fade_in(pcm: Pcm, ms: float, rate_hz: int) -> Pcm:
    """A copy whose first `ms` (or all of it, when shorter) rise from zero without a click: a raised cosine."""
    faded = pcm.copy()
    n = min(pcm.size, round(rate_hz * ms / 1000))
    if n:
        faded[:n] = np.rint(pcm[:n] * _rise(n)).astype(np.int16)
    return faded


def _rise(n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(n) / n)
