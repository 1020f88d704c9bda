"""An utterance that a streaming engine hears as it arrives.

The audio is kept all the same: when the worker that has heard it so far dies, or is stopped before the utterance ends,
another hears all of it again.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from local_ai_server.errors import ServeError
from local_ai_server.service import Place, Service
from local_ai_server.speech_stream import ATTEMPTS, AudioBudget, SpeechStream, Transcription
from model_worker.errors import CallFailed
from model_worker.spec import Priority
from voice_wire.audio import AudioFormat

BATCH_MS: Final = 80
"""Audio is handed to the worker in pieces of at least this length: a call costs a fraction of a millisecond."""
_MOST_AT_ONCE_MS: Final = 2000
_DROP_S: Final = 2.0

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
OnText = Callable[[str, str], None]
"""(what is heard so far, the engine)."""

_keys = itertools.count(1)


def streams(service: Service) -> bool:
    """The speech-to-text takes audio as it comes: as its model does, else as its engine does."""
    return bool(service.traits.get("streams", service.backend.streams))


class LiveSpeech(SpeechStream):
    """Bound to the service that it began on, which may be draining by then. One call is in flight at a time."""

    def __init__(
        self,
        stream_id: int,
        audio_format: AudioFormat,
        *,
        service: Service,
        max_bytes: int,
        budget: AudioBudget,
        find_service: Callable[[], Service],
        spawn: Spawn,
        on_text: OnText | None = None,
        language: str | None = None,
    ) -> None:
        """`spawn` owns tasks; `on_text` is told when the text has changed, until `end`."""
        super().__init__(
            stream_id,
            audio_format,
            max_bytes=max_bytes,
            budget=budget,
            find_service=find_service,
            language=language,
        )
        self._service = service
        self._spawn = spawn
        self._on_text = on_text
        self._batch_bytes = audio_format.bytes_for_ms(BATCH_MS)
        self._most_bytes = audio_format.bytes_for_ms(_MOST_AT_ONCE_MS)
        self._key = f"utterance-{next(_keys)}"
        """Names the stream to the worker; another one after each new beginning."""
        self._taken = 0
        """Bytes that the worker is known to have."""
        self._is_open = False
        """The worker may have it."""
        self._text = ""
        self._one_at_a_time = asyncio.Lock()
        self._feeding: asyncio.Task[None] | None = None
        self._feed_place = Place(Priority.LIVE)
        self._restarts = 0
        self._ended = False

    def append(self, audio: bytes) -> bool:
        left_out = super().append(audio)
        if self._feeding is None and self._feeds and len(self._audio) - self._taken >= self._batch_bytes:
            self._feeding = self._spawn(self._feed())
        return left_out

    def end(self) -> None:
        self._ended = True

    def release(self) -> None:
        self._ended = True
        if self._feeding is not None:
            self._feeding.cancel()
        super().release()
        self._leave()

    @property
    def _feeds(self) -> bool:
        return not self._ended and self._restarts < ATTEMPTS and streams(self._service)

    async def _feed(self) -> None:
        """Hands over what has come, piece by piece, until less than a batch is left."""
        try:
            while self._feeds and len(self._audio) - self._taken >= self._batch_bytes:
                async with self._one_at_a_time:
                    await self._feed_piece()
        except ServeError:
            pass  # a full queue, or nothing serves: more audio tries again, and the end brings what is missing
        finally:
            self._feeding = None

    async def _feed_piece(self) -> None:
        n_bytes = min(len(self._audio) - self._taken, self._most_bytes)
        n_bytes -= n_bytes % self.format.bytes_per_sample
        body = bytes(self._audio[self._taken : self._taken + n_bytes])
        self._feed_place = Place(Priority.LIVE)
        try:
            result, backend = await self._call("feed", body, self._feed_place)
        except ServeError as error:
            if not _is_lost(error):
                raise
            self._begin_anew()
            return
        text = result["text"]
        if text and text != self._text and not self._ended and self._on_text is not None:
            self._on_text(text, backend)
        self._text = text

    async def _hear(self, place: Place, *, final: bool) -> Transcription:
        """All of it, by the worker that has heard the most; by another from the beginning, if that one is gone."""
        self._feed_place.promote()  # who waits for us waits for the piece that is under way
        async with self._one_at_a_time:
            for attempt in range(1, ATTEMPTS + 1):
                if not streams(self._service):
                    break
                try:
                    heard = await self._call("finish", bytes(self._audio[self._taken :]), place, keep=not final)
                except ServeError as error:
                    if not _is_lost(error) or attempt == ATTEMPTS:
                        raise
                    self._begin_anew()
                else:
                    self._text = heard.result["text"]  # told with the result
                    return heard
        return await super()._hear(place, final=final)

    async def _call(self, method: str, body: bytes, place: Place, **more: Any) -> Transcription:
        args = {**self._format_args(), "stream": self._key, "position": self._taken, **more}
        service, key = self._service, self._key
        self._is_open = True
        async with service.call(method, args, body, place=place) as answers:
            result, _ = await answers.finish()
        if method == "finish" and not more["keep"] and key == self._key:
            self._is_open = False
        self._taken = result["position"]
        return Transcription(result, service.backend.name)

    def _begin_anew(self) -> None:
        """What has heard it so far is gone. Raises `ServeError` where nothing serves."""
        self._leave()
        self._restarts += 1
        self._key = f"utterance-{next(_keys)}"
        self._taken = 0
        self._service = self._find_service()

    def _leave(self) -> None:
        """The worker forgets the stream."""
        if self._is_open:
            self._is_open = False
            self._spawn(_drop(self._service, self._key))


async def _drop(service: Service, key: str) -> None:
    with suppress(ServeError, TimeoutError):
        async with asyncio.timeout(_DROP_S):
            async with service.call("drop", {"stream": key}, place=Place(Priority.LIVE)) as answers:
                await answers.finish()


def _is_lost(error: ServeError) -> bool:
    """The worker is gone, or does not know the stream (any more)."""
    cause = error.__cause__
    return error.code in ("worker_failed", "stt_unavailable") or (
        isinstance(cause, CallFailed) and cause.kind == "StreamLost"
    )
