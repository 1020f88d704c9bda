"""One utterance as it arrives, and the decoding of what has arrived so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from local_ai_server.errors import ServeError
from local_ai_server.service import Place, Service
from model_worker.spec import Priority
from voice_wire.audio import AudioFormat

ATTEMPTS: Final = 3
"""For one decode: its worker may die, and the next one too."""


class Transcription(NamedTuple):
    """A model's answer, and the engine that gave it."""

    result: dict[str, Any]
    backend: str


class AudioBudget:
    """How much audio one session's utterances may hold together."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    def take(self, n_bytes: int) -> int:
        """As many of `n_bytes` as there is room for."""
        taken = max(0, min(n_bytes, self._left))
        self._left -= taken
        return taken

    def give_back(self, n_bytes: int) -> None:
        self._left += n_bytes


@dataclass(eq=False, slots=True)
class _Decode:
    n_bytes: int
    place: Place
    task: asyncio.Task[Transcription]
    waiters: int = 0


class SpeechStream:
    """Owns the audio and at most one decode per length of it: who asks twice about the same audio gets one answer."""

    def __init__(
        self,
        stream_id: int,
        audio_format: AudioFormat,
        *,
        max_bytes: int,
        budget: AudioBudget,
        find_service: Callable[[], Service],
        language: str | None = None,
    ) -> None:
        """`find_service` gives what serves now, or raises `ServeError`."""
        self.stream_id = stream_id
        self.format = audio_format
        self.language = language
        self.next_sequence = 0
        self.full = False
        """Audio beyond a limit was left out."""
        self.out_of_step = False
        self._max_bytes = max_bytes
        self._budget = budget
        self._find_service = find_service
        self._audio = bytearray()
        self._latest: _Decode | None = None

    def append(self, audio: bytes) -> bool:
        """True when this is the first audio that is left out."""
        taken = self._budget.take(min(len(audio), self._max_bytes - len(self._audio)))
        self._audio += audio[:taken]
        if len(audio) > taken and not self.full:
            self.full = True
            return True
        return False

    async def decode(self, place: Place, *, final: bool) -> Transcription:
        """What all audio so far says; `final`: no more follows. Raises `ServeError`.

        Joins a decode of the same audio that is at work or done; the more urgent place counts. A decode ends when
        nobody waits for it any more.
        """
        latest = self._latest
        if latest is None or latest.n_bytes != len(self._audio) or _failed(latest.task):
            task = asyncio.create_task(self._hear(place, final=final), name="decode")
            latest = self._latest = _Decode(len(self._audio), place, task)
        elif place.priority < Priority.SPECULATIVE:
            latest.place.promote()
        if place is not latest.place:
            place.on_promote = latest.place.promote
        latest.waiters += 1
        try:
            return await asyncio.shield(latest.task)
        finally:
            latest.waiters -= 1
            if not latest.waiters and not latest.task.done():
                latest.task.cancel()
                if self._latest is latest:
                    self._latest = None
                await asyncio.wait((latest.task,))

    def end(self) -> None:
        """No audio follows."""

    def release(self) -> None:
        """Nobody asks for it any more: the audio is forgotten. Idempotent."""
        self._budget.give_back(len(self._audio))
        self._audio.clear()
        self._max_bytes = 0

    async def _hear(self, place: Place, *, final: bool) -> Transcription:
        """The audio as one piece, decoded anew if the worker died over it."""
        audio = bytes(self._audio)
        args = self._format_args()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._find_service().call("transcribe", args, audio, place=place) as answers:
                    result, _ = await answers.finish()
                    return Transcription(result, answers.service.backend.name)
            except ServeError as error:
                if error.code != "worker_failed" or attempt == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _format_args(self) -> dict[str, Any]:
        return {
            "encoding": self.format.encoding,
            "sample_rate_hz": self.format.sample_rate_hz,
            "language": self.language,
        }


def _failed(task: asyncio.Task[Transcription]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
