"""WAV files of these commands: 16 kHz, signed 16 bit."""

from __future__ import annotations

import wave
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from local_ai_server.clients.connection import UsageError
from voice_wire.audio import PCM_16K, SAMPLE_RATES_HZ, decode, resample

FORMAT: Final = PCM_16K


def read_wav(path: Path) -> bytes:
    """The speech in a file, as `FORMAT`; channels are averaged. Raises `UsageError`."""
    try:
        with wave.open(str(path), "rb") as file:
            rate_hz, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except (OSError, wave.Error, EOFError) as error:
        raise UsageError(f"{path} cannot be read as a WAV file: {error}; {_convert(path)}") from None
    if width != 2 or rate_hz not in SAMPLE_RATES_HZ:
        raise UsageError(f"{path} has {8 * width} bit and {rate_hz} Hz; {_convert(path)}")
    data = data[: len(data) - len(data) % (2 * channels)]
    mono = decode(data, "linear16").reshape(-1, channels).mean(axis=1)
    return resample(np.rint(mono).astype(np.int16), rate_hz, FORMAT.sample_rate_hz).astype("<i2").tobytes()


def _convert(path: Path) -> str:
    return f"make one: ffmpeg -i {path.name} -ac 1 -ar {FORMAT.sample_rate_hz} -sample_fmt s16 OUT.wav"


class WavWriter:
    """A file that grows by what is said, one after the other: caller left, agent right. A context manager.

    Opening raises `UsageError`.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = wave.open(str(path), "wb")  # noqa: SIM115 - this object is the context manager
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
        self._file.setparams((2, 2, FORMAT.sample_rate_hz, 0, "NONE", "not compressed"))

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def caller(self, audio: bytes) -> None:
        self._add(audio, 0)

    def agent(self, audio: bytes) -> None:
        self._add(audio, 1)

    def _add(self, audio: bytes, channel: int) -> None:
        pcm = decode(audio, "linear16")
        both = np.zeros((pcm.size, 2), "<i2")
        both[:, channel] = pcm
        self._file.writeframes(both.tobytes())
