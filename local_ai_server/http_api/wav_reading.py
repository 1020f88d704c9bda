"""WAV files of any rate as blocks of samples: PCM of 8 to 32 bit, float, mu-law and A-law. Blocks on its file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from voice_wire.g711 import decode_alaw, decode_mulaw

Samples = npt.NDArray[np.float32]
"""Mono, from -1 to 1."""

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_WIDTHS: Final = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _ALAW: (8,), _MULAW: (8,)}
_UNKNOWN_SIZE: Final = (0, 0xFFFFFFFF)
"""Of `data`: written by who could not go back to the header, or RF64's sign that `ds64` has it."""
_MOST_CHUNKS: Final = 64
_MOST_CHANNELS: Final = 8
_RATES_HZ: Final = (2000, 384_000)
_BLOCK_FRAMES: Final = 65_536


class NotAWav(ValueError):
    """It cannot be read as a WAV file; the message says why and what would do."""


@dataclass(frozen=True, slots=True)
class WavFormat:
    """What `fmt ` and `data` say. `n_bytes`: of the sound; None: up to the end of the file."""

    tag: int
    channels: int
    rate_hz: int
    bits: int
    n_bytes: int | None

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


def read_header(file: BinaryIO) -> WavFormat:
    """Leaves `file` at the first sample. Raises `NotAWav`."""
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise NotAWav("this is no WAV file")
    form = b""
    for _ in range(_MOST_CHUNKS):
        chunk = file.read(8)
        if len(chunk) < 8:
            raise NotAWav("the WAV file ends before its sound begins")
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            return _format(form, None if size in _UNKNOWN_SIZE else size)
        if name == b"fmt ":
            form = file.read(min(size, 40))
            size -= len(form)
        file.seek(size + (size + len(form) if name == b"fmt " else size) % 2, 1)
    raise NotAWav("the WAV file has no sound among its first chunks")


def blocks(file: BinaryIO, wav: WavFormat) -> Iterator[Samples]:
    """The sound, channels averaged, up to where the file ends."""
    left = wav.n_bytes
    while left is None or left > 0:
        wanted = _BLOCK_FRAMES * wav.frame_bytes
        data = file.read(wanted if left is None else min(wanted, left))
        if len(data) < wav.frame_bytes:
            return
        if left is not None:
            left -= len(data)
        data = data[: len(data) // wav.frame_bytes * wav.frame_bytes]
        yield _to_float(data, wav).reshape(-1, wav.channels).mean(axis=1)


def _format(form: bytes, n_bytes: int | None) -> WavFormat:
    if len(form) < 16:
        raise NotAWav("the WAV file does not say what its sound is (no fmt chunk before data)")
    tag, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == _EXTENSIBLE and len(form) >= 26:
        tag = struct.unpack("<H", form[24:26])[0]
    if bits not in _WIDTHS.get(tag, ()):
        raise NotAWav(
            f"the WAV file holds sound of kind {tag} with {bits} bits; send PCM of 8, 16, 24 or 32 bit, float, mu-law "
            "or A-law"
        )
    if not 1 <= channels <= _MOST_CHANNELS:
        raise NotAWav(f"the WAV file has {channels} channels; send 1 to {_MOST_CHANNELS}")
    if not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]:
        raise NotAWav(f"the WAV file has {rate_hz} samples a second; send {_RATES_HZ[0]} to {_RATES_HZ[1]}")
    return WavFormat(tag, channels, rate_hz, bits, n_bytes)


def _to_float(data: bytes, wav: WavFormat) -> Samples:
    if wav.tag in (_ALAW, _MULAW):
        pcm = decode_alaw(data) if wav.tag == _ALAW else decode_mulaw(data)
        return pcm.astype(np.float32) / np.float32(32768)
    if wav.tag == _FLOAT:
        given = np.frombuffer(data, f"<f{wav.bits // 8}")
        samples: Samples = np.clip(np.nan_to_num(given, posinf=1, neginf=-1), -1, 1).astype(np.float32)
        return samples
    if wav.bits == 8:  # unsigned, as RIFF has it
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if wav.bits == 24:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return padded.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    return np.frombuffer(data, f"<i{wav.bits // 8}").astype(np.float32) / np.float32(2 ** (wav.bits - 1))
