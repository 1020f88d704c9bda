"""What clients may say about speech: the fields of forms and bodies, as OpenAPI tells them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from local_ai_server.http_api.synthesis import MAX_CHARACTERS
from local_ai_server.http_api.transcribing import Task

Language = Annotated[str, Field(max_length=35, description="ISO 639-1, as en or de; the model's own where left out.")]
Spoken = Annotated[str, Field(max_length=MAX_CHARACTERS)]


class _Asked(BaseModel):
    # A misspelt name would silently do nothing.
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class TranscribeFields(_Asked):
    """Beside the file."""

    language: Language | None = None
    include_segments: bool = False
    task: Task = "transcribe"


class TranscribeUrl(TranscribeFields):
    """A recording that lies elsewhere."""

    url: Annotated[str, Field(max_length=4096, description="https://… or http://… at a public address.")]


class SynthesizeBody(_Asked):
    """A text to be said."""

    text: Spoken
    voice: Annotated[str, Field(max_length=200)] | None = None
    speed: Annotated[float, Field(ge=0.5, le=2.0)] | None = None
    format: Literal["wav", "pcm", "mulaw", "alaw", "mp3", "opus", "aac", "flac"] = "wav"
    sample_rate: int | None = Field(None, description="24000 where left out; 8000 for mulaw and alaw.")


class SegmentOut(BaseModel):
    """A stretch of the recording: seconds from its begin."""

    start: float
    end: float
    text: str


class TranscriptOut(BaseModel):
    """What was said."""

    text: str
    language: str | None = Field(description="What was listened for; null where neither client nor engine says.")
    duration: float = Field(description="Of the recording, in seconds.")
    processing_time: float = Field(description="Seconds from the request to this answer.")
    segments: list[SegmentOut] | None = Field(default=None, description="Where `include_segments` asked for them.")


class OpenAiTranslation(_Asked):
    """OpenAI's fields of a translation. `prompt` and `temperature` have no effect: decoding is greedy."""

    model: Annotated[str, Field(max_length=200, description="Any: the model that is loaded answers.")]
    prompt: str | None = Field(None, description="Has no effect here.")
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"
    temperature: Annotated[float, Field(ge=0, le=1, description="Has no effect here.")] = 0.0


class OpenAiTranscription(OpenAiTranslation):
    """OpenAI's fields of a transcription."""

    language: Language | None = None
    chunking_strategy: str | None = Field(None, description="Has no effect: recordings are always cut at pauses.")
    stream: bool = Field(False, description="Server-sent events `transcript.text.delta` and `transcript.text.done`.")
    timestamp_granularities: list[Literal["segment"]] = Field(
        default=["segment"], alias="timestamp_granularities[]", description="No engine here tells the times of words."
    )


class VoiceId(_Asked):
    """A voice as an object."""

    id: Annotated[str, Field(max_length=200)]


class OpenAiSpeech(_Asked):
    """OpenAI's fields of speech."""

    model: Annotated[str, Field(max_length=200, description="Any: the voice that is loaded speaks.")]
    input: Spoken
    voice: Annotated[str, Field(max_length=200)] | VoiceId = Field(
        description="One of this server's; OpenAI's own names mean the default voice."
    )
    instructions: str | None = Field(None, description="Has no effect here.")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    stream: bool | None = Field(None, description="Of other servers; has no effect: sound always comes as it is made.")

    @property
    def voice_name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id


class OpenAiText(BaseModel):
    """`response_format=json`."""

    text: str
    usage: dict[str, Any]
