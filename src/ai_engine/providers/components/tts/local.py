"""Text-to-speech by local_ai_server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from ai_engine.providers.components.component import ComponentFailed, Output, TextToSpeech
from ai_engine.providers.components.local_exchange import Exchange
from ai_engine.providers.components.local_failover import OverServers
from ai_engine.providers.components.local_settings import NoOptions, shared_socket
from ai_engine.providers.components.local_socket import LocalSocket
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.tts.chain import ChainedTextToSpeech
from ai_engine.providers.services import CallScope
from voice_wire.audio import AudioFormat
from voice_wire.messages import Done, TtsRequest, TtsStart
from voice_wire.wire_model import SampleRateHz


class LocalTextToSpeech:
    def __init__(self, socket: LocalSocket, *, voice: str | None = None) -> None:
        self._socket = socket
        self._voice = voice

    @property
    def voice(self) -> str:
        return self._voice or self._socket.default_voice

    async def start(self) -> None:
        await self._socket.ready()

    async def stop(self) -> None:
        await self._socket.close()

    @asynccontextmanager
    async def speak(self, text: str, *, audio_format: AudioFormat, speculative: bool) -> AsyncIterator[Output[bytes]]:
        exchange = await self._socket.request(
            "tts",
            lambda request_id: TtsRequest(
                request_id=request_id,
                text=text,
                stream=True,
                voice=self._voice,
                encoding=audio_format.encoding,
                sample_rate_hz=cast("SampleRateHz", audio_format.sample_rate_hz),
                speculative=speculative,
            ),
        )
        try:
            yield _Chunks(exchange, audio_format)
        finally:
            exchange.close()


class _Chunks:
    def __init__(self, exchange: Exchange, audio_format: AudioFormat) -> None:
        self._exchange = exchange
        self._format = audio_format

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not isinstance(answer := await self._exchange.receive(), Done):
            if isinstance(answer, TtsStart):
                sent = AudioFormat(answer.encoding, answer.sample_rate_hz)
                if sent != self._format:
                    raise ComponentFailed("tts", f"local_ai_server sends {sent}, asked for was {self._format}")
            elif isinstance(answer, bytes) and answer:
                return answer
        raise StopAsyncIteration

    def adopt(self) -> None:
        self._exchange.adopt()


def local_text_to_speech(scope: CallScope, options: Options) -> TextToSpeech:
    read_options(NoOptions, options, "local text to speech")
    socket = shared_socket(scope)
    tts = LocalTextToSpeech(socket, voice=scope.call.voice)
    servers = socket.servers
    return ChainedTextToSpeech(OverServers("tts", tts, socket, tries=servers)) if servers > 1 else tts
