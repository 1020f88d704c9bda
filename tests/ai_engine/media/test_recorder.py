"""Calls on their way into files: both sides in step, silence while paused, and a disk that fails costs no call."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ai_engine.media.call_recording import BLOCK_FRAMES, HELD_FRAMES, MOST_WAITING_BLOCKS
from ai_engine.media.recorder import Recorder
from ai_engine.media.recording_folder import RecordingFolder
from ai_engine.media.wav_file import WavFile
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, decode, encode

FORMATS = pytest.mark.parametrize("format", [MULAW_8K, ALAW_8K, PCM_8K, PCM_16K], ids=str)


class Rig:
    """A recorder whose writing is done when the test says so."""

    def __init__(self, path, *, format=PCM_8K, sync_s=10.0, allowed=lambda _now: True, **rules):
        self.path = path
        self.format = format
        self.outcomes = []
        self.recorder = Recorder(RecordingFolder(path, **rules), sync_s=sync_s, on_outcome=self.outcomes.append)
        self.recording = self.recorder.recording("call-1", format.sample_rate_hz, format, allowed=allowed)
        self.now = 500.0
        self.n = format.sample_rate_hz // 50

    def tick(self, caller=0, agent=None, times=1):
        """`caller` and `agent`: the value of every sample of the frame."""
        for _ in range(times):
            pcm = np.full(self.n, caller, "<i2").tobytes()
            sent = None if agent is None else encode(np.full(self.n, agent, np.int16), self.format.encoding)
            self.recording.tick(pcm, sent, self.now)
            self.now += 0.02

    def files(self):
        return sorted(self.path.rglob("*.wav*"))

    def sides(self):
        """Caller's and agent's samples of the one file there is, one row a frame."""
        (file,) = self.files()
        with wave.open(str(file), "rb") as reader:
            assert reader.getframerate() == self.format.sample_rate_hz
            both = np.frombuffer(reader.readframes(reader.getnframes()), "<i2").reshape(-1, 2)
        return both[:, 0].reshape(-1, self.n), both[:, 1].reshape(-1, self.n)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def until(condition):
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


def quantised(format, value):
    return int(decode(encode(np.array([value], np.int16), format.encoding), format.encoding)[0])


@FORMATS
def test_the_caller_is_left_and_the_agent_right_and_both_of_the_same_tick(tmp_path, format):
    rig = Rig(tmp_path, format=format)
    for number in range(333):
        rig.tick(caller=number, agent=40 * number if number % 3 else None)
    rig.recording.end()
    rig.recorder.work_off()
    caller, agent = rig.sides()
    assert (caller == np.arange(333)[:, None]).all()
    expected = [quantised(format, 40 * number) if number % 3 else quantised(format, 0) for number in range(333)]
    assert (agent == np.array(expected)[:, None]).all()
    assert rig.files()[0].suffix == ".wav"
    assert rig.outcomes == ["kept"]
    assert rig.recorder.live == 0


def test_it_can_be_read_while_it_goes_on(tmp_path):
    rig = Rig(tmp_path)
    rig.tick(7, 8, times=500)
    rig.recorder.work_off()
    caller, agent = rig.sides()
    assert 500 - BLOCK_FRAMES - HELD_FRAMES <= len(caller) <= 500
    assert (caller == 7).all()
    assert (agent == 8).all()
    assert rig.files()[0].name.endswith(".wav.part")


@given(st.lists(st.tuples(st.sampled_from(["tick", "pause", "resume"]), st.integers(1, 120)), max_size=20))
def test_silence_is_written_while_paused_and_the_time_stays_true(tmp_path_factory, steps):
    rig = Rig(tmp_path_factory.mktemp("pauses"), sync_s=0.0)
    expected, paused = [], False
    rig.tick(5, 6)
    expected.append(5)
    for what, times in steps:
        if what == "tick":
            rig.tick(5, 6, times=times)
            expected += [0 if paused else 5] * times
            rig.recorder.work_off()
        else:
            paused = what == "pause"
            (rig.recording.pause if paused else rig.recording.resume)()
            assert rig.recording.state == ("paused" if paused else "recording")
    rig.recording.end()
    rig.recorder.work_off()
    caller, agent = rig.sides()
    assert caller[:, 0].tolist() == expected
    assert agent[:, 0].tolist() == [value and 6 for value in expected]


def test_a_key_takes_out_what_its_tone_may_have_left(tmp_path):
    rig = Rig(tmp_path)
    rig.tick(5, 6, times=120)
    rig.recording.blank(rig.now, 2.99)
    rig.tick(5, 6, times=200)
    rig.recording.end()
    rig.recorder.work_off()
    caller, agent = (side[:, 0] for side in rig.sides())
    silent = range(120 - HELD_FRAMES, 120 + 150)
    for number in range(320):
        assert (caller[number] == 0) is np.bool_(number in silent)
        assert (agent[number] == 0) is np.bool_(number in silent)


def test_nothing_is_kept_before_it_may_be(tmp_path):
    told = []
    rig = Rig(tmp_path, allowed=lambda _now: bool(told))
    rig.tick(3, 3, times=100)
    assert rig.recording.state == "waiting"
    rig.recorder.work_off()
    assert rig.files() == []
    told.append(True)
    rig.tick(4, 4, times=100)
    assert rig.recording.state == "recording"
    rig.recording.end()
    rig.recorder.work_off()
    caller, _ = rig.sides()
    assert (caller == 4).all()
    assert 90 <= len(caller) <= 100


def test_a_call_that_ends_before_leaves_no_file(tmp_path):
    rig = Rig(tmp_path, allowed=lambda _now: False)
    rig.tick(times=100)
    rig.recording.end()
    rig.recording.end(discard=True)
    rig.recorder.work_off()
    assert (rig.files(), rig.outcomes, rig.recording.state) == ([], [], "ended")


@pytest.mark.parametrize("ended_first", [False, True])
def test_one_that_is_discarded_leaves_no_file(tmp_path, ended_first):
    rig = Rig(tmp_path)
    rig.tick(times=200)
    rig.recorder.work_off()
    if ended_first:
        rig.recording.end()
    rig.recording.end(discard=True)
    rig.tick(times=200)
    rig.recorder.work_off()
    assert rig.files() == []
    assert rig.outcomes[-1] == "discarded"
    assert rig.recorder.live == 0


def test_ticks_that_were_left_out_are_silence_in_it(tmp_path):
    rig = Rig(tmp_path)
    rig.tick(5, times=100)
    rig.now += 2.0
    rig.tick(5, times=100)
    rig.recording.end()
    rig.recorder.work_off()
    caller, _ = rig.sides()
    assert len(caller) == 300
    assert (caller[100:200] == 0).all()
    assert (caller[200:] == 5).all()


def test_ticks_that_come_late_and_are_made_up_leave_nothing_out(tmp_path):
    rig = Rig(tmp_path)
    for number in range(200):
        late = 0.06 if 50 < number < 54 else 0.0
        rig.now += late
        rig.tick(5)
        rig.now -= late
    rig.recording.end()
    rig.recorder.work_off()
    caller, _ = rig.sides()
    assert (len(caller), (caller == 5).all()) == (200, True)


def test_frames_of_odd_length_do_not_put_it_out_of_step(tmp_path):
    rig = Rig(tmp_path)
    rig.tick(5, 6, times=10)
    rig.recording.tick(b"\1\0" * 100, b"\2\0" * 500, rig.now)
    rig.now += 0.02
    rig.tick(5, 6, times=10)
    rig.recording.end()
    rig.recorder.work_off()
    caller, agent = rig.sides()
    assert len(caller) == len(agent) == 21
    assert (caller[11:] == 5).all()
    assert (agent[11:] == 6).all()


def test_a_frame_that_is_too_short_ends_in_silence(tmp_path):
    """Which is another byte in each encoding: a zero is as loud as u-law can be."""
    rig = Rig(tmp_path, format=MULAW_8K)
    rig.recording.tick(bytes(320), b"\x80" * 40, rig.now)
    rig.recording.end()
    rig.recorder.work_off()
    _, agent = rig.sides()
    assert (agent[0, :40] > 30000).all()
    assert (agent[0, 40:] == 0).all()


def test_a_slow_disk_drops_the_recording_with_one_line(tmp_path):
    """What waits stays below its limit, and what was written before is kept."""
    rig = Rig(tmp_path)
    rig.tick(5, times=200)
    rig.recorder.work_off()
    with capture_logs() as logs:
        rig.tick(6, times=60 * 50)
        assert rig.recording.state == "dropped"
        assert rig.recorder._queue.qsize() <= MOST_WAITING_BLOCKS + 2
        rig.recorder.work_off()
        rig.recording.end()
        rig.recorder.work_off()
    assert [log["event"] for log in logs] == ["recording_dropped"]
    assert logs[0]["call_id"] == "call-1"
    assert rig.outcomes == ["too_slow"]
    caller, _ = rig.sides()
    assert (caller[:175] == 5).all()
    assert rig.files()[0].suffix == ".wav"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_takes_no_more_drops_it_with_one_line(tmp_path, monkeypatch, code):
    rig = Rig(tmp_path)
    rig.tick(5, times=175)
    rig.recorder.work_off()

    def refuse(self, pcm):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(WavFile, "write", refuse)
    with capture_logs() as logs:
        for _ in range(10):
            rig.tick(6, times=50)
            rig.recorder.work_off()
        rig.recording.end()
        rig.recorder.work_off()
    assert [log["event"] for log in logs] == ["recording_dropped"]
    assert os.strerror(code) in logs[0]["reason"]
    assert (rig.outcomes, rig.recording.state, rig.recorder.live) == (["disk"], "dropped", 0)
    caller, _ = rig.sides()
    assert (len(caller), (caller == 5).all()) == (150, True)


def test_a_disk_that_cannot_even_close_a_file_costs_no_other_recording(tmp_path, monkeypatch):
    """What a network's file system could not write it may say at the close; other calls go on being written."""
    rig = Rig(tmp_path)
    other = rig.recorder.recording("call-2", 8000, PCM_8K)
    rig.tick(5, times=80)
    rig.recorder.work_off()
    write, close = WavFile.write, WavFile.close

    def refuse(self, pcm):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    def refuse_to_close(self):
        close(self)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(WavFile, "write", refuse)
    monkeypatch.setattr(WavFile, "close", refuse_to_close)
    with capture_logs() as logs:
        rig.recorder.start()
        rig.tick(5, times=50)
        until(lambda: rig.outcomes == ["disk"])
        monkeypatch.setattr(WavFile, "write", write)
        monkeypatch.setattr(WavFile, "close", close)
        for number in range(300):
            other.tick(bytes(320), None, number * 0.02)
        other.end()
        rig.recorder.stop(30.0)
    assert rig.outcomes == ["disk", "kept"]
    (dropped,) = (log["reason"] for log in logs if log["event"] == "recording_dropped")
    assert os.strerror(errno.EDQUOT) in dropped
    assert os.strerror(errno.EIO) in dropped


