"""What the server says of itself: `status`, `capabilities`, `backends` and `backend_schema`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_ai_server.backends.backend import Backend
from local_ai_server.backends.registry import BACKENDS, backend
from local_ai_server.errors import ServeError
from local_ai_server.prompts import MIN_ANSWER_TOKENS, REFILL
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard, availability
from voice_wire.messages import (
    Backends,
    BackendSchema,
    BackendSchemaResponse,
    BackendsResponse,
    BackendState,
    Capabilities,
    CapabilitiesResponse,
    ModelStates,
    Status,
    StatusConfig,
    StatusResponse,
)


def status(message: Status, *, settings: Settings, switchboard: Switchboard) -> StatusResponse:
    """What runs now, with the backend that really does."""
    not_ready = switchboard.not_ready
    models = switchboard.describe()
    models["llm"] = _llm_facts(switchboard) | models["llm"]
    return StatusResponse(
        status="degraded" if not_ready else "ok",
        call_id=message.call_id,
        request_id=message.request_id,
        models=ModelStates.model_validate(models),
        kroko=_backend_facts("kroko", switchboard),
        kokoro=_backend_facts("kokoro", switchboard),
        gpu=switchboard.gpu.facts | {"available": settings.has_gpu},
        config=StatusConfig(
            runtime_mode="full" if settings.preloads_llm else "minimal",
            degraded=bool(not_ready),
            startup_errors=not_ready,
            runtime_fallbacks=switchboard.runtime_fallbacks,
        ),
    )


def _llm_facts(switchboard: Switchboard) -> dict[str, Any]:
    """How this server treats prompts and tools; what the backend says of itself goes before."""
    service = switchboard.find("llm")
    traits: Mapping[str, Any] = service.traits if service else {}
    context_tokens = traits.get("context_tokens")
    chosen = service is not None and "context_tokens" not in service.options.model_fields_set
    return {
        "prompt_fit": {
            "context_tokens": context_tokens,
            "min_answer_tokens": MIN_ANSWER_TOKENS,
            "refill": REFILL,
        },
        "auto_context": {"enabled": chosen, "context_tokens": context_tokens},
        "tool_capability": {"policies": ["auto", "strict", "compatible", "off"]} | traits.get("tools", {}),
    }


def _backend_facts(name: str, switchboard: Switchboard) -> dict[str, Any]:
    """Whether a backend can run here, whether it does, and with which options (no secrets)."""
    candidate = next((known for known in BACKENDS if known.name == name), None)
    if candidate is None:
        return {"available": False, "active": False, "reason": f"this server has no backend {name}"}
    reason = candidate.missing()
    facts: dict[str, Any] = {"available": reason is None, "active": False}
    if reason is not None:
        facts["reason"] = reason
    service = switchboard.find(candidate.kind)
    if service is not None and service.backend.name == name:
        facts |= {"active": True, "config": service.options.model_dump(mode="json")}
    return facts


def capabilities(message: Capabilities) -> CapabilitiesResponse:
    """Which backends can run here, and what mends those that cannot."""
    found = availability()
    able = {backend.name for backend, reason in found.items() if reason is None}
    return CapabilitiesResponse(
        call_id=message.call_id,
        request_id=message.request_id,
        capabilities={backend.name: backend.name in able for backend in found},
        reasons={backend.name: reason for backend, reason in found.items() if reason and backend.name not in able},
    )


def backends(message: Backends, *, switchboard: Switchboard) -> BackendsResponse:
    """The backends of one type or of all. Of several bindings of one name that which can run counts."""
    listed: dict[str, dict[str, BackendState]] = {}
    for known, reason in availability().items():
        if message.backend_type in (None, known.kind):
            entry = listed.setdefault(known.kind, {})
            if reason is None or known.name not in entry:
                entry[known.name] = _state(known, reason, switchboard)
    return BackendsResponse(call_id=message.call_id, request_id=message.request_id, backends=listed)


def _state(known: Backend, reason: str | None, switchboard: Switchboard) -> BackendState:
    service = switchboard.find(known.kind)
    active = service if service is not None and service.backend.name == known.name else None
    hears = known.kind == "stt"
    return BackendState(
        available=reason is None,
        reason=reason,
        active=active is not None,
        needs_gating=(active.needs_gating if active else known.needs_gating) if hears else None,
        streams=(active.traits.get("streams", known.streams) if active else known.streams) if hears else None,
    )


def backend_schema(message: BackendSchema) -> BackendSchemaResponse:
    """The JSON Schema of a backend's options. Raises `ServeError` for one that there is not."""
    try:
        known = backend(message.backend_type, message.backend_name)
    except LookupError as error:
        raise ServeError("unknown_backend", str(error.args[0]), request_id=message.request_id) from None
    return BackendSchemaResponse(
        call_id=message.call_id,
        request_id=message.request_id,
        backend_type=known.kind,
        backend_name=known.name,
        json_schema=known.options.model_json_schema(by_alias=False),
    )
