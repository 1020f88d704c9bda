"""The server's settings: LOCAL_* and a few shared variables, from the environment and `.env` in the working directory.

Every field is one variable, named by its alias. What a field cannot be is refused with the variable's name and what
would be right.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from local_ai_server.backends.backend import Backend, Kind
from local_ai_server.backends.options import BackendOptions, OptionsError, Word, variable
from local_ai_server.backends.registry import BACKENDS
from local_ai_server.llm_modes import READY_SETS, LlmMode, variables_of
from outbound_guard.destination import Allowed

_CLIENT_VARIABLES: Final = frozenset({"LOCAL_WS_URL"})
"""Of the engine and the tools: where they find this server."""


class SettingsError(ValueError):
    """A setting that cannot be; the message names the variable and the fix."""


Limit = Annotated[int, AfterValidator(lambda limit: limit or sys.maxsize)]
"""0: none."""


def _destinations(value: object) -> object:
    return tuple(entry.strip() for entry in value.split(",") if entry.strip()) if isinstance(value, str) else value


def _reachable(entries: tuple[str, ...]) -> tuple[str, ...]:
    Allowed.parse(entries)
    return entries


Destinations = Annotated[tuple[str, ...], BeforeValidator(_destinations), AfterValidator(_reachable)]


class Settings(BaseModel):
    """What the server is to do. Built by `read_settings`."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    host: str = variable("LOCAL_WS_HOST", default="127.0.0.1")
    port: int = variable("LOCAL_WS_PORT", default=8765, ge=0, le=65535)
    """0 takes a free one and prints it."""
    auth_token: SecretStr = variable("LOCAL_WS_AUTH_TOKEN", default=SecretStr(""))
    max_sessions: Limit = variable("LOCAL_WS_MAX_SESSIONS", default=64, ge=0)
    max_message_bytes: Limit = variable("LOCAL_WS_MAX_MESSAGE_BYTES", default=4 * 1024 * 1024, ge=0)
    idle_timeout_s: float = variable("LOCAL_WS_IDLE_TIMEOUT", default=150.0, ge=0)
    """Version-3 connections that say nothing for so long are closed with 4000; 0: never."""
    max_queue: Limit = variable("LOCAL_MAX_QUEUE", default=64, ge=0)
    """Requests that may wait for one backend."""
    rate_window_s: float = variable("LOCAL_WS_RATE_WINDOW", default=10.0, gt=0, le=3600)
    """In which one connection may send so many messages, binary audio not counted; 0: as many as it likes."""
    max_messages: int = variable("LOCAL_WS_MAX_MESSAGES", default=2000, ge=0, le=1_000_000)
    max_cancels: int = variable("LOCAL_WS_MAX_CANCELS", default=500, ge=0, le=1_000_000)
    """`cancel` and `barge_in`."""
    max_prompt_updates: int = variable("LOCAL_WS_MAX_PROMPT_UPDATES", default=200, ge=0, le=1_000_000)
    """`warm`, and switches that set a prompt or settings."""
    max_http_requests: Limit = variable("LOCAL_HTTP_MAX_REQUESTS", default=32, ge=0)
    """Over HTTP, served at once; 0: any number."""
    max_http_body_bytes: Limit = variable("LOCAL_HTTP_MAX_BODY_BYTES", default=32 * 1024 * 1024, ge=0)
    """Of one HTTP request: a recording to transcribe, mostly."""
    max_http_audio_s: float = variable("LOCAL_HTTP_MAX_AUDIO", default=3600.0, gt=0, le=86_400)
    """Seconds of one recording to transcribe over HTTP, however small its file."""
    http_fetch_allowed: Destinations = variable("LOCAL_HTTP_FETCH_ALLOW", default=())
    """Hosts, addresses and networks, separated by commas, that /transcribe/url may ask though they are not public."""
    max_utterance_s: float = variable("LOCAL_MAX_UTTERANCE", default=120.0, gt=0)

    mode: Annotated[Literal["auto", "full", "minimal"], Word] = variable("LOCAL_AI_MODE", default="auto")
    enable_stt: bool = variable("ENABLE_STT", default=True)
    enable_llm: bool = variable("ENABLE_LLM", default=True)
    enable_tts: bool = variable("ENABLE_TTS", default=True)
    gpu_available: bool | None = variable("GPU_AVAILABLE")
    service_timeout_s: float = variable("SERVICE_TIMEOUT", default=60.0, gt=0)
    """For a model to load, and for a worker to answer. LLM_MODE=vllm: 900 where it is not set."""
    degraded_start: bool = variable("LOCAL_DEGRADED_START", default=False)
    """A model that cannot be loaded leaves the others serving."""
    switch_drain_s: float = variable("LOCAL_SWITCH_DRAIN", default=10.0, ge=0, le=3600)
    """For the requests of a model that is switched away."""
    switch_wait_s: float = variable("LOCAL_SWITCH_WAIT", default=30.0, ge=0, le=3600)
    """For requests to wait for a model that was stopped before the next is loaded."""
    memory_reserve_mib: int = variable("LOCAL_MEMORY_RESERVE", default=256, ge=0)
    """Left free by a switch."""
    model_roots: str = variable("LOCAL_MODEL_ROOTS", default="")
    """More folders whose models clients may name, separated by colons."""

    stt_backend: Annotated[str, Word] = variable("LOCAL_STT_BACKEND", default="faster_whisper")
    llm_mode: Annotated[LlmMode, Word] | None = variable("LLM_MODE")
    """A ready set of engine and model (`llm_modes`); what is set beside it goes before."""
    vllm_model: str | None = variable("VLLM_MODEL")
    """As the vLLM server names it, with LLM_MODE=vllm."""
    llm_backend: Annotated[str, Word] = variable("LOCAL_LLM_BACKEND", default="llama_cpp")
    llm_roles: Annotated[Literal["chat", "both", "tool"], Word] = variable("LOCAL_LLM_ROLES", default="chat")
    """Which models there are: one that talks and decides about tools, one for each, or only one that decides."""
    tool_llm_backend: Annotated[str, Word] | None = variable("LOCAL_TOOL_LLM_BACKEND")
    """Of the model that decides about tools; as LOCAL_LLM_BACKEND where it is not set."""
    tool_llm_model_path: Path | None = variable("LOCAL_TOOL_LLM_MODEL_PATH")
    tool_llm_options: SecretStr = variable("LOCAL_TOOL_LLM_OPTIONS", default=SecretStr(""))
    """Its engine's options that differ, as JSON by field name."""
    llm_system_prompt: str = variable(
        "LOCAL_LLM_SYSTEM_PROMPT",
        default="You are a friendly voice assistant on the phone. Answer in one or two short sentences.",
    )
    """For version-2 clients, whose messages carry none."""

    tts_backend: Annotated[str, Word] = variable("LOCAL_TTS_BACKEND", default="piper")

    backend_variables: Mapping[str, str] = Field(default_factory=dict, repr=False, exclude=True)
    """What was set of the variables that backends read (`BackendOptions`)."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Word] = variable(
        "LOCAL_LOG_LEVEL", default="info"
    )
    log_format: Annotated[Literal["json", "console"], Word] = variable("LOCAL_LOG_FORMAT", default="console")

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def has_gpu(self) -> bool:
        if self.gpu_available is not None:
            return self.gpu_available
        return Path("/dev/nvidia0").exists()

    @property
    def preloads_llm(self) -> bool:
        """Mode full, or auto with a GPU."""
        return self.mode == "full" or (self.mode == "auto" and self.has_gpu)

    def backend(self, kind: Kind) -> str:
        """The name of the engine chosen for `kind`."""
        if kind == "llm" and self.llm_mode is not None and "llm_backend" not in self.model_fields_set:
            return READY_SETS[self.llm_mode].backend
        return {"stt": self.stt_backend, "llm": self.llm_backend, "tts": self.tts_backend}[kind]

    def options_of(self, backend: Backend) -> BackendOptions:
        """That backend's options as the environment has them. Raises `OptionsError`."""
        given = self.backend_variables
        if backend.kind == "llm":
            given = {**given, **variables_of(self.llm_mode, given, vllm_model=self.vllm_model)}
        return backend.options.from_environment(given)

    def enabled(self, kind: Kind) -> bool:
        return {"stt": self.enable_stt, "llm": self.enable_llm, "tts": self.enable_tts}[kind]