def test_a_folder_that_cannot_be_made_costs_the_recording_only(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    rig = Rig(tmp_path / "file" / "r")
    rig.tick(times=500)
    rig.recorder.work_off()
    assert (rig.outcomes, rig.recording.state) == (["disk"], "dropped")
    rig.tick(times=10)
    assert not rig.recorder._queue.qsize()


def test_too_little_room_begins_none(tmp_path):
    rig = Rig(tmp_path, min_free_mb=1e12)
    with capture_logs() as logs:
        rig.tick(times=500)
        rig.recorder.work_off()
    assert [log["event"] for log in logs] == ["recording_dropped"]
    assert "min_free_mb" in logs[0]["reason"]
    assert (rig.outcomes, rig.files()) == (["no_room"], [])


@pytest.mark.parametrize(("sync_s", "syncs"), [(0.0, 0), (2.0, 5), (5.0, 2)])
def test_the_disk_is_waited_for_as_often_as_asked(tmp_path, monkeypatch, sync_s, syncs):
    seen = []
    monkeypatch.setattr(WavFile, "sync", lambda self: seen.append(self.seconds))
    rig = Rig(tmp_path, sync_s=sync_s)
    rig.tick(times=10 * 50 + HELD_FRAMES)
    rig.recorder.work_off()
    assert len(seen) == syncs


def test_a_disk_that_says_only_at_the_end_that_it_is_full_keeps_what_there_is(tmp_path, monkeypatch):
    def refuse(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rig = Rig(tmp_path)
    rig.tick(5, times=175)
    rig.recorder.work_off()
    monkeypatch.setattr(WavFile, "sync", refuse)
    rig.recording.end()
    rig.recorder.work_off()
    assert (rig.recording.state, rig.outcomes, rig.recorder.live) == ("dropped", ["disk"], 0)
    assert (rig.files(), rig.recording.seconds) == ([rig.recording.path], 3.5)
    assert rig.recording.path.suffix == ".wav"
    caller, _ = rig.sides()
    assert (caller == 5).all()


def test_an_hour_leaves_memory_flat(tmp_path):
    """An hour of two callers. Memory of the tenth minute and of the last; nothing waits but the last second."""
    rig = Rig(tmp_path, format=MULAW_8K, sync_s=0.0)  # hundreds of waits for the disk would say nothing more
    second = rig.recorder.recording("call-2", 8000, MULAW_8K)
    caller, agent = bytes(range(160)) * 2, bytes(range(160))
    used = {}
    for minute in range(60):
        for number in range(3000):
            rig.recording.tick(caller, agent, rig.now)
            second.tick(caller, None if number % 2 else agent, rig.now)
            rig.now += 0.02
            if number % 250 == 0:
                rig.recorder.work_off()
        if minute in (9, 59):
            used[minute] = sys.getallocatedblocks(), resident_bytes()
    assert used[59][0] - used[9][0] < 5_000
    assert used[59][1] - used[9][1] < 10_000_000, "the sound itself is 200 MB"
    rig.recording.end()
    second.end()
    rig.recorder.work_off()
    assert rig.outcomes == ["kept", "kept"]
    assert {file.stat().st_size for file in rig.files()} == {80 + 3600 * 8000 * 4}
    for file in rig.files():
        file.unlink()


def test_its_threads_write_what_waits_and_end(tmp_path):
    rig = Rig(tmp_path)
    rig.recorder.start()
    threads = {rig.recorder._writer, rig.recorder._keeper}
    rig.tick(5, 6, times=600)
    rig.recording.end()
    other = rig.recorder.recording("call-2", 8000, PCM_8K)
    for _ in range(100):  # a call that an engine in a hurry does not end
        other.tick(bytes(320), None, rig.now)
    rig.recorder.stop(30.0)
    assert threads.isdisjoint(threading.enumerate())
    assert rig.outcomes == ["kept", "kept"]
    assert [file.suffix for file in rig.files()] == [".wav", ".wav"]


def test_a_fault_in_one_recording_leaves_the_others_alone(tmp_path, monkeypatch):
    rig = Rig(tmp_path)
    other = rig.recorder.recording("../../call-2", 8000, PCM_8K)
    rig.recorder.start()
    with capture_logs() as logs:
        for number in range(300):
            other.tick(bytes(320), None, number * 0.02)
        rig.tick(5, times=300)
        rig.recording.end()
        rig.recorder.stop(30.0)
    assert any(log["event"] == "recording_failed" for log in logs)
    assert sorted(rig.outcomes) == ["disk", "kept"]
    assert len(rig.files()) == 1


def test_a_killed_engine_leaves_all_but_the_last_seconds(tmp_path):
    """The recorder as the engine runs it, in a process that is killed in mid-call."""

    script = """
import sys, time, pathlib
from ai_engine.media.recorder import Recorder
from ai_engine.media.recording_folder import RecordingFolder
from voice_wire.audio import PCM_8K
recorder = Recorder(RecordingFolder(pathlib.Path(sys.argv[1])))
recorder.start()
recording = recorder.recording("killed", 8000, PCM_8K)
number = 0
while True:
    recording.tick(bytes([1, 0]) * 160, bytes([2, 0]) * 160, number * 0.02)
    number += 1
    if number % 50 == 0:
        while recording.written_blocks < (number - 25) // 50 - 1:
            time.sleep(0.001)
        print(number, file=sys.stderr, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        try:
            ticked = [int(process.stderr.readline()) for _ in range(40)][-1]
        finally:
            process.send_signal(signal.SIGKILL)
    (file,) = tmp_path.rglob("*.part")
    with wave.open(str(file), "rb") as reader:
        both = np.frombuffer(reader.readframes(reader.getnframes()), "<i2").reshape(-1, 2)
    assert len(both) / 160 >= ticked - 3 * 50
    assert (both == [1, 2]).all()
    os.utime(file, (1.0, 1.0))
    swept = RecordingFolder(tmp_path).sweep()
    assert (swept.mended, [path.suffix for path in tmp_path.rglob("*.wav*")]) == (1, [".wav"])
