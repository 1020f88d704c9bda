"""How probable it is that somebody speaks, window by window: the voice-activity network, or the level alone.

Streams here are judged by their own length and not by a clock on the wall: a client may send a minute at once.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import structlog

from local_ai_server.catalog import ModelMissing, find_model
from voice_wire.audio import Pcm

if TYPE_CHECKING:
    from speech_detection.detector import SpeechDetector

log = structlog.get_logger(__name__)

WINDOW_MS: Final = 32.0
_FRAME_MS: Final = 20
_DEADLINE_S: Final = 5.0
"""For the network to judge a second of sound, which takes it a hundredth of that."""

_OVER_FLOOR_DB: Final = 10.0
_LOWEST_SPEECH_DBFS: Final = -48.0
_FLOOR_RISES_DB_A_SECOND: Final = 3.0
_VOICED: Final = 0.9
_QUIET: Final = 0.05


def rate_to_judge(rate_hz: int) -> int:
    """8000 for a telephone's sound, 16000 for any wider one."""
    return 8000 if rate_hz == 8000 else 16000


class SpeechJudge(Protocol):
    """One stream's. Windows are `WINDOW_MS` long and follow one another without a gap."""

    async def judge(self, pcm: Pcm) -> list[float]:
        """The probabilities of the windows that `pcm`, at most some seconds, completes."""
        ...

    def close(self) -> None:
        """Gives the stream's place back. Idempotent."""
        ...


class LevelJudge:
    """Speech is what is 10 dB above the quietest that was heard. Where the network is not installed."""

    def __init__(self, rate_hz: int) -> None:
        self._window = int(rate_hz * WINDOW_MS) // 1000
        self._rest = np.zeros(0, np.int16)
        self._floor_dbfs = -60.0

    async def judge(self, pcm: Pcm) -> list[float]:
        samples = np.concatenate((self._rest, pcm))
        n = samples.size // self._window
        self._rest = samples[n * self._window :].copy()
        windows = samples[: n * self._window].reshape(n, self._window).astype(np.float32)
        powers = np.einsum("ij,ij->i", windows, windows) / (self._window * 32768.0**2)
        return [self._probability(level) for level in (10 * np.log10(np.maximum(powers, 1e-10))).tolist()]

    def close(self) -> None: ...

    def _probability(self, level_dbfs: float) -> float:
        voiced = level_dbfs > max(self._floor_dbfs + _OVER_FLOOR_DB, _LOWEST_SPEECH_DBFS)
        rise_db = _FLOOR_RISES_DB_A_SECOND * WINDOW_MS / 1000  # slow, so that speech does not pass for noise
        self._floor_dbfs = min(max(level_dbfs, -70.0), self._floor_dbfs + rise_db)
        return _VOICED if voiced else _QUIET


class NetworkJudge:
    """One stream of the network, which judges the windows of all sessions together."""

    def __init__(self, detector: SpeechDetector, rate_hz: int, *, deadline_s: float = _DEADLINE_S) -> None:
        self._detector = detector
        self._rate_hz = rate_hz
        self._deadline_s = deadline_s
        self._frame = rate_hz * _FRAME_MS // 1000
        self._window = int(rate_hz * WINDOW_MS) // 1000
        self._rest = np.zeros(0, np.int16)
        self._n_sent = self._n_judged = 0
        self._found: list[float] = []
        self._news = asyncio.Event()
        self._stream = detector.open("", self._take, rate_hz=rate_hz)

    async def judge(self, pcm: Pcm) -> list[float]:
        samples = np.concatenate((self._rest, pcm))
        n = samples.size // self._frame * self._frame
        self._rest = samples[n:].copy()
        for at in range(0, n, self._frame):
            self._n_sent += self._frame
            self._stream.push(samples[at : at + self._frame].tobytes(), self._n_sent / self._rate_hz)
        due = self._n_sent // self._window - self._n_judged
        try:
            async with asyncio.timeout(self._deadline_s):
                while len(self._found) < due:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            log.warning("speech_not_judged", windows=due - len(self._found))
            found = self._found + [0.0] * (due - len(self._found))
            self._begin_anew()
            return found
        found, self._found = self._found[:due], self._found[due:]
        self._n_judged += due
        return found

    def close(self) -> None:
        self._stream.close()

    def _begin_anew(self) -> None:
        """What comes late belongs to the old stream."""
        self._stream.close()
        self._n_sent = self._n_judged = 0
        self._found = []
        self._stream = self._detector.open("", self._take, rate_hz=self._rate_hz)

    def _take(self, probability: float, _at: float) -> None:
        self._found.append(probability)
        self._news.set()


class _NoNetwork(Exception):
    """The message says what mends it."""


class SpeechJudges:
    """Owns the network and its thread, which begin with the first stream."""

    def __init__(self, model: Path | None = None) -> None:
        """`model`: the weights; the installed ones where it is left out."""
        self._model = model
        self._detector: SpeechDetector | None = None
        self._loading = asyncio.Lock()
        self._missing = False

    async def open(self, rate_hz: int) -> SpeechJudge:
        """A stream at 8000 or 16000 Hz, judged by the network or, where it is not installed, by its level."""
        return await self.network(rate_hz) or LevelJudge(rate_hz)

    async def network(self, rate_hz: int) -> SpeechJudge | None:
        """A stream at 8000 or 16000 Hz; None where the network is not installed."""
        async with self._loading:
            if self._detector is None and not self._missing:
                self._detector = await self._load()
                self._missing = self._detector is None
        return None if self._detector is None else NetworkJudge(self._detector, rate_hz)

    def close(self) -> None:
        """Ends the thread, when all streams are closed. Idempotent."""
        if self._detector is not None:
            self._detector.stop()
            self._detector = None

    async def _load(self) -> SpeechDetector | None:
        loop = asyncio.get_running_loop()

        def load() -> SpeechDetector:
            from speech_detection.detector import SpeechDetector, SpeechDetectorError  # noqa: PLC0415 - takes 0.25 s

            try:
                path = self._model or find_model("silero_vad")
                return SpeechDetector(path, loop.call_soon_threadsafe, most_behind_s=math.inf)
            except (ModelMissing, SpeechDetectorError) as error:
                raise _NoNetwork(str(error)) from None

        try:
            detector = await asyncio.to_thread(load)
        except (_NoNetwork, ImportError) as error:
            log.warning("speech_judged_by_level", reason=str(error))
            return None
        detector.start()
        return detector
