"""How probable it is that a caller speaks: the Silero voice-activity network, once per 32 ms for all calls together.

One inference for all windows that became complete in the same tick, on a thread of its own: a window of a batch of 16
costs a third of one alone. The network is recurrent; the state of each call lies in arrays kept from batch to batch.

A window (256 samples at 8 kHz) is given to the network with the last 32 samples before it, scaled to -1..1, as the
network's authors do (`silero_vad.utils_vad.OnnxWrapper`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
import structlog

from ai_engine.media.pacer import prefer_this_thread

RATE_HZ: Final = 8000
WINDOW_SAMPLES: Final = 256
WINDOW_MS: Final = 32.0
INSTALL_COMMAND: Final = "python -m local_ai_server.embedded install"

_CONTEXT_SAMPLES: Final = 32
_STATE_VALUES: Final = 128
_FRAME_SAMPLES_MAX: Final = 160
_SILENT_POWER: Final = 33.0**2
"""Mean square of -60 dBFS: below it there is line noise, but no telephone speech."""
_SILENT_WINDOWS: Final = 16
"""Half a second of silence has left the network's state at rest; from then on silence is judged without it. Measured on
recorded speech with pauses: onsets come in the same window as with every window judged. (Clearing the state instead
loses quiet onsets.)"""
_SILENT_BELOW: Final = 0.1
_MOST_BEHIND_S: Final = 0.5
"""Should this thread be starved, older sound is left out rather than judged late."""

_log = structlog.get_logger(__name__)
_Floats = npt.NDArray[np.float32]


class SpeechDetectorError(Exception):
    """The network cannot be loaded; the message says what mends it."""


class SpeechStream:
    """One call's sound on its way to the detector. Used on the media loop."""

    __slots__ = ("_detector", "call_key", "closed", "on_probability", "slot")

    def __init__(self, detector: SpeechDetector, call_key: str, on_probability: Callable[[float, float], None]) -> None:
        self._detector = detector
        self.call_key = call_key
        self.on_probability = on_probability
        self.closed = False
        self.slot = -1  # belongs to the detector's thread

    def push(self, pcm: bytes, at: float) -> None:
        """20 ms of PCM16 (8 kHz, 320 bytes) that ended `at`."""
        if not self.closed:
            self._detector.queue(self, pcm, at)

    def close(self) -> None:
        """No probability is delivered after this. Idempotent."""
        if not self.closed:
            self.closed = True
            self._detector.queue(self, None, 0.0)


