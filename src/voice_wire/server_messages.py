"""What the local AI server sends: versions 2 and 3. Field lists: docs/protocol.md.

Answers about tools, switches and the server itself stand in `tool_messages`, `switching` and `server_facts`.
"""

from __future__ import annotations

import base64
from typing import Literal

from voice_wire.audio import AudioFormat
from voice_wire.server_facts import BackendSchemaResponse, BackendsResponse, CapabilitiesResponse, StatusResponse
from voice_wire.switching import BackendChanged, ReloadResponse, SwitchProgress, SwitchResponse
from voice_wire.tool_messages import LlmToolResponse
from voice_wire.wire_model import EncodingName, ErrorCode, ForCall, Mode, Uint32, Usage, WireModel


class AuthResponse(WireModel):
    """`message` on error: invalid_auth_token or authentication_required; the connection is then closed with 1008."""

    type: Literal["auth_response"] = "auth_response"
    status: Literal["ok", "error"]
    message: str | None = None
    call_id: str | None = None
    protocol_version: int | None = None
    stt_backend: str | None = None
    needs_gating: bool | None = None
    """Caller audio must be withheld from STT while the agent is heard."""
    tts_voices: tuple[str, ...] | None = None
    llm_context_tokens: int | None = None
    """What one session's prompt and answer may fill together."""


class ModeReady(ForCall):
    """Answers `set_mode`."""

    type: Literal["mode_ready"] = "mode_ready"
    mode: Mode


class SttResult(ForCall):
    """What was heard. Text is empty where there was no speech."""

    type: Literal["stt_result"] = "stt_result"
    text: str
    mode: Mode | None = None
    is_final: bool
    is_partial: bool = False
    stt_backend: str
    stream_id: Uint32 | None = None
    confidence: float | None = None
    """exp of the mean log-probability of the decoded tokens: 0 to 1."""
    no_speech_probability: float | None = None
    audio_ms: float | None = None
    decode_ms: float | None = None
    error: Literal["stt_unavailable"] | None = None


class LlmResponse(ForCall):
    """The model's whole answer."""

    type: Literal["llm_response"] = "llm_response"
    text: str
    mode: Mode | None = None


class TtsAudio(ForCall):
    """Version 2, mode full: announces the one binary frame after it."""

    type: Literal["tts_audio"] = "tts_audio"
    mode: Mode | None = None
    encoding: EncodingName
    sample_rate_hz: int
    byte_length: int


class TtsResponse(ForCall):
    """Version 2: the whole audio in base64."""

    type: Literal["tts_response"] = "tts_response"
    text: str
    audio_data: str
    encoding: EncodingName
    sample_rate_hz: int
    byte_length: int

    @classmethod
    def of(
        cls,
        text: str,
        audio: bytes,
        audio_format: AudioFormat,
        *,
        call_id: str | None = None,
        request_id: str | None = None,
    ) -> TtsResponse:
        """The message that carries `audio`."""
        return cls(
            text=text,
            audio_data=base64.b64encode(audio).decode(),
            encoding=audio_format.encoding,
            sample_rate_hz=audio_format.sample_rate_hz,
            byte_length=len(audio),
            call_id=call_id,
            request_id=request_id,
        )


class BargeInAck(ForCall):
    """Answers `barge_in`; what was stopped says nothing more."""

    type: Literal["barge_in_ack"] = "barge_in_ack"
    status: Literal["ok", "error"] = "ok"


class Error(ForCall):
    """Ends the request that it names; without `request_id` it concerns the message that was just sent."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    stream_id: Uint32 | None = None
    retryable: bool | None = None
    active: int | None = None
    max: int | None = None
    available: int | None = None
    at_capacity: bool | None = None
    retry_after: float | None = None
    """Of rate_limited: seconds until the same message would be served."""


# --- version 3 ------------------------------------------------------------------------------------------------------


class SttStarted(WireModel):
    """Answers `stt_start`."""

    type: Literal["stt_started"] = "stt_started"
    stream_id: Uint32
    stt_backend: str
    needs_gating: bool
    partials: bool
    """False where the backend cannot send them, whatever was asked for."""


class LlmDelta(WireModel):
    """The next piece of a streamed answer."""

    type: Literal["llm_delta"] = "llm_delta"
    request_id: str
    text: str


class TtsStart(WireModel):
    """The binary frames of this request follow under `stream_id`, which the server never uses again."""

    type: Literal["tts_start"] = "tts_start"
    request_id: str
    stream_id: Uint32
    encoding: EncodingName
    sample_rate_hz: int


class Done(WireModel):
    """Ends a request. Nothing of that request follows."""

    type: Literal["done"] = "done"
    request_id: str
    cancelled: bool | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    """`stop`, or `length` when `max_tokens` cut the answer."""
    audio_ms: float | None = None
    queue_ms: float | None = None
    """Time the request waited for its worker."""


class Pong(WireModel):
    """Answers `ping`."""

    type: Literal["pong"] = "pong"
    request_id: str | None = None


class ConnectionClosed(WireModel):
    """Answers `end`; nothing follows but the close."""

    type: Literal["connection_closed"] = "connection_closed"
    reason: str = "end"


ServerMessage = (
    AuthResponse
    | ModeReady
    | SttResult
    | LlmResponse
    | LlmToolResponse
    | TtsAudio
    | TtsResponse
    | BargeInAck
    | SwitchResponse
    | ReloadResponse
    | StatusResponse
    | CapabilitiesResponse
    | BackendsResponse
    | BackendSchemaResponse
    | Error
    | SttStarted
    | LlmDelta
    | TtsStart
    | Done
    | SwitchProgress
    | BackendChanged
    | Pong
    | ConnectionClosed
)
