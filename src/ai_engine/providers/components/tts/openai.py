"""Text-to-speech behind OpenAI's `/audio/speech`: OpenAI, Kokoro-FastAPI, openedai-speech and others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import numpy as np
from pydantic import Field

from ai_engine.providers.components.component import ComponentFailed, Output
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.server_options import ServerOptions
from ai_engine.providers.services import CallScope
from openai_wire.errors import SpeechRefused, TtsError, TtsUnavailable
from openai_wire.pcm import PcmDecoder, Samples
from openai_wire.speech import SpeechClient
from voice_wire.audio import AudioFormat, Pcm, StreamingResampler, encode

_FULL_SCALE: Final = np.float32(32767)


class OpenAiSpeechOptions(ServerOptions):
    """What speaks, and where it is."""

    model: str = "tts-1"
    voice: str = "alloy"
    """Of contexts that name none."""
    speed: float = Field(default=1.0, ge=0.25, le=4.0)


class OpenAiTextToSpeech:
    """One call's. Its connections are the engine's."""

    def __init__(self, client: SpeechClient, options: OpenAiSpeechOptions, voice: str | None) -> None:
        self._client = client
        self._options = options
        self._voice = voice or options.voice

    @property
    def voice(self) -> str:
        options = self._options
        return f"{options.base_url} {options.model} {self._voice} {options.speed:g}"

    async def start(self) -> None:
        """Nothing to connect before the first phrase."""

    async def stop(self) -> None:
        """The connections stay."""

    @asynccontextmanager
    async def speak(self, text: str, *, audio_format: AudioFormat, speculative: bool) -> AsyncIterator[Output[bytes]]:
        async with aclosing(self._sound(text, audio_format)) as sound:
            yield _Sound(sound)

    async def _sound(self, text: str, audio_format: AudioFormat) -> AsyncGenerator[bytes, None]:
        try:
            async with self._client.speech(text, self._voice, self._options.speed) as (rate_hz, pieces):
                decoder = PcmDecoder(rate_hz)
                resampler: StreamingResampler | None = None
                async for data in pieces:
                    samples = decoder.feed(data)
                    if not samples.size:
                        continue
                    if resampler is None:  # the header, where there is one, has told the rate by now
                        resampler = StreamingResampler(decoder.rate_hz, audio_format.sample_rate_hz)
                    if (pcm := resampler.feed(_pcm16(samples))).size:
                        yield encode(pcm, audio_format.encoding)
                if resampler is None:
                    if not any(map(str.isalnum, text)):
                        return  # of an ellipsis nothing is the right sound
                    raise TtsUnavailable(f"{self._options.base_url} spoke nothing; see its log")
                if (pcm := resampler.flush()).size:
                    yield encode(pcm, audio_format.encoding)
        except TtsError as error:
            raise ComponentFailed(
                "tts",
                str(error),
                retryable=isinstance(error, TtsUnavailable),
                refused=isinstance(error, SpeechRefused),
            ) from None


class _Sound:
    def __init__(self, sound: AsyncGenerator[bytes, None]) -> None:
        self._sound = sound

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._sound)

    def adopt(self) -> None:
        """The server knows no speculation."""


def _pcm16(samples: Samples) -> Pcm:
    pcm: Pcm = np.rint(np.clip(samples, -1, 1) * _FULL_SCALE).astype(np.int16)
    return pcm


def openai_text_to_speech(scope: CallScope, options: Options) -> OpenAiTextToSpeech:
    """Raises `ConfigError` where the variable that `key` names is not set."""
    what = "openai text to speech"
    chosen = read_options(OpenAiSpeechOptions, options, what)
    key = chosen.key_in(scope, what)

    def connect() -> SpeechClient:
        return SpeechClient(
            chosen.base_url, key, model=chosen.model, silence_s=chosen.timeout_s, names=chosen.names()
        )  # fmt: skip

    client = scope.services.clients.get(("speech", chosen, key), connect)
    return OpenAiTextToSpeech(client, chosen, scope.call.voice)
