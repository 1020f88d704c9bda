"""A recording that a client sent, as 16 kHz mono on disk, whatever form it came in."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, Final, Self

import numpy as np
import soxr

from local_ai_server.errors import ServeError
from local_ai_server.http_api import decode_sound
from local_ai_server.http_api.decode_sound import NO_SOUND, RATE_HZ, TOO_LONG
from local_ai_server.http_api.wav_reading import NotAWav, Samples, blocks, read_header
from voice_wire.audio import Pcm

__all__ = ["RATE_HZ", "Recording", "Recordings"]

_WAV: Final = "wav"
_SERVED: Final = "send WAV, MP3, Ogg, FLAC, AAC, MP4 (M4A) or WebM"
_AT_ONCE: Final = 2
"""Processes that decode: a file of an hour takes one some seconds."""
_CPU_S: Final = 20
_DECODED_PER_CPU_S: Final = 60
"""Seconds of sound that a second of a slow processor decodes, at the very least."""
_WALL_FACTOR: Final = 8
_END: Final = np.zeros(0, np.float32)


class Recording:
    """Owns a temporary file without a name. `close` gives it back."""

    def __init__(self, file: BinaryIO, n_samples: int) -> None:
        self._file = file
        self.n_samples = n_samples

    @property
    def duration_s(self) -> float:
        return self.n_samples / RATE_HZ

    def read(self, at: int, n: int) -> Pcm:
        """Up to `n` samples from the sample `at` on. Blocks."""
        return np.frombuffer(os.pread(self._file.fileno(), 2 * n, 2 * at), "<i2").astype(np.int16, copy=False)

    def close(self) -> None:
        """Idempotent."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Recordings:
    """Reads what clients send, few at a time, up to a length."""

    def __init__(self, *, max_s: float, setting: str = "LOCAL_HTTP_MAX_AUDIO") -> None:
        """`setting`: where `max_s` comes from, for errors."""
        self._max_s = max_s
        self._setting = setting
        self._max_samples = round(max_s * RATE_HZ)
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def read(self, file: BinaryIO) -> Recording:
        """`file`: a real one, with a descriptor. Raises `ServeError`."""
        async with self._turn:
            kind = await asyncio.to_thread(_kind, file)
            if kind == _WAV:
                return await self._read_wav(file)
            if find_spec("av") is None:
                message = "this server reads WAV only; for other forms run: pip install 'parley[formats]'"
                raise ServeError("not_supported", message)
            return await self._decode(file, kind)

    async def _read_wav(self, file: BinaryIO) -> Recording:
        reading = asyncio.create_task(asyncio.to_thread(_read_wav, file, self._max_samples), name="read a WAV file")
        try:
            recording = await asyncio.shield(reading)
        except asyncio.CancelledError:
            # A thread cannot be stopped: it ends before its file is closed under it.
            await asyncio.wait((reading,))
            if reading.exception() is None and (recording := reading.result()) is not None:
                recording.close()
            raise
        except NotAWav as error:
            raise ServeError("invalid_message", str(error)) from None
        if recording is None:
            raise self._too_long()
        return recording

    async def _decode(self, file: BinaryIO, kind: str) -> Recording:
        os.lseek(file.fileno(), 0, os.SEEK_SET)  # the process shares the descriptor's place
        cpu_s = round(_CPU_S + self._max_s / _DECODED_PER_CPU_S)
        decoded = TemporaryFile()  # noqa: SIM115 - becomes the recording's
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(Path(decode_sound.__file__)), kind, str(self._max_samples), str(cpu_s)),
                stdin=file.fileno(),
                stdout=decoded.fileno(),
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(),
            )
            try:
                async with asyncio.timeout(_WALL_FACTOR * cpu_s):
                    status = await process.wait()
            except TimeoutError:
                status = -1
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            self._check(status)
            return Recording(decoded, os.fstat(decoded.fileno()).st_size // 2)
        except BaseException:
            decoded.close()
            raise

    def _check(self, status: int) -> None:
        if status == TOO_LONG:
            raise self._too_long()
        if status == NO_SOUND:
            raise ServeError("invalid_message", "there is no sound in the file")
        if status != 0:
            raise ServeError("invalid_message", f"the file cannot be decoded; {_SERVED}")

    def _too_long(self) -> ServeError:
        return ServeError(
            "message_too_large",
            f"the recording is longer than {self._max_s:g} s ({self._setting}); send it in parts",
        )


def _environment() -> dict[str, str]:
    """Of the process that decodes: none of ours. Few arenas, for each reserves of the memory that it may have."""
    return {"MALLOC_ARENA_MAX": "2"} | {n: os.environ[n] for n in ("LD_LIBRARY_PATH",) if n in os.environ}


def _kind(file: BinaryIO) -> str:
    """What the first bytes say it is, by FFmpeg's names. Raises `ServeError`."""
    file.flush()
    head = os.pread(file.fileno(), 12, 0)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _WAV
    signs = {b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "matroska"}
    if head[:4] in signs:
        return signs[head[:4]]
    if head[4:8] == b"ftyp":
        return "mov"
    if head[:3] == b"ID3":
        return "mp3"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # MPEG audio's sync word; ADTS has layer 0
        return "mp3" if head[1] & 0x06 else "aac"
    what = "the file is empty" if not head else "the file is of no known sound format"
    raise ServeError("not_supported" if head else "invalid_message", f"{what}; {_SERVED}")


def _read_wav(file: BinaryIO, max_samples: int) -> Recording | None:
    """None where it is longer. Raises `NotAWav`."""
    file.seek(0)
    wav = read_header(file)
    resampler = soxr.ResampleStream(wav.rate_hz, RATE_HZ, 1, dtype="float32") if wav.rate_hz != RATE_HZ else None
    decoded = TemporaryFile()  # noqa: SIM115 - becomes the recording's
    n_samples = 0
    try:
        for samples in chain(blocks(file, wav), (_END,)):
            wide: Samples = resampler.resample_chunk(samples, last=samples is _END) if resampler else samples
            n_samples += wide.size
            if n_samples > max_samples:
                decoded.close()
                return None
            decoded.write(np.clip(np.rint(wide * 32768), -32768, 32767).astype("<i2").tobytes())
        decoded.flush()
    except BaseException:
        decoded.close()
        raise
    if not n_samples:
        decoded.close()
        raise NotAWav("there is no sound in the WAV file")
    return Recording(decoded, n_samples)
