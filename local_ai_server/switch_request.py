"""What a `switch_model` message asks for: which engine with which options for which kind. Only looks at paths.

stt_backend, tts_backend, llm_backend            the engine
stt_model_path, tts_model_path, llm_model_path   its model; without an engine's name the files tell which it is
<engine>_<setting>                               `kokoro_voice`, `sherpa_model_path`: the option of that engine that
                                                 the variable KOKORO_VOICE sets; names the engine, too
stt_config, tts_config, llm_config               options of the engine, by field name
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from local_ai_server.backends.backend import Backend, Kind
from local_ai_server.backends.options import BackendOptions, OptionsError
from local_ai_server.backends.registry import BACKENDS, backend
from local_ai_server.model_kinds import infer_backend, is_embedded_kroko
from local_ai_server.model_roots import ModelRoots, PathRefused
from voice_wire.messages import ErrorCode, SwitchModel

KINDS: Final[tuple[Kind, ...]] = ("stt", "tts", "llm")
_ABOUT_THE_SWITCH: Final = frozenset(
    {"type", "call_id", "request_id", "scope", "protocol_version", "auth_token", "token"}
    | {"dry_run", "stop_then_start", "drain_deadline_s"}
)
_OPERATORS_OWN: Final = frozenset({"server_path", "server_sha256", "hub_model"})
"""Which program is run, and what is fetched from elsewhere: a client may choose models that are here and settings, the
environment alone chooses these."""


class SwitchRefused(Exception):
    """What is asked for cannot be; the message says why and what could."""

    def __init__(self, message: str, *, code: ErrorCode = "invalid_message") -> None:
        super().__init__(message)
        self.code: ErrorCode = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One kind's engine and its options, as they are to be or as they are."""

    backend: Backend
    options: BackendOptions


@dataclass(slots=True)
class _Wish:
    backend: str | None = None
    model_path: str | None = None
    engine_fields: dict[str, tuple[str, str, Any]] = field(default_factory=dict)
    """Message field → (engine, the engine's option, value)."""
    config: dict[str, Any] = field(default_factory=dict)


def read_switch(
    message: SwitchModel,
    *,
    running: Mapping[Kind, Target],
    chosen: Callable[[Kind], str],
    configured: Callable[[Backend], BackendOptions],
    roots: ModelRoots,
) -> dict[Kind, Target]:
    """What is to serve each kind that the message names. Raises `SwitchRefused`.

    `running`: what serves now, whose options are the base where the engine stays; `chosen`: the engine that the
    environment chooses; `configured`: an engine's options there, the base where the engine changes.
    """
    targets: dict[Kind, Target] = {}
    for kind, wish in _wishes(message).items():
        try:
            targets[kind] = _target(
                kind, wish, running=running.get(kind), chosen=chosen(kind), configured=configured, roots=roots
            )
        except (OptionsError, PathRefused) as error:
            raise SwitchRefused(f"{kind}: {error}") from None
    if not targets:
        raise SwitchRefused(
            "switch_model names nothing to switch: give stt_backend, tts_backend, llm_backend, a model path or a config"
        )
    return targets


def _wishes(message: SwitchModel) -> dict[Kind, _Wish]:
    given = {name: value for name, value in message.model_dump().items() if value is not None and value != ""}
    wishes: dict[Kind, _Wish] = {}
    for name, value in given.items():
        if name in _ABOUT_THE_SWITCH:
            continue
        kind, what = _meaning(name)
        wish = wishes.setdefault(kind, _Wish())
        if what == "backend":
            wish.backend = _text(name, value).strip().lower()
        elif what == "model_path":
            wish.model_path = _text(name, value)
        elif what == "config":
            if not isinstance(value, dict):
                raise SwitchRefused(f"{name}: an object with the engine's options is needed")
            wish.config = value
        else:
            engine, option = what.split(".")
            wish.engine_fields[name] = engine, option, value
    return {kind: wishes[kind] for kind in KINDS if kind in wishes}