def _names() -> dict[str, tuple[str, ...]]:
    """Each field's variables."""
    names = {}
    for field, info in Settings.model_fields.items():
        choices = info.validation_alias
        names[field] = tuple(map(str, choices.choices)) if isinstance(choices, AliasChoices) else ()
    return names


def read_settings(env_file: Path = Path(".env"), process: Mapping[str, str] | None = None) -> Settings:
    """`env_file`, if there is one, under the process's own environment. Raises `SettingsError`."""
    own = {name for names in _names().values() for name in names}
    of_backends = {name for b in BACKENDS for names in b.options.variables().values() for name in names}
    known = own | of_backends
    values = _read_env_file(env_file, known) | dict(os.environ if process is None else process)
    # In a .env, NAME= with nothing behind it means that it is not set.
    given = {name: value for name, value in values.items() if name in known and value.strip()}
    for_backends = {name: value for name, value in given.items() if name in of_backends}
    own_values: dict[str, Any] = {name: value for name, value in given.items() if name in own}
    ready_set = READY_SETS.get(given.get("LLM_MODE", "").strip().lower())  # type: ignore[call-overload]
    if ready_set is not None and ready_set.service_timeout_s is not None:
        own_values.setdefault("SERVICE_TIMEOUT", ready_set.service_timeout_s)
    try:
        settings = Settings.model_validate({**own_values, "backend_variables": for_backends})
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(detail) for detail in error.errors(include_url=False))) from None
    try:
        for backend in BACKENDS:
            settings.options_of(backend)
    except OptionsError as error:
        raise SettingsError(str(error)) from None
    if not settings.is_loopback and not settings.auth_token.get_secret_value():
        raise SettingsError(
            f"LOCAL_WS_HOST={settings.host} can be reached from other machines and LOCAL_WS_AUTH_TOKEN is not set: "
            "set LOCAL_WS_AUTH_TOKEN to a long random word here and in the engine's .env, or bind to 127.0.0.1"
        )
    return settings


def _read_env_file(env_file: Path, known: set[str]) -> dict[str, str]:
    if not env_file.is_file():
        return {}
    values: dict[str, str] = {}
    try:
        with env_file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{env_file} cannot be read: {error}") from None
    for binding in bindings:
        line = binding.original.line
        if binding.error:
            raise SettingsError(f"{env_file}:{line}: not NAME=value")
        name = binding.key
        if name is None:
            continue
        if name.startswith("LOCAL_") and name not in known | _CLIENT_VARIABLES:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see .env.example for the names that are read"
            raise SettingsError(f"{env_file}:{line}: unknown variable {name}; {hint}")
        if binding.value is not None:
            values[name] = binding.value
    return values


def _explain(detail: Any) -> str:
    """`LOCAL_WS_PORT: Input should be …`; the value stays out of it, it may be a secret."""
    where = str(detail["loc"][0]) if detail["loc"] else ""
    names = _names()
    variable = names[where][0] if where in names else where
    return f"{variable}: {detail['msg']}"
