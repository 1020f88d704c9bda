"""Speech-to-text by local_ai_server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from ai_engine.providers.components.component import (
    ComponentFailed,
    OnPartial,
    SpeechToText,
    SttTraits,
    Transcript,
)
from ai_engine.providers.components.local_exchange import Exchange
from ai_engine.providers.components.local_failover import OverServers
from ai_engine.providers.components.local_settings import NoOptions, shared_socket
from ai_engine.providers.components.local_socket import LocalSocket
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.stt.chain import ChainedSpeechToText
from ai_engine.providers.services import CallScope
from voice_wire.audio import PCM_8K, PCM_16K, AudioFormat
from voice_wire.messages import Done, SttDrop, SttFinalize, SttResult, SttStart
from voice_wire.wire_model import SampleRateHz

BATCH_MS: Final = 100
"""Audio is sent in pieces of this length: five times fewer messages than frames, and no later at a decode."""
MAX_UTTERANCE_S: Final = 60
_PIECE_MS: Final = 2000
"""Longest binary message, when a new connection is told a whole utterance again."""


class LocalSpeechToText:
    def __init__(self, socket: LocalSocket, *, input_format: AudioFormat, language: str | None = None) -> None:
        self._socket = socket
        self._language = language
        self.input_format = input_format

    @property
    def traits(self) -> SttTraits:
        return self._socket.traits

    def on_change(self, listener: Callable[[SttTraits], None]) -> None:
        self._socket.on_change(listener)

    async def start(self) -> None:
        await self._socket.ready()

    async def stop(self) -> None:
        await self._socket.close()

    def stream(self, turn: int, on_partial: OnPartial) -> LocalUtterance:
        return LocalUtterance(self._socket, self.input_format, self._language, on_partial)


class LocalUtterance:
    """One stream of the protocol, opened again with all its audio when the connection was lost meanwhile."""

    def __init__(
        self, socket: LocalSocket, audio_format: AudioFormat, language: str | None, on_partial: OnPartial
    ) -> None:
        self._socket = socket
        self._format = audio_format
        self._language = language
        self._on_partial = on_partial
        self._audio = bytearray()
        self._max_bytes = audio_format.bytes_for_ms(MAX_UTTERANCE_S * 1000)
        self._batch_bytes = audio_format.bytes_for_ms(BATCH_MS)
        self._sent_bytes = 0
        self._stream_id = 0
        self._sequence = 0
        self._connection = 0
        self._decoding: Exchange | None = None
        self._adopted = False

    def send(self, audio: bytes) -> None:
        self._audio += audio[: self._max_bytes - len(self._audio)]
        if len(self._audio) - self._sent_bytes >= self._batch_bytes:
            self._flush()

    async def decode(self, *, speculative: bool) -> Transcript:
        await self._socket.ready()
        self._flush()
        exchange = await self._socket.request(
            "stt",
            lambda request_id: SttFinalize(request_id=request_id, stream_id=self._stream_id, speculative=speculative),
        )
        self._decoding = exchange
        try:
            if self._adopted:
                exchange.adopt()
            while True:
                answer = await exchange.receive()
                if isinstance(answer, SttResult) and not answer.is_partial:
                    exchange.release()
                    return _transcript(answer)
                if isinstance(answer, Done):
                    raise ComponentFailed("stt", "local_ai_server ended a decode without a result", retryable=True)
        finally:
            exchange.close()
            if self._decoding is exchange:
                self._decoding, self._adopted = None, False
            if not speculative:
                self._connection = 0  # the server has closed the stream
                self._socket.forget_stream(self._stream_id)

    def adopt(self) -> None:
        self._adopted = True  # the request may not be out yet
        if self._decoding is not None:
            self._decoding.adopt()

    def drop(self) -> None:
        self._audio.clear()
        if self._connection and self._connection == self._socket.connections:
            self._socket.send(SttDrop(stream_id=self._stream_id))
        self._connection = 0
        self._socket.forget_stream(self._stream_id)

    def _flush(self) -> None:
        """Send what was not sent. Without a connection it waits here for the next decode."""
        if not self._socket.up:
            return
        if self._connection != self._socket.connections:
            self._connection = self._socket.connections
            self._socket.forget_stream(self._stream_id)
            self._stream_id = self._socket.new_stream(self._on_partial)
            self._sequence = self._sent_bytes = 0
            self._socket.send(
                SttStart(
                    stream_id=self._stream_id,
                    encoding=self._format.encoding,
                    sample_rate_hz=cast("SampleRateHz", self._format.sample_rate_hz),
                    language=self._language,
                    partials=True,  # the server sends them where its backend streams
                )
            )
        piece_bytes = self._format.bytes_for_ms(_PIECE_MS)
        while self._sent_bytes < len(self._audio):
            piece = bytes(self._audio[self._sent_bytes : self._sent_bytes + piece_bytes])
            self._socket.send_audio(self._stream_id, self._sequence, piece)
            self._sequence += 1
            self._sent_bytes += len(piece)


def _transcript(result: SttResult) -> Transcript:
    if result.error is not None:
        message = "no speech recognition is loaded in local_ai_server; see its /readyz for the reason"
        raise ComponentFailed("stt", message, retryable=True)
    return Transcript(result.text.strip(), result.stt_backend, result.confidence)


def local_speech_to_text(scope: CallScope, options: Options) -> SpeechToText:
    """Takes PCM at the rate of the call's transport, 8 or 16 kHz; the server resamples whole utterances."""
    read_options(NoOptions, options, "local speech to text")
    wide = scope.call.output_format.sample_rate_hz >= PCM_16K.sample_rate_hz
    socket = shared_socket(scope)
    stt = LocalSpeechToText(socket, input_format=PCM_16K if wide else PCM_8K, language=scope.call.language)
    servers = socket.servers
    return ChainedSpeechToText(OverServers("stt", stt, socket, tries=servers)) if servers > 1 else stt
