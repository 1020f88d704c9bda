"""Speech-to-text behind OpenAI's `/audio/transcriptions`: OpenAI, Groq, speaches, whisper.cpp's server and others.

A turn is kept here until it is to be decoded and then sent whole, at every decode anew: the API knows no streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pydantic import Field

from ai_engine.providers.components.component import ComponentFailed, OnPartial, SttTraits, Transcript
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.server_options import ServerOptions
from ai_engine.providers.services import CallScope
from openai_wire.errors import SttError, SttRefused, SttUnavailable
from openai_wire.transcription import TranscriptionClient
from voice_wire.audio import PCM_8K, PCM_16K, AudioFormat

MAX_UTTERANCE_S: Final = 60
_LEAST_MS: Final = 100
"""Shorter sound is refused by OpenAI, and no word."""


class OpenAiTranscriptionOptions(ServerOptions):
    """What hears, and where it is."""

    model: str = "whisper-1"
    language: str | None = Field(default=None, pattern=r"^[a-z]{2,3}(-[A-Za-z]+)*$")
    """None: the context's."""


class OpenAiSpeechToText:
    """One call's. Its connections are the engine's."""

    def __init__(
        self,
        client: TranscriptionClient,
        options: OpenAiTranscriptionOptions,
        *,
        input_format: AudioFormat,
        language: str | None,
    ) -> None:
        self._client = client
        self._options = options
        self._language = options.language or language
        self.input_format = input_format
        self.traits = SttTraits(f"openai:{options.model}", needs_gating=True)

    def on_change(self, listener: Callable[[SttTraits], None]) -> None:
        listener(self.traits)  # and it never changes

    async def start(self) -> None:
        """Nothing to connect before the first turn."""

    async def stop(self) -> None:
        """The connections stay."""

    def stream(self, turn: int, on_partial: OnPartial) -> OpenAiUtterance:
        return OpenAiUtterance(self._client, self.input_format, self.traits.backend, self._language)


class OpenAiUtterance:
    """The sound of one turn so far."""

    def __init__(
        self, client: TranscriptionClient, audio_format: AudioFormat, backend: str, language: str | None
    ) -> None:
        self._client = client
        self._format = audio_format
        self._backend = backend
        self._language = language
        self._audio = bytearray()
        self._max_bytes = audio_format.bytes_for_ms(MAX_UTTERANCE_S * 1000)
        self._heard: tuple[int, str] | None = None
        """Length of the sound that was decoded last, and its words."""

    def send(self, audio: bytes) -> None:
        self._audio += audio[: self._max_bytes - len(self._audio)]

    async def decode(self, *, speculative: bool) -> Transcript:
        length = len(self._audio)
        if self._heard is None or self._heard[0] != length:
            text = ""
            if length >= self._format.bytes_for_ms(_LEAST_MS):
                try:
                    text = await self._client.transcribe(
                        bytes(self._audio), self._format.sample_rate_hz, language=self._language
                    )
                except SttError as error:
                    raise ComponentFailed(
                        "stt",
                        str(error),
                        retryable=isinstance(error, SttUnavailable),
                        refused=isinstance(error, SttRefused),
                    ) from None
            self._heard = (length, text)
        return Transcript(self._heard[1], self._backend)

    def adopt(self) -> None:
        """The server knows no speculation."""

    def drop(self) -> None:
        self._audio.clear()
        self._heard = None


def openai_speech_to_text(scope: CallScope, options: Options) -> OpenAiSpeechToText:
    """Raises `ConfigError` where the variable that `key` names is not set."""
    what = "openai speech to text"
    chosen = read_options(OpenAiTranscriptionOptions, options, what)
    key = chosen.key_in(scope, what)

    def connect() -> TranscriptionClient:
        return TranscriptionClient(
            chosen.base_url, key, model=chosen.model, silence_s=chosen.timeout_s, names=chosen.names()
        )  # fmt: skip

    client = scope.services.clients.get(("transcription", chosen, key), connect)
    wide = scope.call.output_format.sample_rate_hz >= PCM_16K.sample_rate_hz
    return OpenAiSpeechToText(
        client, chosen, input_format=PCM_16K if wide else PCM_8K, language=scope.call.language
    )  # fmt: skip
