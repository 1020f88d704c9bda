"""WAV files in and out of the caller's own form: 8 kHz mono, signed 16 bit."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

RATE_HZ = 8000

Pcm = NDArray[np.int16]
"""Mono samples at `RATE_HZ`."""


class NotAWav(ValueError):
    """The file cannot be read as a WAV; the message says why and what would do."""


def read_wav(path: str | Path) -> Pcm:
    """The speech in a WAV file of any rate, 8 to 32 bit PCM, mono or stereo (averaged), as 8 kHz mono samples."""
    path = Path(path)
    try:
        with wave.open(str(path), "rb") as file:
            rate_hz, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except FileNotFoundError:
        raise NotAWav(f"{path} does not exist") from None
    except IsADirectoryError:
        raise NotAWav(f"{path} is a folder, not a WAV file") from None
    except (wave.Error, EOFError) as error:
        raise NotAWav(
            f"{path} is not a PCM WAV file ({str(error) or 'it ends too early'}); "
            "convert it, for example: ffmpeg -i IN -ac 1 -ar 8000 OUT.wav"
        ) from None
    data = data[: len(data) - len(data) % (width * channels)]
    samples = _to_float(data, width).reshape(-1, channels).mean(axis=1)
    if rate_hz != RATE_HZ:
        samples = soxr.resample(samples, rate_hz, RATE_HZ)
    pcm: Pcm = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    return pcm


def _to_float(data: bytes, width: int) -> NDArray[np.float64]:
    """Little-endian PCM of `width` bytes a sample as -1…1; 8 bit is unsigned (RIFF)."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128
    if width == 3:
        raw = np.frombuffer(data, np.uint8).reshape(-1, 3)
        padded = np.zeros((len(raw), 4), np.uint8)
        padded[:, 1:] = raw
        return padded.view("<i4")[:, 0].astype(np.float64) / 2**31
    return np.frombuffer(data, f"<i{width}").astype(np.float64) / float(2 ** (8 * width - 1))


def write_wav(path: str | Path, *channels: Pcm) -> None:
    """Write one channel, or several of the same length side by side, at 8 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setparams((len(channels), 2, RATE_HZ, 0, "NONE", "not compressed"))
        file.writeframes(np.stack(channels, axis=1).astype("<i2").tobytes())
