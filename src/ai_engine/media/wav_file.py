"""A WAV file that is written as it goes and can be read whenever its writer ends, even by a kill.

The header (80 bytes) is written again with the true sizes after each piece: a file cut at any byte, or whose last piece
came after its last header, is read up to there by every tool. Sizes below 4 GB make a RIFF file; above, the same 80
bytes become RF64 (EBU Tech 3306), for which the room of its `ds64` chunk was kept as `JUNK` from the beginning.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

HEADER_BYTES: Final = 80
_RIFF_LIMIT: Final = 0xFFFFFFFF
_SAMPLE_BYTES: Final = 2
_BEFORE_DATA: Final = HEADER_BYTES - 8
"""What the RIFF size counts beside the data: all but its own eight bytes."""
_SIZES: Final = struct.Struct("<4sI4s4sI")
_FORMAT: Final = struct.Struct("<4sIHHIIHH4sI")


def wav_header(rate_hz: int, channels: int, data_bytes: int) -> bytes:
    """The 80 bytes before `data_bytes` of PCM16."""
    frame_bytes = channels * _SAMPLE_BYTES
    riff_bytes = _BEFORE_DATA + data_bytes
    if riff_bytes <= _RIFF_LIMIT:
        head = _SIZES.pack(b"RIFF", riff_bytes, b"WAVE", b"JUNK", 28) + bytes(28)
        data_field = data_bytes
    else:
        head = _SIZES.pack(b"RF64", _RIFF_LIMIT, b"WAVE", b"ds64", 28)
        head += struct.pack("<QQQI", riff_bytes, data_bytes, data_bytes // frame_bytes, 0)
        data_field = _RIFF_LIMIT
    bytes_per_second = rate_hz * frame_bytes
    return head + _FORMAT.pack(
        b"fmt ", 16, 1, channels, rate_hz, bytes_per_second, frame_bytes, 8 * _SAMPLE_BYTES, b"data", data_field
    )


class WavFile:
    """One file being written, locked against being taken for left behind. Blocks; raises `OSError`."""

    def __init__(self, path: Path, rate_hz: int, channels: int = 2) -> None:
        """Makes the file, which must not exist; only its owner may read it."""
        self.data_bytes = 0
        self._rate_hz = rate_hz
        self._channels = channels
        self._frame_bytes = channels * _SAMPLE_BYTES
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write_header()
        except BaseException:
            self.close()
            with contextlib.suppress(OSError):
                path.unlink()
            raise

    @property
    def seconds(self) -> float:
        return self.data_bytes / self._frame_bytes / self._rate_hz

    def write(self, pcm: bytes | memoryview) -> None:
        """Whole samples of all channels, interleaved. After an `OSError` the file holds what fitted."""
        view, at = memoryview(pcm), HEADER_BYTES + self.data_bytes
        done = 0
        try:
            while done < len(view):
                done += os.pwrite(self._handle, view[done:], at + done)
        finally:
            self.data_bytes += done - done % self._frame_bytes
            self._write_header()

    def sync(self) -> None:
        """Wait until the disk has it."""
        os.fdatasync(self._handle)

    def close(self) -> None:
        """Idempotent."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _write_header(self) -> None:
        os.pwrite(self._handle, wav_header(self._rate_hz, self._channels, self.data_bytes), 0)


def wav_seconds(path: Path) -> float:
    """How long a complete file of `WavFile` is. Raises `OSError`, and `ValueError` for one that is none."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES or not any(sizes := _FORMAT.unpack(head[HEADER_BYTES - _FORMAT.size :])[5:6]):
        raise ValueError(f"{path.name} is no recording of ours")
    return (path.stat().st_size - HEADER_BYTES) / int(sizes[0])


def mend(path: Path) -> bool:
    """Make the header of a file that `WavFile` left behind fit what is there; False if somebody still writes it.

    A file too short to hold any sound raises `EOFError`, one that is no such file `ValueError`.
    """
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        size = os.fstat(handle).st_size
        head = os.pread(handle, HEADER_BYTES, 0)
        if len(head) < HEADER_BYTES or size <= HEADER_BYTES:
            raise EOFError(f"{path.name} holds no sound")
        fields = _FORMAT.unpack(head[HEADER_BYTES - _FORMAT.size :])
        channels, rate_hz = fields[3], fields[4]
        if head[:4] not in {b"RIFF", b"RF64"} or fields[0] != b"fmt " or not channels or not rate_hz:
            raise ValueError(f"{path.name} is no recording of ours")
        frame_bytes = channels * _SAMPLE_BYTES
        data_bytes = (size - HEADER_BYTES) // frame_bytes * frame_bytes
        os.pwrite(handle, wav_header(rate_hz, channels, data_bytes), 0)
        return True
    finally:
        os.close(handle)
