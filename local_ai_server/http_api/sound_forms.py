"""Speech as clients want it: WAV, PCM, mu-law, A-law, and by FFmpeg's libraries MP3, Opus, AAC, FLAC."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Literal, Protocol

import numpy as np

from local_ai_server.errors import ServeError
from voice_wire.audio import AudioFormat, AudioFormatError, Encoding

SoundForm = Literal["wav", "pcm", "mulaw", "alaw", "mp3", "opus", "aac", "flac"]

_UNKNOWN_SIZE: Final = 0xFFFFFFFF
"""Of a stream: readers take what comes."""
_ENCODERS: Final = {"mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus"), "aac": ("adts", "aac"),
                    "flac": ("flac", "flac")}  # fmt: skip
_BIT_RATES: Final = {"mp3": 64_000, "opus": 32_000, "aac": 64_000}
"""Of one voice."""
_MEDIA_TYPES: Final = {"wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac",
                       "flac": "audio/flac"}  # fmt: skip
_RAW_TYPES: Final = {"pcm": "audio/pcm", "mulaw": "audio/PCMU", "alaw": "audio/PCMA"}


class Encoder(Protocol):
    """Blocks; not for two threads at once."""

    def feed(self, audio: bytes) -> bytes:
        """What can be sent of it by now."""

    def end(self) -> bytes:
        """The rest."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A form and a rate that go together."""

    form: SoundForm
    rate_hz: int

    def __post_init__(self) -> None:
        """Raises `ServeError`."""
        try:
            AudioFormat(self.encoding, self.rate_hz)
        except AudioFormatError as error:
            raise ServeError("invalid_message", str(error)) from None
        if self.form in _ENCODERS and find_spec("av") is None:
            raise ServeError(
                "not_supported",
                f"there is no encoder for {self.form} here: ask for wav or pcm, or run: pip install 'parley[formats]'",
            )
        if self.form == "opus" and self.rate_hz in (22_050, 44_100):
            raise ServeError("invalid_message", "opus has 8000, 16000, 24000 or 48000 samples a second")

    @property
    def encoding(self) -> Encoding:
        """What the voice is asked for."""
        return self.form if self.form in ("mulaw", "alaw") else "linear16"

    @property
    def media_type(self) -> str:
        raw = _RAW_TYPES.get(self.form)
        return f"{raw};rate={self.rate_hz}" if raw else _MEDIA_TYPES[self.form]

    def encoder(self) -> Encoder:
        """For one speech."""
        if self.form in _ENCODERS:
            return _Compressor(self.form, self.rate_hz)
        return _Plain(_wav_header(self.rate_hz) if self.form == "wav" else b"")


class _Plain:
    def __init__(self, header: bytes) -> None:
        self._header = header

    def feed(self, audio: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + audio

    def end(self) -> bytes:
        return self.feed(b"")


class _Compressor:
    """PyAV's, writing into memory."""

    def __init__(self, form: SoundForm, rate_hz: int) -> None:
        import av  # noqa: PLC0415 - an optional extra

        self._av: Any = av
        self._rate_hz = rate_hz
        self._sink = _Sink()
        container, codec = _ENCODERS[form]
        options = {"write_xing": "0", "id3v2_version": "0"} if form == "mp3" else {}  # nothing but sound
        self._container: Any = self._av.open(self._sink, "w", format=container, options=options)
        self._stream: Any = self._container.add_stream(codec, rate=rate_hz)
        self._stream.layout = "mono"
        if form in _BIT_RATES:
            self._stream.bit_rate = _BIT_RATES[form]

    def feed(self, audio: bytes) -> bytes:
        if audio:
            samples = np.frombuffer(audio, "<i2").reshape(1, -1)
            frame = self._av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = self._rate_hz
            self._container.mux(self._stream.encode(frame))
        return self._sink.taken()

    def end(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.taken()


class _Sink:
    """A file that only grows."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        written = bytes(self._written)
        self._written.clear()
        return written


def _wav_header(rate_hz: int) -> bytes:
    """Of PCM16 whose length nobody knows yet."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", _UNKNOWN_SIZE, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16, b"data", _UNKNOWN_SIZE),
    )
