"""Another backend, model or setting while the server runs: the requests, how they go on, how they end."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_serializer

from voice_wire.wire_model import BackendType, BlankIsNone, ErrorCode, ForCall, WireModel, Word

Name = Annotated[str, Field(max_length=200)]
Path = Annotated[str, Field(max_length=4096)]
OptionalName = Annotated[Name | None, BlankIsNone]
OptionalPath = Annotated[Path | None, BlankIsNone]
BackendName = Annotated[Name | None, Word, BlankIsNone]
Config = Annotated[dict[str, Any] | None, Field(repr=False)]
"""May hold keys of a service, so it is never printed."""

SwitchStage = Literal[
    "starting", "loading", "warming", "routing", "draining", "stopping", "done", "failed", "rolled_back"
]


class SwitchModel(ForCall):
    """What is named changes, the rest stays → `switch_response`.

    `scope: session` changes prompt, sampling, voice and speed of the session that `call_id` names and nothing else.
    A field that this server does not know is an error: a misspelt one would silently change nothing.
    """

    model_config = WireModel.model_config | {"extra": "allow"}
    # They are kept, so that whoever serves the message can name them.
    type: Literal["switch_model"] = "switch_model"
    dry_run: bool = False
    """Says what would change and whether it fits; changes nothing."""
    scope: Annotated[Literal["session", "server"] | None, Word, BlankIsNone] = None
    """Left out: server."""

    stt_backend: BackendName = None
    stt_model_path: OptionalPath = None
    sherpa_model_path: OptionalPath = None
    kroko_embedded: bool | None = None
    kroko_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    kroko_language: OptionalName = None
    kroko_url: OptionalPath = None
    kroko_model_path: OptionalPath = None

    tts_backend: BackendName = None
    tts_model_path: OptionalPath = None
    kokoro_voice: OptionalName = None
    kokoro_mode: OptionalName = None
    kokoro_model_path: OptionalPath = None
    kokoro_api_base_url: OptionalPath = None
    kokoro_api_key: SecretStr | None = None
    kokoro_api_model: OptionalName = None

    llm_backend: BackendName = None
    llm_model_path: OptionalPath = None

    stt_config: Config = None
    """Options of the STT backend by name (`backend_schema` lists them)."""
    tts_config: Config = None
    llm_config: Config = None
    """Options of the LLM backend; `system_prompt` is the default of sessions that begin later."""

    stop_then_start: bool = False
    """Stop the old model first, where both do not fit into memory. Its requests wait for the new one."""
    drain_deadline_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    """How long the old model may finish its requests; left out: the server's setting."""

    @field_serializer("kokoro_api_key", when_used="json")
    def _reveal(self, key: SecretStr | None) -> str | None:
        """On the wire it is itself; printed or logged it is stars."""
        return None if key is None else key.get_secret_value()


class ReloadModels(ForCall):
    """Every model is loaded anew from its file → `reload_response`."""

    type: Literal["reload_models"] = "reload_models"


class ReloadLlm(ForCall):
    """The language model is loaded anew, or another from `llm_model_path` → `reload_response`."""

    type: Literal["reload_llm"] = "reload_llm"
    llm_model_path: OptionalPath = None


class SwitchResponse(ForCall):
    """How a `switch_model` ended."""

    type: Literal["switch_response"] = "switch_response"
    status: Literal["success", "no_change", "error"]
    message: str
    changed: list[str] = Field(default_factory=list)
    """Names of the fields that are other than before."""
    code: ErrorCode | None = None
    """On error."""
    memory: dict[str, Any] | None = None
    """What the new model needs, what is free, what the old one gives back: bytes."""
    stages: list[dict[str, Any]] | None = None
    """What it went through: {`stage`, `ms`}."""


class ReloadResponse(ForCall):
    """How a `reload_models` or `reload_llm` ended."""

    type: Literal["reload_response"] = "reload_response"
    status: Literal["success", "error"]
    message: str
    code: ErrorCode | None = None


class SwitchProgress(ForCall):
    """Where a switch or reload of this connection is now."""

    type: Literal["switch_progress"] = "switch_progress"
    backend_type: BackendType
    stage: SwitchStage
    message: str = ""
    elapsed_ms: float
    """Since the request arrived."""


class BackendChanged(WireModel):
    """New requests go to another backend from now on, whoever asked for it. The fields that are not about
    `backend_type` say what is so still; None: there is none of that kind."""

    type: Literal["backend_changed"] = "backend_changed"
    backend_type: BackendType
    backend: str
    """Its name."""
    stt_backend: str | None = None
    needs_gating: bool | None = None
    """Caller audio must be withheld from STT while the agent is heard."""
    tts_voices: tuple[str, ...] | None = None
    llm_context_tokens: int | None = None