class SpeechDetector:
    """The network and its thread. `start` it before the first call, `stop` it after the last."""

    def __init__(self, model_path: Path, post: Callable[..., object], *, batch_capacity: int = 32) -> None:
        """`post(function, *args)` runs a function soon on the media loop (`MediaLoop.post`).

        Raises `SpeechDetectorError` when the weights are missing or damaged.
        """
        self._session = _load(model_path)
        self._post = post
        self._inbox: deque[tuple[SpeechStream, bytes | None, float]] = deque()
        self._wake_posted = False
        self._work = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.frames_left_out = 0

        self._rate = np.array(RATE_HZ, np.int64)
        self._free = list(range(batch_capacity))
        self._state = np.zeros((2, batch_capacity, _STATE_VALUES), np.float32)
        self._samples = np.zeros((batch_capacity, _CONTEXT_SAMPLES + WINDOW_SAMPLES + _FRAME_SAMPLES_MAX), np.float32)
        self._filled = [0] * batch_capacity  # samples behind the context
        self._silent_windows = np.zeros(batch_capacity, np.int64)
        self._last = np.zeros(batch_capacity, np.float32)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="speech-detector", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait for the thread to end; what is queued is dropped. Idempotent."""
        self._stopping = True
        self._work.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def open(self, call_key: str, on_probability: Callable[[float, float], None]) -> SpeechStream:
        """`on_probability(probability, at)` is called on the media loop for each window, which ended `at`."""
        return SpeechStream(self, call_key, on_probability)

    def queue(self, stream: SpeechStream, pcm: bytes | None, at: float) -> None:
        """Take a frame (None: the stream is closed). Called by the stream, on the media loop."""
        self._inbox.append((stream, pcm, at))
        if not self._wake_posted:  # once per tick, when all calls have been served
            self._wake_posted = True
            self._post(self._wake)

    def _wake(self) -> None:
        self._wake_posted = False
        self._work.set()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        prefer_this_thread()
        while True:
            self._work.wait()
            self._work.clear()
            if self._stopping:
                return
            inbox = [self._inbox.popleft() for _ in range(len(self._inbox))]
            try:
                self._judge(inbox)
            except Exception:  # noqa: BLE001 - the root of the thread: without it every call would be deaf for good
                _log.exception("speech_detector_failed")
                self._filled = [0] * len(self._filled)

    def _judge(self, inbox: list[tuple[SpeechStream, bytes | None, float]]) -> None:
        too_old = max((at for _, _, at in inbox), default=0.0) - _MOST_BEHIND_S
        complete: list[SpeechStream] = []
        ended_at: list[float] = []
        for stream, pcm, at in inbox:
            if pcm is None:
                if stream in complete:
                    self._infer(complete, ended_at)
                self._release(stream)
                continue
            if at < too_old:
                self.frames_left_out += 1
                continue
            if stream.slot < 0:
                if stream.closed:
                    continue
                self._admit(stream)
            slot = stream.slot
            filled = self._filled[slot]
            if filled >= WINDOW_SAMPLES:  # a second frame of a call whose window waits: judge that first
                self._infer(complete, ended_at)
                filled = self._filled[slot]
            n_samples = len(pcm) // 2
            start = _CONTEXT_SAMPLES + filled
            self._samples[slot, start : start + n_samples] = np.frombuffer(pcm, np.int16)
            self._filled[slot] = filled = filled + n_samples
            if filled >= WINDOW_SAMPLES:
                complete.append(stream)
                ended_at.append(at - (filled - WINDOW_SAMPLES) / RATE_HZ)
        self._infer(complete, ended_at)

    def _infer(self, complete: list[SpeechStream], ended_at: list[float]) -> None:
        """Judge one window of each stream, deliver, and empty both lists."""
        if not complete:
            return
        slots = np.fromiter((stream.slot for stream in complete), np.int64, len(complete))
        windows = self._samples[slots, : _CONTEXT_SAMPLES + WINDOW_SAMPLES]
        sound = windows[:, _CONTEXT_SAMPLES:]
        power = np.einsum("ij,ij->i", sound, sound) / WINDOW_SAMPLES
        silent = np.where(power < _SILENT_POWER, self._silent_windows[slots] + 1, 0)
        self._silent_windows[slots] = silent
        probabilities = np.zeros(len(complete), np.float32)
        unsure = (silent <= _SILENT_WINDOWS) | (self._last[slots] >= _SILENT_BELOW)
        if unsure.any():
            judged = slots[unsure]
            inputs = {"input": windows[unsure] / 32768, "state": self._state[:, judged], "sr": self._rate}
            output, state = self._session.run(None, inputs)
            probabilities[unsure] = output[:, 0]
            self._state[:, judged] = state
        self._last[slots] = probabilities
        # The window's end is the next one's context, with what has already come behind it.
        self._samples[slots, : _CONTEXT_SAMPLES + _FRAME_SAMPLES_MAX] = self._samples[slots, WINDOW_SAMPLES:]
        for slot in slots:
            self._filled[slot] -= WINDOW_SAMPLES
        self._post(_deliver, list(zip(complete, probabilities.tolist(), ended_at, strict=True)))
        complete.clear()
        ended_at.clear()

    def _admit(self, stream: SpeechStream) -> None:
        if not self._free:
            n = len(self._filled)
            self._free = list(range(n, 2 * n))
            self._state = np.concatenate((self._state, np.zeros_like(self._state)), axis=1)
            self._samples = np.concatenate((self._samples, np.zeros_like(self._samples)))
            self._filled += [0] * n
            self._silent_windows = np.concatenate((self._silent_windows, np.zeros_like(self._silent_windows)))
            self._last = np.concatenate((self._last, np.zeros_like(self._last)))
        slot = stream.slot = self._free.pop()
        self._state[:, slot] = 0
        self._samples[slot] = 0
        self._filled[slot] = 0
        self._silent_windows[slot] = 0
        self._last[slot] = 0

    def _release(self, stream: SpeechStream) -> None:
        if stream.slot >= 0:
            self._free.append(stream.slot)
            stream.slot = -1


def _deliver(results: list[tuple[SpeechStream, float, float]]) -> None:
    for stream, probability, at in results:
        if not stream.closed:
            stream.on_probability(probability, at)


def _load(path: Path) -> Any:
    if not path.is_file():
        raise SpeechDetectorError(f"the voice activity model {path} is missing; install it with: {INSTALL_COMMAND}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no other base class
        raise SpeechDetectorError(
            f"the voice activity model {path} cannot be read; install it again with: {INSTALL_COMMAND} ({error})"
        ) from error
    names = sorted(value.name for value in session.get_inputs())
    if names != ["input", "sr", "state"]:
        raise SpeechDetectorError(f"{path} is not Silero VAD 5 or 6: its inputs are {', '.join(names)}")
    return session
