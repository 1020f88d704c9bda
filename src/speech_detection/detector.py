"""How probable it is that a caller speaks: the Silero voice-activity network, once per 32 ms for all calls together.

One inference for all windows that became complete in the same tick, on a thread of its own: a window of a batch of 16
costs a third of one alone. The network is recurrent; the state of each call lies in arrays kept from batch to batch.

A window (32 ms: 256 samples at 8 kHz, 512 at 16 kHz) is given to the network with the last 4 ms before it, scaled to
-1..1, as the network's authors do (`silero_vad.utils_vad.OnnxWrapper`). Streams of one rate share a batch.
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

RATES_HZ: Final = (8000, 16000)
"""What the network was trained for."""
WINDOW_MS: Final = 32.0
INSTALL_COMMAND: Final = "python -m local_ai_server.embedded install"

_CONTEXT_MS: Final = 4
_FRAME_MS: Final = 20
_STATE_VALUES: Final = 128
_SILENT_POWER: Final = 33.0**2
"""Mean square of -60 dBFS: below it there is line noise, but no telephone speech."""
_SILENT_WINDOWS: Final = 16
"""Half a second of silence has left the network's state at rest; from then on silence is judged without it. Measured on
recorded speech with pauses: onsets come in the same window as with every window judged. (Clearing the state instead
loses quiet onsets.)"""
_SILENT_BELOW: Final = 0.1
MOST_BEHIND_S: Final = 0.5
"""Of live sound, should the thread be starved."""

_log = structlog.get_logger(__name__)
_Floats = npt.NDArray[np.float32]


class SpeechDetectorError(Exception):
    """The network cannot be loaded; the message says what mends it."""


class SpeechStream:
    """One call's sound on its way to the detector. Used on its owner's loop."""

    __slots__ = ("_detector", "bank", "call_key", "closed", "on_probability", "slot")

    def __init__(
        self, detector: SpeechDetector, bank: _Bank, call_key: str, on_probability: Callable[[float, float], None]
    ) -> None:
        self._detector = detector
        self.bank = bank
        self.call_key = call_key
        self.on_probability = on_probability
        self.closed = False
        self.slot = -1  # belongs to the detector's thread

    def push(self, pcm: bytes, at: float) -> None:
        """20 ms of PCM16 at the stream's rate (8 kHz: 320 bytes) that ended `at`."""
        if not self.closed:
            self._detector.queue(self, pcm, at)

    def close(self) -> None:
        """No probability is delivered after this. Idempotent."""
        if not self.closed:
            self.closed = True
            self._detector.queue(self, None, 0.0)


_Results = list[tuple[SpeechStream, float, float]]
"""Stream, probability, and when its window ended."""


class SpeechDetector:
    """The network and its thread. `start` it before the first call, `stop` it after the last."""

    def __init__(
        self,
        model_path: Path,
        post: Callable[..., object],
        *,
        batch_capacity: int = 32,
        most_behind_s: float = MOST_BEHIND_S,
        prepare_thread: Callable[[], object] = lambda: None,
    ) -> None:
        """`post(function, *args)` runs a function soon on the loop of the streams (`MediaLoop.post`).

        `most_behind_s`: sound that ended so long before other sound that waits is left out rather than judged late;
        infinite where streams have clocks of their own. `prepare_thread` is called first on the detector's thread.

        Raises `SpeechDetectorError` when the weights are missing or damaged.
        """
        session = _load(model_path)
        self._post = post
        self._most_behind_s = most_behind_s
        self._prepare_thread = prepare_thread
        self._inbox: deque[tuple[SpeechStream, bytes | None, float]] = deque()
        self._wake_posted = False
        self._work = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._banks = {rate_hz: _Bank(session, rate_hz, batch_capacity, self._deliver) for rate_hz in RATES_HZ}
        self.frames_left_out = 0

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

    def open(
        self, call_key: str, on_probability: Callable[[float, float], None], *, rate_hz: int = 8000
    ) -> SpeechStream:
        """`on_probability(probability, at)` is called on its owner's loop for each window, which ended `at`.

        Raises `ValueError` for a rate that is not among `RATES_HZ`.
        """
        if rate_hz not in self._banks:
            raise ValueError(f"voice activity works at {' and '.join(map(str, RATES_HZ))} Hz, not at {rate_hz}")
        return SpeechStream(self, self._banks[rate_hz], call_key, on_probability)

    def queue(self, stream: SpeechStream, pcm: bytes | None, at: float) -> None:
        """Take a frame (None: the stream is closed). Called by the stream, on its owner's loop."""
        self._inbox.append((stream, pcm, at))
        if not self._wake_posted:  # once per tick, when all calls have been served
            self._wake_posted = True
            self._post(self._wake)

    def _wake(self) -> None:
        self._wake_posted = False
        self._work.set()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._prepare_thread()
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
                for bank in self._banks.values():
                    bank.start_afresh()

    def _judge(self, inbox: list[tuple[SpeechStream, bytes | None, float]]) -> None:
        too_old = max((at for _, _, at in inbox), default=0.0) - self._most_behind_s
        for stream, pcm, at in inbox:
            if pcm is None:
                stream.bank.release(stream)
            elif at < too_old:
                self.frames_left_out += 1
            else:
                stream.bank.take(stream, pcm, at)
        for bank in self._banks.values():
            bank.infer()

    def _deliver(self, results: _Results) -> None:
        self._post(_deliver, results)


