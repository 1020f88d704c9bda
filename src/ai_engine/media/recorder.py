"""Calls written to stereo WAV files as they go: the caller left, the agent right, both of the same tick.

The media thread only collects frames (`CallRecording`); a thread of its own decodes, writes and syncs, and another
keeps the folder to its rules. A disk that is full, broken or slower than the calls costs the recording, never the call,
and tells so once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, Literal

import numpy as np
import structlog

from ai_engine.media.call_recording import FRAME_MS, Block, CallRecording, Drop, Finish, Frames, Item, Open, Outcome
from ai_engine.media.recording_folder import RecordingFolder
from ai_engine.media.wav_file import WavFile
from voice_wire.audio import AudioFormat, Pcm, decode, resample

SWEEP_EVERY_S: Final = 3600.0

_log = structlog.get_logger(__name__)


class _Writing:
    """A live recording's file, on the writer's thread."""

    def __init__(self, file: WavFile) -> None:
        self.file = file
        self.synced_s = 0.0


class Recorder:
    """One engine's: the writer's thread, and the one that keeps the folder to its rules."""

    def __init__(
        self,
        folder: RecordingFolder,
        *,
        channels: Literal[1, 2] = 2,
        sync_s: float = 10.0,
        on_outcome: Callable[[Outcome], None] = lambda _outcome: None,
        on_deleted: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """`channels` 1: the caller alone, as messages are.

        `sync_s`: of sound, after which the disk is waited for (power loss costs no more); 0 leaves it to the system.

        `on_outcome` and `on_deleted` are called on the recorder's threads.
        """
        self._folder = folder
        self._channels: Literal[1, 2] = channels
        self._sync_s = sync_s
        self._on_outcome = on_outcome
        self._on_deleted = on_deleted
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._live: dict[CallRecording, _Writing] = {}
        self._writer: threading.Thread | None = None
        self._keeper: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def live(self) -> int:
        """Files open now."""
        return len(self._live)

    def recording(
        self,
        call_id: str,
        rate_hz: int,
        agent_format: AudioFormat,
        *,
        allowed: Callable[[float], bool] = lambda _now: True,
        on_closed: Callable[[], None] = lambda: None,
    ) -> CallRecording:
        """A call's recording; it begins when `allowed` (asked on the media thread, five times a second) says so.

        `on_closed` is called on the writer's thread when the file is closed, or when there will be none.
        """
        return CallRecording(call_id, rate_hz, agent_format, put=self._queue.put, allowed=allowed, on_closed=on_closed)

    def start(self) -> None:
        self._writer = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._keeper = threading.Thread(target=self._keep, name="recording-retention", daemon=True)
        self._writer.start()
        self._keeper.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what waits and end the threads. A disk that hangs gets `timeout_s`; what it leaves is mended later."""
        self._stopping.set()
        self._queue.put(None)
        for thread in (self._writer, self._keeper):
            if thread is not None:
                thread.join(timeout_s)
                if thread.is_alive():
                    _log.error("recorder_hangs", thread=thread.name, waited_s=timeout_s)
        self._writer = self._keeper = None

    def work_off(self) -> None:
        """Do what waits, on this thread: for who has not started one."""
        while not self._queue.empty():
            item = self._queue.get()
            if item is not None:
                self._do(item)

    # --- the writer's thread ------------------------------------------------------------------------------------------

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            self._do(item)
        for recording in tuple(self._live):  # an engine that ends without ending its calls
            self._do(Finish(recording))

    def _do(self, item: Item) -> None:
        recording = item.recording
        try:
            match item:
                case Open():
                    self._open(recording)
                case Block(caller=caller, agent=agent):
                    recording.written_blocks += 1
                    if (writing := self._live.get(recording)) is not None:
                        writing.file.write(_sound(recording, caller, agent, self._channels))
                        if self._sync_s and writing.file.seconds - writing.synced_s >= self._sync_s:
                            writing.synced_s = writing.file.seconds
                            writing.file.sync()
                case Drop(outcome=outcome, reason=reason):
                    self._drop(recording, outcome, reason)
                case Finish(discard=discard):
                    self._finish(recording, discard=discard)
        except OSError as error:
            self._drop(recording, "disk", str(error))
        except Exception:  # noqa: BLE001 - root of the thread: one recording's fault must not end the others
            _log.exception("recording_failed", call_id=recording.call_id)
            self._drop(recording, "disk", "a fault of the recorder")

    def _open(self, recording: CallRecording) -> None:
        lacking = self._folder.lacks_room()
        if lacking:
            self._drop(recording, "no_room", lacking)
            return
        recording.path, file = self._folder.begin(recording.call_id, recording.rate_hz, self._channels)
        self._live[recording] = _Writing(file)
        _log.info("recording_began", call_id=recording.call_id, file=recording.path.name)

    def _finish(self, recording: CallRecording, *, discard: bool) -> None:
        writing = self._live.get(recording)
        if recording.path is None or (writing is None and not discard):
            return
        if discard:
            recording.path.unlink(missing_ok=True)
        elif writing is not None:
            if self._sync_s:
                writing.file.sync()
            recording.path = self._folder.end(recording.path)
        self._live.pop(recording, None)  # not before: what fails above is ended by `_drop`
        seconds = round(writing.file.seconds, 2) if writing is not None else 0.0
        if writing is not None:
            writing.file.close()
        file = "" if discard else recording.path.name
        _log.info("recording_ended", call_id=recording.call_id, file=file, seconds=seconds, discarded=discard)
        recording.seconds = seconds
        self._on_outcome("discarded" if discard else "kept")
        recording.on_closed()

    def _drop(self, recording: CallRecording, outcome: Outcome, reason: str) -> None:
        """End a recording that cannot go on; what there is of it is kept."""
        recording.failed = True
        writing = self._live.pop(recording, None)
        seconds = 0.0
        if writing is not None and recording.path is not None:
            seconds = round(writing.file.seconds, 2)
            try:
                writing.file.close()  # a disk over the network may say only now that it is full
                recording.path = self._folder.end(recording.path)
            except OSError as error:
                reason = f"{reason}; {error}"
        _log.error("recording_dropped", call_id=recording.call_id, outcome=outcome, reason=reason, seconds_kept=seconds)
        recording.seconds = seconds
        self._on_outcome(outcome)
        recording.on_closed()

    # --- the other ----------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while True:
            try:
                swept = self._folder.sweep()
            except Exception:  # noqa: BLE001 - root of the thread: tried again in an hour
                _log.exception("recordings_not_swept")
            else:
                if swept.deleted or swept.mended:
                    freed_mb = round(swept.freed_bytes / 1e6, 1)
                    _log.info("recordings_swept", deleted=swept.deleted, mended=swept.mended, freed_mb=freed_mb)
                self._on_deleted(swept.deleted)
            if self._stopping.wait(SWEEP_EVERY_S):
                return


def _sound(recording: CallRecording, caller: Frames, agent: Frames, channels: int) -> bytes:
    """Both sides as stereo PCM16, little-endian; with one channel the caller's."""
    rate_hz, agent_format = recording.rate_hz, recording.agent_format
    left = decode(_joined(caller, bytes(2 * rate_hz * FRAME_MS // 1000)), "linear16")
    if channels == 1:
        return left.astype("<i2").tobytes()
    right: Pcm = decode(_joined(agent, agent_format.silence(FRAME_MS)), agent_format.encoding)
    if agent_format.sample_rate_hz != rate_hz:
        right = resample(right, agent_format.sample_rate_hz, rate_hz)
    both = np.zeros((left.size, 2), "<i2")
    both[:, 0] = left
    n = min(left.size, right.size)
    both[:n, 1] = right[:n]
    return both.tobytes()


def _joined(frames: Frames, silence: bytes) -> bytes:
    """Each frame as long as `silence`, whatever was sent."""
    size = len(silence)
    return b"".join([silence if f is None else f if len(f) == size else f[:size] + silence[len(f) :] for f in frames])