def _meaning(name: str) -> tuple[Kind, str]:
    """The kind that a field concerns, and what of it: `backend`, `model_path`, `config` or `<engine>.<option>`."""
    for kind in KINDS:
        for what in ("backend", "model_path", "config"):
            if name == f"{kind}_{what}":
                return kind, what
    for engine in BACKENDS:
        prefix = f"{engine.name}_"
        if not name.startswith(prefix):
            continue
        option = name.removeprefix(prefix)
        for field_name, variables in engine.options.variables().items():
            if field_name == option or name.upper() in variables:
                return engine.kind, f"{engine.name}.{field_name}"
        known = ", ".join(sorted(f"{prefix}{field_name}" for field_name in engine.options.model_fields))
        raise SwitchRefused(f"{name}: {engine.name} has no such option; there are: {known}")
    raise SwitchRefused(f"{name} is no field of switch_model, or of an engine that is not here")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise SwitchRefused(f"{name}: text is needed")
    return value


def _target(
    kind: Kind,
    wish: _Wish,
    *,
    running: Target | None,
    chosen: str,
    configured: Callable[[Backend], BackendOptions],
    roots: ModelRoots,
) -> Target:
    path = roots.find(wish.model_path, kind) if wish.model_path is not None else None
    name = _engine(wish, path, kind) or (running.backend.name if running else chosen)
    for field_name, (engine, _, _) in wish.engine_fields.items():
        if engine != name:
            raise SwitchRefused(f"{field_name} is for {engine}, and {kind} is to be {name}; leave it out")
    try:
        found = backend(kind, name)
    except LookupError as error:
        raise SwitchRefused(f"{kind}_backend: {error.args[0]}", code="unknown_backend") from None
    base = running.options if running is not None and running.backend.name == name else configured(found)
    changes = {option: value for _, option, value in wish.engine_fields.values()} | wish.config
    if path is not None:
        changes["model_path"] = path
    return Target(backend=found, options=_checked(kind, name, base, changes, roots))


def _engine(wish: _Wish, path: Path | None, kind: Kind) -> str | None:
    """What the message names, in these words or others."""
    if wish.backend is not None:
        return wish.backend
    engines = sorted({engine for engine, _, _ in wish.engine_fields.values()})
    if len(engines) > 1:
        raise SwitchRefused(f"fields of {' and '.join(engines)} are named: {kind}_backend must say which is meant")
    return engines[0] if engines else infer_backend(kind, path) if path is not None else None


def _checked(kind: Kind, name: str, base: BackendOptions, changes: dict[str, Any], roots: ModelRoots) -> BackendOptions:
    """`base` with `changes`. Paths among them are looked up like the model's own.

    A key that is configured for one address is not sent to another: it is left out unless it is given again.
    """
    if own := sorted(_OPERATORS_OWN & changes.keys()):
        raise SwitchRefused(f"{kind}: {own[0]} can be set in the environment only")
    options = base.changed(changes)
    if any("url" in name and getattr(options, name) != getattr(base, name) for name in changes):
        changes = _without_secrets(base) | changes
    paths = {
        field_name: roots.find(str(getattr(options, field_name)), kind)
        for field_name in changes
        if isinstance(getattr(options, field_name), Path)
    }
    model = paths.get("model_path")
    if name == "kroko" and model is not None and "embedded" in type(options).model_fields and is_embedded_kroko(model):
        if changes.get("embedded", True) is not True:
            raise SwitchRefused(f"kroko_embedded is off, and {model.name} is a model for the embedded engine")
        changes = changes | {"embedded": True}
    return base.changed({**changes, **paths})


def _without_secrets(options: BackendOptions) -> dict[str, Any]:
    """The options that hold keys, as they are when none is set."""
    fields = type(options).model_fields
    return {name: fields[name].get_default() for name, value in dict(options).items() if isinstance(value, SecretStr)}
