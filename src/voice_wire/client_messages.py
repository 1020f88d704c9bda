"""What a client of the local AI socket sends: versions 2 and 3. Field lists: docs/protocol.md.

Messages about tools, switches and the server itself stand in `tool_messages`, `switching` and `server_facts`, each
beside its answer.

A message that exists in both versions is one model; what only version 3 knows is optional in it, and the session asks
for what its version needs. Requests of version 3 name themselves with `request_id` and end in exactly one `done` or
`error`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field, model_validator

from voice_wire.server_facts import Backends, BackendSchema, Capabilities, Status
from voice_wire.switching import ReloadLlm, ReloadModels, SwitchModel
from voice_wire.tool_messages import LlmToolRequest, ToolContext, ToolResult, Tools
from voice_wire.wire_model import (
    ChatMessage,
    EncodingName,
    ForCall,
    Id,
    Mode,
    OptionalId,
    ResponseFormat,
    SampleRateHz,
    Sampling,
    Text,
    Uint32,
    WireModel,
)

MAX_MESSAGES = 512

Messages = Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=MAX_MESSAGES)]


class Auth(WireModel):
    """First message of a connection → `auth_response`. `protocol_version` 3 asks for the additions."""

    type: Literal["auth"] = "auth"
    auth_token: Annotated[str, Field(validation_alias=AliasChoices("auth_token", "token"), repr=False)] = ""
    call_id: OptionalId = None
    protocol_version: Literal[2, 3] = 2


class SetMode(ForCall):
    """What becomes of this session's audio, and in which format speech is answered → `mode_ready`."""

    type: Literal["set_mode"] = "set_mode"
    mode: Mode = "full"
    output_encoding: EncodingName | None = None
    output_sample_rate_hz: SampleRateHz | None = None
    segment_silence_ms: Annotated[int, Field(ge=100, le=10_000)] | None = None
    """Version 2: this much silence ends an utterance."""


class Audio(ForCall):
    """Version 2: PCM16 little-endian mono, base64, at `rate` Hz → `stt_result`, and in mode full an answer in words and
    sound."""

    type: Literal["audio"] = "audio"
    data: str
    rate: SampleRateHz | None = None
    mode: Mode | None = None


class LlmRequest(ForCall):
    """`text` is version 2 (the server keeps the history) → `llm_response`; `messages` is version 3 (the client does)
    → `llm_delta` …, `done`."""

    model_config = WireModel.model_config | {
        "json_schema_extra": {"anyOf": [{"required": ["text"]}, {"required": ["messages"]}]}
    }
    type: Literal["llm_request"] = "llm_request"
    text: Text | None = None
    mode: Mode | None = None
    messages: Messages | None = None
    sampling: Sampling = Sampling()
    tools: Tools | None = None
    response_format: ResponseFormat | None = None
    stream: bool = False
    speculative: bool = False
    """May be thrown away: waits for all that is final or live, until `adopt` names it."""
    replaces: OptionalId = None

    @model_validator(mode="after")
    def _says_something(self) -> LlmRequest:
        if self.text is None and self.messages is None:
            raise ValueError("'text' (version 2) or 'messages' (version 3) is needed")
        return self


class TtsRequest(ForCall):
    """Version 2 without `stream`: one `tts_response`. With `stream`: `tts_start`, binary frames, `done`."""

    type: Literal["tts_request"] = "tts_request"
    text: Text = ""
    stream: bool = False
    incremental: bool = False
    """More text follows by `tts_append`; `tts_flush` says that it was all."""
    voice: Annotated[str, Field(max_length=200)] | None = None
    encoding: EncodingName | None = None
    sample_rate_hz: SampleRateHz | None = None
    speculative: bool = False
    replaces: OptionalId = None


class BargeIn(ForCall):
    """Generation and synthesis of this session stop at once → `barge_in_ack`."""

    type: Literal["barge_in"] = "barge_in"


# --- version 3 ------------------------------------------------------------------------------------------------------


class SttStart(WireModel):
    """Begins one utterance. Its audio follows in binary frames that carry `stream_id`; → `stt_started`."""

    type: Literal["stt_start"] = "stt_start"
    stream_id: Uint32
    encoding: EncodingName = "linear16"
    sample_rate_hz: SampleRateHz = 16_000
    language: Annotated[str, Field(max_length=64)] | None = None
    partials: bool = False


class SttFinalize(WireModel):
    """Decode what has arrived on the stream → `stt_result`, `done`. A speculative one leaves the stream open."""

    type: Literal["stt_finalize"] = "stt_finalize"
    request_id: Id
    stream_id: Uint32
    speculative: bool = False
    replaces: OptionalId = None


class SttDrop(WireModel):
    """The utterance was none: forget its audio and cancel its decoding. No answer of its own."""

    type: Literal["stt_drop"] = "stt_drop"
    stream_id: Uint32


class TtsAppend(WireModel):
    """One more phrase for an incremental `tts_request`."""

    type: Literal["tts_append"] = "tts_append"
    request_id: Id
    text: Text


class TtsFlush(WireModel):
    """No more text for an incremental `tts_request`; its `done` follows the last audio."""

    type: Literal["tts_flush"] = "tts_flush"
    request_id: Id


class Warm(WireModel):
    """Prime this session's prefix cache with a persona and a history → `done` with `usage`."""

    type: Literal["warm"] = "warm"
    request_id: Id
    messages: Messages
    speculative: bool = False


class Cancel(WireModel):
    """Ends a request with `done {cancelled: true}`; without `request_id` all of this session's."""

    type: Literal["cancel"] = "cancel"
    request_id: OptionalId = None


class Adopt(WireModel):
    """A speculative request has become the real one: it goes before speculation from now on."""

    type: Literal["adopt"] = "adopt"
    request_id: Id


class Ping(WireModel):
    """Whether anybody is there → `pong`. Keeps an idle connection open."""

    type: Literal["ping"] = "ping"
    request_id: OptionalId = None


class End(WireModel):
    """→ `connection_closed`, then close 1000."""

    type: Literal["end"] = "end"


ClientMessage = (
    Auth
    | SetMode
    | Audio
    | LlmRequest
    | LlmToolRequest
    | TtsRequest
    | ToolContext
    | ToolResult
    | BargeIn
    | SwitchModel
    | ReloadModels
    | ReloadLlm
    | Status
    | Capabilities
    | Backends
    | BackendSchema
    | SttStart
    | SttFinalize
    | SttDrop
    | TtsAppend
    | TtsFlush
    | Warm
    | Cancel
    | Adopt
    | Ping
    | End
)

VERSION_3_ONLY = (SttStart, SttFinalize, SttDrop, TtsAppend, TtsFlush, Warm, Adopt)
