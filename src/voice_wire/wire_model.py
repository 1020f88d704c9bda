"""What all messages of the local AI socket share: field types, the error codes and the one exception of the parsers."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PROTOCOL_VERSIONS: Final = (2, 3)

ErrorCode = Literal[
    "malformed_json",  # the text frame is no JSON object
    "unknown_type",  # no message has this `type`
    "invalid_message",  # a field is missing or cannot be what it says
    "message_too_large",  # one field or the audio of one utterance is beyond its limit
    "not_supported",  # a message that this server knows and does not serve
    "version_required",  # a version-3 message on a version-2 connection
    "server_at_capacity",  # with `active`, `max`, `available`, `at_capacity`
    "rate_limited",  # more messages than the window allows; with `retry_after`
    "duplicate_request",  # this `request_id` is still in flight
    "unknown_request",  # tts_append or tts_flush for a request that is not open
    "unknown_stream",  # binary audio or stt_finalize for a stream that was not started
    "unknown_call",  # this `call_id` is not this connection's
    "unknown_backend",  # no backend has this name; the message lists those there are
    "backend_unavailable",  # it cannot run here; the message says why and what mends it
    "not_enough_memory",  # old and new model do not fit beside each other; `stop_then_start` frees the old one first
    "switch_in_progress",  # another switch of the same kind is at work
    "switch_failed",  # the new model did not start; the old one goes on
    "stt_unavailable",  # nothing here turns speech into text now
    "llm_unavailable",  # no language model serves now
    "llm_not_loaded",  # the server runs in minimal mode; the message says what loads it
    "tts_unavailable",  # nothing here speaks now
    "prompt_too_long",  # even a cut prompt leaves no room for an answer
    "timeout",  # the worker did not answer within SERVICE_TIMEOUT
    "worker_failed",  # the model's process ended while it worked; it is being restarted, try again
    "internal_error",  # the server failed; its log says how
]
ERROR_CODES: Final[frozenset[str]] = frozenset(get_args(ErrorCode))


def _normalise_word(value: object) -> object:
    """`Full` and `FULL` mean `full`: the ecosystem writes words in any case."""
    return value.lower() if isinstance(value, str) else value


def _blank_is_none(value: object) -> object:
    """Version-2 clients write empty text where they have none."""
    return None if value == "" else value


Word = BeforeValidator(_normalise_word)
BlankIsNone = BeforeValidator(_blank_is_none)

Id = Annotated[str, Field(min_length=1, max_length=128)]
"""Names of calls and requests, chosen by the client; numbers are accepted and answered as text."""
OptionalId = Annotated[Id | None, BlankIsNone]
MAX_TEXT_CHARS: Final = 20_000
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]
Uint32 = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]
Mode = Annotated[Literal["full", "stt", "llm", "tts"], Word]
EncodingName = Annotated[Literal["mulaw", "alaw", "linear16"], Word]
BackendType = Annotated[Literal["stt", "llm", "tts"], Word]
SampleRateHz = Literal[8000, 16000, 22050, 24000, 44100, 48000]
"""`voice_wire.audio.SAMPLE_RATES_HZ`."""
Role = Literal["system", "user", "assistant", "tool"]


class ProtocolError(ValueError):
    """A message that cannot be served; `code` and the text go to the other side as an `error` message."""

    def __init__(self, code: ErrorCode, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.request_id = request_id


class WireModel(BaseModel):
    """A message. Unknown fields are ignored: a newer peer may send more than this one knows."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    def to_json(self) -> str:
        """The text frame. Fields that are None are left out."""
        return self.model_dump_json(exclude_none=True)


class ForCall(WireModel):
    """A message that may name its call and its request."""

    call_id: OptionalId = None
    request_id: OptionalId = None


class Part(BaseModel):
    """A piece of a message whose keys are all known: a misspelt key would silently do nothing, so it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)


class ChatMessage(Part):
    """One turn of the conversation as the model shall see it."""

    role: Role
    content: Annotated[str, Field(max_length=200_000)]


class Sampling(Part):
    """Overrides of the model's sampling for one request; None leaves the server's setting."""

    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=10_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=5)] | None = None
    presence_penalty: Annotated[float, Field(ge=-5, le=5)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-5, le=5)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=32_768)] | None = None
    seed: Annotated[int, Field(ge=0, le=0xFFFF_FFFF)] | None = None
    stop: Annotated[tuple[str, ...], Field(max_length=16)] | None = None
    sanitize_output: bool | None = None
    """Leave out what cannot be spoken: markdown marks, emoji, role labels."""


class ResponseFormat(Part):
    """`json_schema` constrains the answer to a JSON Schema, `json_object` to any JSON object."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class Usage(WireModel):
    """What one LLM request cost."""

    prompt_tokens: int
    cached_tokens: int
    """Tokens of the prompt that were found in the prefix cache; the rest was computed."""
    completion_tokens: int
    ttft_ms: float
    """From the request's arrival at the server to its first token, queueing included."""
