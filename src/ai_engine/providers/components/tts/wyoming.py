"""Text-to-speech by a Wyoming server: Piper and others. Each phrase has a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np

from ai_engine.providers.components.component import ComponentFailed, Output
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.wyoming_connection import WyomingOptions, connected
from ai_engine.providers.components.wyoming_events import Event
from ai_engine.providers.services import CallScope
from voice_wire.audio import SAMPLE_RATES_HZ, AudioFormat, StreamingResampler, encode


class WyomingTtsOptions(WyomingOptions):
    """Where the server is, and who speaks."""

    voice: str | None = None
    """Of contexts that name none; None: the server's for the context's language."""
    speaker: str | None = None
    """Of voices that have several."""


class WyomingTextToSpeech:
    """One call's."""

    def __init__(self, options: WyomingTtsOptions, *, voice: str | None, language: str) -> None:
        self._options = options
        self._voice = voice or options.voice
        self._language = language

    @property
    def voice(self) -> str:
        return f"{self._options.url} {self._voice or self._language} {self._options.speaker or ''}".rstrip()

    async def start(self) -> None:
        """Nothing to connect before the first phrase."""

    async def stop(self) -> None:
        """Nothing to close: each phrase has closed its own connection."""

    @asynccontextmanager
    async def speak(self, text: str, *, audio_format: AudioFormat, speculative: bool) -> AsyncIterator[Output[bytes]]:
        async with aclosing(self._sound(text, audio_format)) as sound:
            yield _Sound(sound)

    async def _sound(self, text: str, audio_format: AudioFormat) -> AsyncGenerator[bytes, None]:
        sound = _Decoder(self._options.url, audio_format)
        async with connected("tts", self._options) as connection:
            connection.send("synthesize", {"text": text, "voice": self._asked_voice()})
            while (event := await connection.receive_in_time()).kind != "audio-stop":
                if event.kind == "audio-chunk" and (piece := sound.feed(event)):
                    yield piece
        if sound.begun:
            if piece := sound.flush():
                yield piece
        elif any(map(str.isalnum, text)):  # of an ellipsis nothing is the right sound
            raise ComponentFailed("tts", f"{self._options.url} spoke nothing; see its log", retryable=True)

    def _asked_voice(self) -> dict[str, str]:
        if self._voice is None:
            return {"language": self._language}
        return {"name": self._voice} | ({"speaker": self._options.speaker} if self._options.speaker else {})


class _Decoder:
    """A phrase's chunks in the format that is wanted."""

    def __init__(self, url: str, audio_format: AudioFormat) -> None:
        self._url = url
        self._format = audio_format
        self._resampler: StreamingResampler | None = None
        self._rest = b""

    @property
    def begun(self) -> bool:
        return self._resampler is not None

    def feed(self, chunk: Event) -> bytes:
        """Raises `ComponentFailed` for sound of another kind."""
        rate_hz: Any = chunk.data.get("rate")
        kept = self._resampler is None or self._resampler.from_hz == rate_hz
        known = type(rate_hz) is int and rate_hz in SAMPLE_RATES_HZ and kept
        if not known or chunk.data.get("width") != 2 or chunk.data.get("channels") != 1:
            given = ", ".join(f"{name} {str(chunk.data.get(name))[:12]}" for name in ("rate", "width", "channels"))
            rates = ", ".join(map(str, SAMPLE_RATES_HZ))
            message = f"{self._url} sends sound of {given}; needed are 16-bit mono samples at one rate of {rates} Hz"
            raise ComponentFailed("tts", message)
        data = self._rest + chunk.payload
        whole = len(data) // 2 * 2
        data, self._rest = data[:whole], data[whole:]
        if not data:
            return b""
        if self._resampler is None:
            self._resampler = StreamingResampler(rate_hz, self._format.sample_rate_hz)
        return encode(self._resampler.feed(np.frombuffer(data, "<i2").astype(np.int16)), self._format.encoding)

    def flush(self) -> bytes:
        return b"" if self._resampler is None else encode(self._resampler.flush(), self._format.encoding)


class _Sound:
    def __init__(self, sound: AsyncGenerator[bytes, None]) -> None:
        self._sound = sound

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._sound)

    def adopt(self) -> None:
        """The server knows no speculation."""


def wyoming_text_to_speech(scope: CallScope, options: Options) -> WyomingTextToSpeech:
    chosen = read_options(WyomingTtsOptions, options, "wyoming text to speech")
    return WyomingTextToSpeech(chosen, voice=scope.call.voice, language=scope.call.language)
