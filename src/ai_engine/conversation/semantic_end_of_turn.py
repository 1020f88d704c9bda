"""A model's opinion on whether the caller has finished, by his voice: smart-turn v3, in a process of its own.

Asked at the short pause at which an answer is begun, with the last 8 s of what the caller said; it moves the wait by
`semantic_span_ms` at the most, and only in that same pause. Nothing waits for it: an opinion that comes late, or not at
all because the process died, leaves the wait as it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnxruntime
import structlog

from ai_engine.conversation.decisions import Adopt, Decision, Discard, SendAudio, Speculate
from ai_engine.conversation.log_mel import RATE_HZ, log_mel
from model_worker.errors import WorkerError, WorkerUnavailable
from model_worker.link import WorkerLink
from model_worker.model import Answer, Cancelled
from model_worker.spec import Priority, WorkerSpec, WorkerStats
from voice_wire.resample import resample

MODEL_NAME: Final = "smart-turn-v3"
MODEL_FILE: Final = Path("turn") / "smart-turn-v3.onnx"
"""Below the models folder."""
INSTALL_COMMAND: Final = f"python -m local_ai_server.embedded install {MODEL_NAME}"

_HEARD_S: Final = 8
"""What the model looks at; shorter sound is led in by silence."""
_BYTES_PER_SAMPLE: Final = 2
_FULL_SCALE: Final = 32768.0
_UNDECIDED: Final = 0.8
"""What the model says on average of telephone speech, finished or cut: 0.84 of 16 whole sentences, 0.71 of 64 cut ones
(Piper through mu-law). Taken for its 0.5, so that it says nothing where it knows nothing."""
_MOST_AT_ONCE: Final = 4
"""With more questions than this before it, an answer comes after the wait; so it is not asked."""

log = structlog.get_logger(__name__)


class SemanticModelUnavailable(RuntimeError):
    """The model cannot be had; the message says what mends it."""


class TurnEnding(Protocol):
    """What tells how probable it is that a turn is over."""

    async def probability(self, pcm: bytes, rate_hz: int) -> float | None:
        """Of PCM16 up to the pause; None when it would come too late. Raises `model_worker.errors.WorkerError`."""


class SmartTurnModel:
    """The child's side (`model_worker.model`)."""

    def load(self, *, path: str, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def judge(self, body: bytes, cancelled: Cancelled, *, rate_hz: int) -> Answer:
        """`body`: PCM16 up to the pause → {"probability"}, 0 to 1."""
        pcm = np.frombuffer(body, np.int16)
        if rate_hz != RATE_HZ:
            pcm = resample(pcm, rate_hz, RATE_HZ)
        samples = np.zeros(_HEARD_S * RATE_HZ, np.float32)
        heard = pcm[-samples.size :]
        if heard.size:
            samples[-heard.size :] = heard / _FULL_SCALE
        features = log_mel(samples)
        if cancelled.is_set():
            return {"probability": None}, b""
        (probability,) = self._session.run(None, {"input_features": features[None]})
        return {"probability": float(probability[0, 0])}, b""


class SmartTurnWorker:
    """The engine's side, one for all calls. `start` before the first question; `stop` ends the process."""

    def __init__(self, models_folder: Path, *, deadline_s: float = 0.4) -> None:
        """`deadline_s`: an opinion later than this is none."""
        self._path = models_folder / MODEL_FILE
        self._deadline_s = deadline_s
        self._link = WorkerLink(
            WorkerSpec(
                model=f"{SmartTurnModel.__module__}:{SmartTurnModel.__name__}",
                settings={"path": str(self._path)},
                canary=("judge", {"rate_hz": RATE_HZ}),
                ready_wait_s=0.05,
            )
        )

    async def start(self) -> None:
        """Raises `SemanticModelUnavailable` with the reason and what to do."""
        if not self._path.is_file():
            raise SemanticModelUnavailable(
                f"end_of_turn.model is {MODEL_NAME}, and {self._path} is missing; install it with: {INSTALL_COMMAND}"
            )
        try:
            await self._link.start()
        except WorkerUnavailable as error:
            raise SemanticModelUnavailable(f"{error}; install it again with: {INSTALL_COMMAND}") from error

    async def stop(self) -> None:
        await self._link.stop(drain_s=0.5)

    def stats(self) -> WorkerStats:
        """The worker at this moment, for health and metrics."""
        return self._link.stats()

    async def probability(self, pcm: bytes, rate_hz: int) -> float | None:
        """See `TurnEnding`."""
        if self._link.calls_in_flight >= _MOST_AT_ONCE:
            return None
        header, _ = await self._link.request(
            "judge", {"rate_hz": rate_hz}, pcm, priority=Priority.LIVE, deadline_s=self._deadline_s
        )
        rating: float | None = header["probability"]
        return None if rating is None else calibrated(rating)


def calibrated(rating: float) -> float:
    """The model's rating with its undecided value at 0.5; 0 and 1 stay."""
    if rating < _UNDECIDED:
        return 0.5 * rating / _UNDECIDED
    return 0.5 + 0.5 * (rating - _UNDECIDED) / (1 - _UNDECIDED)


class SemanticEndOfTurn:
    """One call's questions to the model: told what is decided, it asks at each guess at the turn's end."""

    def __init__(self, model: TurnEnding, tell: Callable[[int, int, float], object], *, rate_hz: int = 8000) -> None:
        """`tell(turn, revision, probability)` is called on the event loop for each opinion that came in time."""
        self._model = model
        self._tell = tell
        self._rate_hz = rate_hz
        self._turn = 0
        self._heard: deque[bytes] = deque()
        self._heard_bytes = 0
        self._asking: asyncio.Task[None] | None = None
        self._revision = 0
        self._complained = False

    def note(self, decision: Decision) -> None:
        """The conversation's next decision, as it is carried out."""
        match decision:
            case SendAudio(turn, audio):
                self._hear(turn, audio)
            case Speculate(turn, revision):
                self._ask_about(turn, revision)
            case Adopt(turn, revision) | Discard(turn, revision):
                if (turn, revision) == (self._turn, self._revision):
                    self._cancel()  # the opinion is of no use any more

    async def close(self) -> None:
        """The call is over."""
        asking = self._asking
        self._cancel()
        if asking is not None:
            await asyncio.wait((asking,))

    def _hear(self, turn: int, pcm: bytes) -> None:
        if turn != self._turn:
            self._turn = turn
            self._heard.clear()
            self._heard_bytes = 0
        self._heard.append(pcm)
        self._heard_bytes += len(pcm)
        most = _HEARD_S * self._rate_hz * _BYTES_PER_SAMPLE
        while self._heard_bytes - len(self._heard[0]) >= most:
            self._heard_bytes -= len(self._heard.popleft())

    def _ask_about(self, turn: int, revision: int) -> None:
        """A guess at the end of `turn` begins."""
        if turn != self._turn or not self._heard:
            return  # it did not come as sound
        self._cancel()
        self._revision = revision
        pcm = b"".join(self._heard)
        self._asking = asyncio.create_task(self._ask(turn, revision, pcm), name="semantic-end-of-turn")

    def _cancel(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    async def _ask(self, turn: int, revision: int, pcm: bytes) -> None:
        try:
            probability = await self._model.probability(pcm, self._rate_hz)
        except WorkerError as error:  # late or dead: the wait stays as it is
            if not self._complained:
                self._complained = True
                log.warning("semantic_end_of_turn_failed", error=str(error))
            return
        if probability is not None:
            self._complained = False
            log.debug("semantic_end_of_turn", turn=turn, revision=revision, probability=round(probability, 2))
            self._tell(turn, revision, probability)
