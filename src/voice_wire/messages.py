"""The local AI socket's messages, both directions and both versions, and how a text frame becomes one.

The field lists stand in docs/protocol.md. `type` is read without regard to case and with `-` for `_`.
Everything a caller of this package needs is exported here.
"""

from __future__ import annotations

import types
from typing import Any, Final, TypeVar, cast, get_args

from pydantic import ValidationError
from pydantic_core import from_json

from voice_wire.client_messages import (
    VERSION_3_ONLY,
    Adopt,
    Audio,
    Auth,
    BargeIn,
    Cancel,
    ClientMessage,
    End,
    LlmRequest,
    Ping,
    SetMode,
    SttDrop,
    SttFinalize,
    SttStart,
    TtsAppend,
    TtsFlush,
    TtsRequest,
    Warm,
)
from voice_wire.frames import HEADER_BYTES, Frame, pack_frame, parse_frame
from voice_wire.server_facts import (
    Backends,
    BackendSchema,
    BackendSchemaResponse,
    BackendsResponse,
    BackendState,
    Capabilities,
    CapabilitiesResponse,
    LlmState,
    ModelState,
    ModelStates,
    Status,
    StatusConfig,
    StatusResponse,
)
from voice_wire.server_messages import (
    AuthResponse,
    BargeInAck,
    ConnectionClosed,
    Done,
    Error,
    LlmDelta,
    LlmResponse,
    ModeReady,
    Pong,
    ServerMessage,
    SttResult,
    SttStarted,
    TtsAudio,
    TtsResponse,
    TtsStart,
)
from voice_wire.switching import (
    BackendChanged,
    ReloadLlm,
    ReloadModels,
    ReloadResponse,
    SwitchModel,
    SwitchProgress,
    SwitchResponse,
    SwitchStage,
)
from voice_wire.tool_messages import (
    LlmToolRequest,
    LlmToolResponse,
    ToolCall,
    ToolContext,
    ToolResult,
)
from voice_wire.wire_model import (
    ERROR_CODES,
    PROTOCOL_VERSIONS,
    BackendType,
    ChatMessage,
    ErrorCode,
    Mode,
    Part,
    ProtocolError,
    ResponseFormat,
    Sampling,
    Text,
    Usage,
    WireModel,
)

__all__ = [
    "ERROR_CODES",
    "HEADER_BYTES",
    "PROTOCOL_VERSIONS",
    "VERSION_3_ONLY",
    "Adopt",
    "Audio",
    "Auth",
    "AuthResponse",
    "BackendChanged",
    "BackendSchema",
    "BackendSchemaResponse",
    "BackendState",
    "BackendType",
    "Backends",
    "BackendsResponse",
    "BargeIn",
    "BargeInAck",
    "Cancel",
    "Capabilities",
    "CapabilitiesResponse",
    "ChatMessage",
    "ClientMessage",
    "ConnectionClosed",
    "Done",
    "End",
    "Error",
    "ErrorCode",
    "Frame",
    "LlmDelta",
    "LlmRequest",
    "LlmResponse",
    "LlmState",
    "LlmToolRequest",
    "LlmToolResponse",
    "Mode",
    "ModeReady",
    "ModelState",
    "ModelStates",
    "Part",
    "Ping",
    "Pong",
    "ProtocolError",
    "ReloadLlm",
    "ReloadModels",
    "ReloadResponse",
    "ResponseFormat",
    "Sampling",
    "ServerMessage",
    "SetMode",
    "Status",
    "StatusConfig",
    "StatusResponse",
    "SttDrop",
    "SttFinalize",
    "SttResult",
    "SttStart",
    "SttStarted",
    "SwitchModel",
    "SwitchProgress",
    "SwitchResponse",
    "SwitchStage",
    "Text",
    "ToolCall",
    "ToolContext",
    "ToolResult",
    "TtsAppend",
    "TtsAudio",
    "TtsFlush",
    "TtsRequest",
    "TtsResponse",
    "TtsStart",
    "Usage",
    "Warm",
    "WireModel",
    "pack_frame",
    "parse_client_message",
    "parse_frame",
    "parse_server_message",
]

RAW_CANCEL = "__CANCEL__"
RAW_END = "__END__"

Message = TypeVar("Message", bound=WireModel)
MAX_COMMAS: Final = 50_000
"""Of a client's frame. A long text costs next to nothing to read, but 4 MB of small values that are all wrong stopped
the event loop, and with it all calls, for ten seconds and more."""
_MOST_COMPLAINTS: Final = 5


def parse_client_message(text: str) -> ClientMessage:
    """The message of a client's text frame; `ProtocolError` says what is wrong with it and what would be right."""
    if text == RAW_CANCEL:
        return Cancel()
    if text == RAW_END:
        return End()
    if text.count(",") > MAX_COMMAS:
        raise ProtocolError("message_too_large", f"the message has more than {MAX_COMMAS} commas")
    return cast("ClientMessage", _parse(text, _CLIENT))


def parse_server_message(text: str) -> ServerMessage:
    """The message of a server's text frame. A type from a newer server raises `ProtocolError` (`unknown_type`)."""
    return cast("ServerMessage", _parse(text, _SERVER))


def _by_type(union: types.UnionType) -> dict[str, type[WireModel]]:
    return {model.model_fields["type"].default: model for model in get_args(union)}


_CLIENT = _by_type(ClientMessage)
_SERVER = _by_type(ServerMessage)


def _parse(text: str, known: dict[str, type[WireModel]]) -> WireModel:
    try:
        # Not json.loads: that lets NaN pass, and half characters (\ud800) that no answer could repeat.
        fields = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ProtocolError("malformed_json", f"a text frame must be a JSON object with a 'type': {error}") from None
    if not isinstance(fields, dict):
        raise ProtocolError("malformed_json", f"a text frame must be a JSON object, not {type(fields).__name__}")
    request_id = _request_id(fields)
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise ProtocolError("invalid_message", "the message has no 'type' (a string)", request_id=request_id)
    model = known.get(kind.strip().lower().replace("-", "_"))
    if model is None:
        raise ProtocolError(
            "unknown_type", f"no message has the type {kind[:60]!r}; known: {', '.join(known)}", request_id=request_id
        )
    name = model.model_fields["type"].default
    try:
        return model.model_validate({**fields, "type": name})
    except ValidationError as error:
        raise ProtocolError("invalid_message", f"{name}: {_explain(error)}", request_id=request_id) from None


def _request_id(fields: dict[str, Any]) -> str | None:
    """The id to answer a bad message with, where it is a usable one."""
    value = fields.get("request_id")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= 128 else None


def _explain(error: ValidationError) -> str:
    """One line a field, without the values: they may be a caller's words or a token."""
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'message'}: {detail['msg']}"
        for detail in error.errors(include_url=False)[:_MOST_COMPLAINTS]
    )