class _Bank:
    """All streams of one rate: their sound up to the next whole window, and the network's state for each.

    Belongs to the detector's thread. Arrays have a row (the slot) for each stream and grow with their number.
    """

    def __init__(
        self,
        session: Any,
        rate_hz: int,
        capacity: int,
        deliver: Callable[[_Results], None],
    ) -> None:
        self._session = session
        self._deliver = deliver
        self._rate_hz = rate_hz
        self._rate = np.array(rate_hz, np.int64)
        self._window = int(rate_hz * WINDOW_MS) // 1000
        self._context = rate_hz * _CONTEXT_MS // 1000
        frame = rate_hz * _FRAME_MS // 1000
        self._kept = self._context + frame  # of a window judged: what the next one begins with
        self._complete: list[SpeechStream] = []
        self._ended_at: list[float] = []
        self._free = list(range(capacity))
        self._state = np.zeros((2, capacity, _STATE_VALUES), np.float32)
        self._samples = np.zeros((capacity, self._context + self._window + frame), np.float32)
        self._filled = [0] * capacity  # samples behind the context
        self._silent_windows = np.zeros(capacity, np.int64)
        self._last = np.zeros(capacity, np.float32)

    def take(self, stream: SpeechStream, pcm: bytes, at: float) -> None:
        """A stream's next frame, which ended `at`."""
        if stream.slot < 0:
            if stream.closed:
                return
            self._admit(stream)
        slot = stream.slot
        filled = self._filled[slot]
        if filled >= self._window:  # a second frame of a call whose window waits: judge that first
            self.infer()
            filled = self._filled[slot]
        n_samples = len(pcm) // 2
        start = self._context + filled
        self._samples[slot, start : start + n_samples] = np.frombuffer(pcm, np.int16)
        self._filled[slot] = filled = filled + n_samples
        if filled >= self._window:
            self._complete.append(stream)
            self._ended_at.append(at - (filled - self._window) / self._rate_hz)

    def infer(self) -> None:
        """Judge the windows that are complete, all at once, and deliver."""
        complete = self._complete
        if not complete:
            return
        slots = np.fromiter((stream.slot for stream in complete), np.int64, len(complete))
        windows = self._samples[slots, : self._context + self._window]
        sound = windows[:, self._context :]
        power = np.einsum("ij,ij->i", sound, sound) / self._window
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
        self._samples[slots, : self._kept] = self._samples[slots, self._window :]
        for slot in slots:
            self._filled[slot] -= self._window
        self._deliver(list(zip(complete, probabilities.tolist(), self._ended_at, strict=True)))
        complete.clear()
        self._ended_at.clear()

    def release(self, stream: SpeechStream) -> None:
        """The stream was closed; its slot is another's."""
        if stream in self._complete:
            self.infer()
        if stream.slot >= 0:
            self._free.append(stream.slot)
            stream.slot = -1

    def start_afresh(self) -> None:
        """Something failed: what is half there cannot be trusted."""
        self._complete.clear()
        self._ended_at.clear()
        self._filled = [0] * len(self._filled)

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


def _deliver(results: _Results) -> None:
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
