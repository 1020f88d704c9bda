"""What a client may ask the local AI server about itself: status, capabilities, backends and their settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from voice_wire.wire_model import BackendType, BlankIsNone, ForCall, WireModel, Word

BackendName = Annotated[str, Field(min_length=1, max_length=200), Word]


class Status(ForCall):
    """What runs now → `status_response`."""

    type: Literal["status"] = "status"


class Capabilities(ForCall):
    """Which backends can run here → `capabilities_response`."""

    type: Literal["capabilities"] = "capabilities"


class Backends(ForCall):
    """The backends there are, of one type or of all → `backends_response`."""

    type: Literal["backends"] = "backends"
    backend_type: Annotated[BackendType | None, BlankIsNone] = None


class BackendSchema(ForCall):
    """The settings of one backend → `backend_schema_response`."""

    type: Literal["backend_schema"] = "backend_schema"
    backend_type: BackendType
    backend_name: BackendName


class ModelState(WireModel):
    """One kind's model. A server may say more than is listed here."""

    model_config = WireModel.model_config | {"extra": "allow"}
    loaded: bool
    """It serves requests now."""
    backend: str | None = None
    """The backend that really runs."""
    path: str | None = None
    state: str | None = None
    reason: str | None = None
    """Why it does not serve, and what mends it."""
    rss_bytes: int | None = None
    config: dict[str, Any] = Field(default_factory=dict)


class LlmState(ModelState):
    """The language model's."""

    prompt_fit: dict[str, Any] = Field(default_factory=dict)
    """How prompts are fitted: `context_tokens`, `min_answer_tokens`, `refill`."""
    auto_context: dict[str, Any] = Field(default_factory=dict)
    """Whether the context was chosen by the server, and from what."""
    tool_capability: dict[str, Any] = Field(default_factory=dict)
    """How well this model calls tools."""


class ModelStates(WireModel):
    """What runs, by kind."""

    stt: ModelState
    llm: LlmState
    tts: ModelState


class StatusConfig(WireModel):
    """How the server was started and what became of it."""

    runtime_mode: Literal["full", "minimal"]
    degraded: bool
    """Something that is configured cannot serve."""
    startup_errors: dict[str, str] = Field(default_factory=dict)
    """By kind: the reason and what mends it."""
    runtime_fallbacks: dict[str, str] = Field(default_factory=dict)
    """By kind: what runs instead of what was configured, and why."""


class StatusResponse(ForCall):
    """What runs now."""

    type: Literal["status_response"] = "status_response"
    status: Literal["ok", "degraded"] = "ok"
    models: ModelStates
    kroko: dict[str, Any] = Field(default_factory=dict)
    kokoro: dict[str, Any] = Field(default_factory=dict)
    gpu: dict[str, Any] = Field(default_factory=dict)
    config: StatusConfig


class CapabilitiesResponse(ForCall):
    """Which backends can run here."""

    type: Literal["capabilities_response"] = "capabilities_response"
    capabilities: dict[str, bool]
    """One boolean a backend: `faster_whisper`, `llama_cpp`, `piper`."""
    reasons: dict[str, str]
    """Why a backend is not available and what mends it."""


class BackendState(WireModel):
    """One backend, as `backends_response` lists it."""

    available: bool
    reason: str | None = None
    """Why it is not available and what mends it."""
    active: bool = False
    """It serves now."""
    needs_gating: bool | None = None
    """Of STT: caller audio must be withheld while the agent is heard."""
    streams: bool | None = None
    """Of STT: it sends partial results."""


class BackendsResponse(ForCall):
    """The backends by type and name."""

    type: Literal["backends_response"] = "backends_response"
    backends: dict[str, dict[str, BackendState]]


class BackendSchemaResponse(ForCall):
    """The settings of one backend: the fields of `stt_config`, `llm_config` or `tts_config`."""

    type: Literal["backend_schema_response"] = "backend_schema_response"
    backend_type: BackendType
    backend_name: str
    json_schema: dict[str, Any]
    """JSON Schema, draft 2020-12."""
