"""A second language model that decides about tools alone, beside the one that talks (LOCAL_LLM_ROLES).

chat   one model talks and decides (the default)
both   one talks, another decides
tool   one decides and nobody talks here: for a server beside another one
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.backends.options import BackendOptions, OptionsError
from local_ai_server.backends.registry import backend
from local_ai_server.building import StartError, base_options, make_plan, make_service
from local_ai_server.catalog import ModelMissing
from local_ai_server.service import Service
from local_ai_server.settings import Settings

LABEL: Final = "llm_tools"
"""Of its figures and messages."""
_SHARE_CHAT: Final = 0.7
_SHARE_TOOLS: Final = 0.2
_NOT_SHARED: Final[dict[str, Any]] = {"port": 0, "memory_fraction": None}
"""Options that two engines cannot have alike."""


def chat_machine(settings: Settings, machine: Machine) -> Machine:
    """What of `machine` the model that talks may count on."""
    return _part(machine, _SHARE_CHAT) if settings.llm_roles == "both" else machine


def tool_service(settings: Settings, machine: Machine) -> Service | None:
    """The service of the model for tools, whose worker is not started; None where there is to be none.

    Its engine is LOCAL_TOOL_LLM_BACKEND, else that of the model that talks; its options are the environment's, then
    LOCAL_TOOL_LLM_OPTIONS. Raises `StartError`.
    """
    if settings.llm_roles == "chat" or not settings.enable_llm or not settings.preloads_llm:
        return None
    name = settings.tool_llm_backend or settings.backend("llm")
    try:
        chosen = backend("llm", name)
    except LookupError as error:
        raise StartError(f"LOCAL_TOOL_LLM_BACKEND: {error.args[0]}") from None
    part = _part(machine, _SHARE_TOOLS) if settings.llm_roles == "both" else machine
    try:
        options = _options(settings, base_options(settings, chosen))
        service = make_service(settings, chosen, options, make_plan(chosen, options, part), idle=False)
    except (BackendUnusable, OptionsError, ModelMissing) as error:
        raise StartError(f"the model for tools: {error}") from None
    service.label = LABEL
    return service


def _options(settings: Settings, base: BackendOptions) -> BackendOptions:
    given = settings.tool_llm_options.get_secret_value().strip()
    try:
        changes = json.loads(given) if given else {}
    except ValueError:
        changes = None
    if not isinstance(changes, dict):
        raise OptionsError('LOCAL_TOOL_LLM_OPTIONS: write it as JSON, as in {"context_tokens": 1024}')
    if settings.tool_llm_model_path is not None:
        changes.setdefault("model_path", settings.tool_llm_model_path)
    if settings.llm_roles == "both":
        own = {name: value for name, value in _NOT_SHARED.items() if name in type(base).model_fields}
        changes = own | changes
    return base.changed(changes)


def _part(machine: Machine, share: float) -> Machine:
    free = machine.gpu_free_bytes
    return replace(machine, memory_share=share, gpu_free_bytes=None if free is None else round(share * free))
