"""Speech-to-text by a Wyoming server: faster-whisper, Vosk, Speech-to-Phrase and others.

A turn is sent while it is spoken, as 16-bit mono PCM at 16 kHz. A decode ends its audio, and with it what the protocol
calls a transcription: if the caller goes on, the turn is sent again, whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from pydantic import Field

from ai_engine.providers.components.component import ComponentFailed, OnPartial, SttTraits, Transcript
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.wyoming_connection import WyomingConnection, WyomingOptions, connected, silent
from ai_engine.providers.services import CallScope
from voice_wire.audio import PCM_8K, PCM_16K, AudioFormat, StreamingResampler

MAX_UTTERANCE_S: Final = 60
_BATCH_MS: Final = 100
"""Of sound in one event."""
_FORMAT: Final[dict[str, Any]] = {"rate": PCM_16K.sample_rate_hz, "width": 2, "channels": 1}
_TRIES: Final = 2
"""A connection that broke while the caller spoke is made anew once."""


class WyomingSttOptions(WyomingOptions):
    """Where the server is, and which of its models hears."""

    model: str | None = None
    """As the server names it; None: its first."""
    language: str | None = Field(default=None, pattern=r"^[a-z]{2,3}(-[A-Za-z]+)*$")
    """None: the context's."""


class WyomingSpeechToText:
    """One call's."""

    def __init__(self, options: WyomingSttOptions, *, input_format: AudioFormat, language: str | None) -> None:
        self._options = options
        self._language = options.language or language
        self._tasks: set[asyncio.Task[str]] = set()
        self.input_format = input_format
        self.traits = SttTraits(f"wyoming:{options.model or options.url}", needs_gating=True)

    def on_change(self, listener: Callable[[SttTraits], None]) -> None:
        listener(self.traits)  # and it never changes

    async def start(self) -> None:
        """Nothing to connect before the first turn."""

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stream(self, turn: int, on_partial: OnPartial) -> WyomingUtterance:
        return WyomingUtterance(self.input_format, self.traits.backend, self._transcription, on_partial)

    def _transcription(self, on_words: Callable[[str], None]) -> _Transcription:
        asked = {"name": self._options.model, "language": (self._language or "").partition("-")[0]}
        request = {name: value for name, value in asked.items() if value}
        transcription = _Transcription(self._options, request, self.input_format, on_words)
        self._tasks.add(transcription.task)
        transcription.task.add_done_callback(self._tasks.discard)
        return transcription


class _Transcription:
    """One connection that is given a turn's sound from its beginning, and then tells its words."""

    def __init__(
        self,
        options: WyomingSttOptions,
        request: dict[str, Any],
        audio_format: AudioFormat,
        on_words: Callable[[str], None],
    ) -> None:
        self._options = options
        self._request = request
        self._resampler = StreamingResampler(audio_format.sample_rate_hz, PCM_16K.sample_rate_hz)
        self._batch_bytes = audio_format.bytes_for_ms(_BATCH_MS)
        self._on_words = on_words
        self._connection: WyomingConnection | None = None
        self._unsent = bytearray()
        self._ended = False
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(_retrieve)

    def send(self, audio: bytes) -> None:
        self._unsent += audio
        if len(self._unsent) >= self._batch_bytes:
            self._flush()

    async def end(self) -> str:
        """No more sound comes. The words. Raises `ComponentFailed`; cancelling ends the transcription."""
        self._ended = True
        self._flush()
        try:
            async with asyncio.timeout(self._options.timeout_s):
                return await self.task
        except TimeoutError:
            raise silent("stt", self._options) from None
        finally:
            self.close()

    @property
    def over(self) -> bool:
        """It failed while the caller spoke, or the server took a pause for the end."""
        return self.task.done()

    def close(self) -> None:
        self.task.cancel()

    async def _run(self) -> str:
        async with connected("stt", self._options) as connection:
            connection.send("transcribe", self._request)
            connection.send("audio-start", _FORMAT)
            self._connection = connection
            try:
                self._flush()
                return await self._words(connection)
            finally:
                self._connection = None

    async def _words(self, connection: WyomingConnection) -> str:
        so_far = ""
        while True:
            event = await connection.receive()
            if event.kind not in ("transcript", "transcript-chunk"):
                continue
            text = event.data.get("text")
            if not isinstance(text, str):
                message = f"{self._options.url} sent a transcript without text; see its log"
                raise ComponentFailed("stt", message)
            if event.kind == "transcript":
                return text.strip()
            so_far += text
            self._on_words(so_far.strip())

    def _flush(self) -> None:
        if self._connection is None:
            return
        whole = len(self._unsent) // 2 * 2
        pcm = np.frombuffer(bytes(self._unsent[:whole]), "<i2").astype(np.int16)
        del self._unsent[:whole]
        pcm = self._resampler.feed(pcm)
        if self._ended:
            pcm = np.concatenate((pcm, self._resampler.flush()))
        if pcm.size:
            self._connection.send("audio-chunk", _FORMAT, pcm.astype("<i2").tobytes())
        if self._ended:
            self._connection.send("audio-stop")


