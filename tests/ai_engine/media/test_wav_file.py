"""A recording's file: read by the standard reader wherever its writer ended, and beyond 4 GB."""

from __future__ import annotations

import os
import signal
import stat
import struct
import subprocess
import sys
import wave

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_engine.media.wav_file import HEADER_BYTES, WavFile, mend, wav_header

RATES = pytest.mark.parametrize("rate_hz", [8000, 16000])


def stereo(seconds, rate_hz=8000, seed=1):
    return np.random.default_rng(seed).integers(-9000, 9000, (round(seconds * rate_hz), 2)).astype("<i2")


def read(path):
    """Samples and rate, by Python's own reader."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2), file.getframerate()


@RATES
def test_what_is_written_is_read_at_every_moment(tmp_path, rate_hz):
    path, pcm = tmp_path / "a.wav", stereo(3, rate_hz)
    file = WavFile(path, rate_hz)
    assert read(path)[0].size == 0
    for second in range(3):
        file.write(pcm[second * rate_hz : (second + 1) * rate_hz].tobytes())
        samples, rate = read(path)
        assert rate == rate_hz
        assert (samples == pcm[: (second + 1) * rate_hz]).all()
    assert file.seconds == 3
    file.sync()
    file.close()
    file.close()


def test_only_the_owner_may_read_it_and_it_is_never_written_over(tmp_path):
    path = tmp_path / "a.wav"
    WavFile(path, 8000).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        WavFile(path, 8000)
    link = tmp_path / "b.wav"
    link.symlink_to(tmp_path / "c.wav")
    with pytest.raises(OSError, match="b"):
        WavFile(link, 8000)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cut=st.integers(HEADER_BYTES, HEADER_BYTES + 4 * 8000 * 2), behind=st.integers(0, 40000))
def test_a_file_cut_at_any_byte_is_read_up_to_there(tmp_path, cut, behind):
    """`behind`: bytes that came after the last header. Both ends of the cut are frames at the nearest."""
    pcm = stereo(2).tobytes()
    written = len(pcm) - behind // 4 * 4
    path = tmp_path / "cut.wav"
    path.write_bytes((wav_header(8000, 2, written) + pcm)[:cut])
    kept = min(written, cut - HEADER_BYTES) // 4 * 4
    with wave.open(str(path), "rb") as file:
        frames = file.readframes(file.getnframes())
    assert frames[:kept] == pcm[:kept]
    assert len(frames) <= written
    if cut <= HEADER_BYTES + 3:
        if cut == HEADER_BYTES:
            with pytest.raises(EOFError):
                mend(path)
        return
    assert mend(path)
    whole = (cut - HEADER_BYTES) // 4 * 4
    samples, _ = read(path)
    assert samples.tobytes() == pcm[:whole], "mended, it holds the sound that came after its last header too"


def test_one_that_is_being_written_is_not_mended(tmp_path):
    path = tmp_path / "a.wav"
    file = WavFile(path, 8000)
    file.write(stereo(1).tobytes())
    assert not mend(path)
    file.close()
    assert mend(path)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"x" * 200, b"RIFF" + bytes(200)])
def test_what_is_no_recording_is_not_touched(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises((EOFError, ValueError)):
        mend(path)
    assert path.read_bytes() == content


WRITE_FOR_EVER = """
import sys, pathlib
from ai_engine.media.wav_file import WavFile
file = WavFile(pathlib.Path(sys.argv[1]), 8000)
block = bytes(range(256)) * 125
while True:
    file.write(block)
    print(file.data_bytes, flush=True)
"""


def test_a_killed_writer_leaves_a_file_that_is_read(tmp_path):
    path = tmp_path / "killed.wav"
    with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            told = [int(writer.stdout.readline()) for _ in range(20)][-1]
        finally:
            writer.send_signal(signal.SIGKILL)
    samples, rate = read(path)
    assert rate == 8000
    assert samples.nbytes >= told
    block = np.frombuffer(bytes(range(256)) * 125, "<i2")
    assert (samples.reshape(-1)[: told // 2] == np.resize(block, told // 2)).all()


def test_a_full_disk_keeps_what_fitted(tmp_path):
    """A file system of 256 kB, where one may be mounted; elsewhere the system's limit on a file's size."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)], stderr=subprocess.DEVNULL
    )
    if not mounted:
        pytest.skip("no small file system can be mounted here; test_recorder has a stand-in")
    try:
        file = WavFile(small / "a.wav", 8000)
        pcm = stereo(60).tobytes()
        with pytest.raises(OSError, match="No space left"):
            for second in range(60):
                file.write(pcm[second * 32000 : (second + 1) * 32000])
        file.close()
        samples, _ = read(small / "a.wav")
        assert samples.nbytes == file.data_bytes > 200_000
        assert samples.tobytes() == pcm[: samples.nbytes]
    finally:
        subprocess.check_call(["umount", str(small)])


def test_below_4_gb_it_is_riff_and_above_rf64_with_the_data_at_the_same_place():
    for data_bytes in (0, 4, (1 << 32) - 80):
        header = wav_header(16000, 2, data_bytes)
        assert (header[:4], header[8:16], len(header)) == (b"RIFF", b"WAVEJUNK", HEADER_BYTES)
        assert struct.unpack("<I", header[4:8])[0] == data_bytes + 72
        assert struct.unpack("<4sI", header[72:]) == (b"data", data_bytes)
    for data_bytes in ((1 << 32) - 68, 5 << 30):
        header = wav_header(16000, 2, data_bytes)
        assert (header[:4], header[8:16], len(header)) == (b"RF64", b"WAVEds64", HEADER_BYTES)
        riff, data, frames = struct.unpack("<QQQ", header[20:44])
        assert (riff, data, frames) == (data_bytes + 72, data_bytes, data_bytes // 4)
        assert struct.unpack("<I", header[4:8])[0] == 0xFFFFFFFF
        assert struct.unpack("<4sI", header[72:]) == (b"data", 0xFFFFFFFF)


def test_a_recording_goes_on_past_4_gb(tmp_path):
    """A file with a hole of 4 GB in it, which takes no room."""
    path = tmp_path / "long.wav"
    file = WavFile(path, 16000)
    try:
        file.data_bytes = (1 << 32) - 1000 * 4
        file.write(stereo(0.1, 16000).tobytes())
    except OSError as error:
        pytest.skip(f"no file of that size can be made here: {error}")
    finally:
        file.close()
    with path.open("rb") as raw:
        header = raw.read(HEADER_BYTES)
    assert header[:4] == b"RF64"
    assert HEADER_BYTES + struct.unpack("<Q", header[28:36])[0] == path.stat().st_size > 1 << 32
