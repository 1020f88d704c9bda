"""One of the caller's turns on its way into the STT: its audio, and what it was decoded to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ai_engine.providers.components.component import Transcript, Utterance

Spawn = Callable[[Coroutine[Any, Any, Transcript]], "asyncio.Task[Transcript]"]


@dataclass(slots=True)
class _Decode:
    task: asyncio.Task[Transcript]
    heard_bytes: int
    """How much audio it covers."""
    waiting: int = 0

    @property
    def failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


class Hearing:
    """Decodes the same audio once, however many revisions ask for it. `spawn` makes tasks that its caller owns."""

    def __init__(self, utterance: Utterance, spawn: Spawn) -> None:
        self._utterance = utterance
        self._spawn = spawn
        self._heard_bytes = 0
        self._decode: _Decode | None = None
        """The latest."""

    def send(self, audio: bytes) -> None:
        self._heard_bytes += len(audio)
        self._utterance.send(audio)

    async def transcript(self, *, speculative: bool) -> Transcript:
        """What all the audio sent so far says. Raises `ComponentFailed`.

        The decode ends when the last one who waits for it is cancelled.
        """
        decode = self._decode
        if decode is None or decode.heard_bytes != self._heard_bytes or decode.failed:
            task = self._spawn(self._utterance.decode(speculative=speculative))
            decode = self._decode = _Decode(task, self._heard_bytes)
        decode.waiting += 1
        try:
            return await asyncio.shield(decode.task)
        finally:
            decode.waiting -= 1
            if not decode.waiting:
                decode.task.cancel()

    @property
    def awaited(self) -> bool:
        """Somebody waits for a transcript."""
        return self._decode is not None and self._decode.waiting > 0

    def adopt(self) -> None:
        """Somebody waits for the decode that is running, if one is."""
        if self._decode is not None and not self._decode.task.done():
            self._utterance.adopt()

    def drop(self) -> None:
        """Forget the audio and end its decoding. Nothing may be called after it."""
        if self._decode is not None:
            self._decode.task.cancel()
        self._utterance.drop()