class WyomingUtterance:
    """The sound of one turn so far."""

    def __init__(
        self,
        audio_format: AudioFormat,
        backend: str,
        transcription: Callable[[Callable[[str], None]], _Transcription],
        on_partial: OnPartial,
    ) -> None:
        self._backend = backend
        self._begin = transcription
        self._on_partial = on_partial
        self._audio = bytearray()
        self._least_bytes = audio_format.bytes_for_ms(_BATCH_MS)
        self._max_bytes = audio_format.bytes_for_ms(MAX_UTTERANCE_S * 1000)
        self._at_work: _Transcription | None = None
        """Takes sound as it comes."""
        self._heard: Transcript | None = None
        """Of all that was sent."""

    def send(self, audio: bytes) -> None:
        audio = audio[: self._max_bytes - len(self._audio)]
        if not audio:
            return
        self._audio += audio
        self._heard = None
        if self._at_work is not None:
            self._at_work.send(audio)
        elif len(self._audio) >= self._least_bytes:
            self._at_work = self._whole()

    async def decode(self, *, speculative: bool) -> Transcript:
        if len(self._audio) < self._least_bytes:
            return Transcript("", self._backend)
        if self._heard is None:
            length = len(self._audio)
            heard = Transcript(await self._words(), self._backend)
            if len(self._audio) != length:
                return heard
            self._heard = heard
        return self._heard

    async def _words(self) -> str:
        for attempt in range(_TRIES):
            begun, self._at_work = self._at_work, None
            if begun is not None and begun.over:
                begun = None
            try:
                return await (begun or self._whole()).end()
            except ComponentFailed as failure:
                if attempt == _TRIES - 1 or begun is None or not failure.retryable:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def adopt(self) -> None:
        """The server knows no speculation."""

    def drop(self) -> None:
        self._audio.clear()
        self._heard = None
        if self._at_work is not None:
            self._at_work.close()
            self._at_work = None

    def _whole(self) -> _Transcription:
        transcription = self._begin(lambda words: self._on_partial(words, self._backend))
        transcription.send(bytes(self._audio))
        return transcription


def _retrieve(task: asyncio.Task[str]) -> None:
    """Its failure is told by whoever waits for the words; if nobody does, it is of no interest."""
    if not task.cancelled():
        task.exception()


def wyoming_speech_to_text(scope: CallScope, options: Options) -> WyomingSpeechToText:
    chosen = read_options(WyomingSttOptions, options, "wyoming speech to text")
    wide = scope.call.output_format.sample_rate_hz >= PCM_16K.sample_rate_hz
    return WyomingSpeechToText(
        chosen, input_format=PCM_16K if wide else PCM_8K, language=scope.call.language
    )  # fmt: skip
