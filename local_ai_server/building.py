"""From settings to a service: which engine, with which options, in what worker."""

from __future__ import annotations

from typing import Final

from local_ai_server.backends.backend import Backend, BackendUnusable, Kind, Machine, Plan
from local_ai_server.backends.options import BackendOptions, OptionsError
from local_ai_server.backends.registry import backend
from local_ai_server.catalog import ModelMissing
from local_ai_server.cuda_matrix import library_environment
from local_ai_server.llm_modes import check_ready_set
from local_ai_server.service import Link, Service
from local_ai_server.settings import Settings
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec

_IDLE_LOAD_S: Final = 15.0
"""A load that gives way to all others may come to nothing on a machine that is never idle: after this it does not."""


class StartError(Exception):
    """The server cannot start as configured; the message says why and what mends it."""


def make_plan(chosen: Backend, options: BackendOptions, machine: Machine) -> Plan:
    """How that backend is loaded with these options. Raises `BackendUnusable`."""
    if reason := chosen.missing(options):
        raise BackendUnusable(f"{chosen.kind} backend {chosen.name}: {reason}")
    return chosen.plan(options, machine)


def make_service(settings: Settings, chosen: Backend, options: BackendOptions, plan: Plan, *, idle: bool) -> Service:
    """The service of one backend; its worker is not started. `idle`: it gives way to others while it loads."""
    load_s = plan.load_deadline_s or settings.service_timeout_s
    spec = WorkerSpec(
        model=chosen.model,
        settings=plan.load,
        env={**(library_environment() if settings.has_gpu else {}), **plan.env},
        threads=plan.threads,
        concurrency=plan.concurrency,
        canary=chosen.canary,
        load_deadline_s=load_s + (_IDLE_LOAD_S if idle else 0.0),
        canary_deadline_s=settings.service_timeout_s,
        call_deadline_s=settings.service_timeout_s,
        idle_load_s=_IDLE_LOAD_S if idle else 0.0,
    )
    link: Link = WorkerLink(spec)
    return Service(
        chosen, link, options=options, plan=plan, max_waiting=settings.max_queue, held_s=settings.switch_wait_s
    )


def base_options(settings: Settings, chosen: Backend) -> BackendOptions:
    """The options of an engine that is switched to. LOCAL_STT_MODEL_PATH and its like are for the configured one."""
    shared = f"LOCAL_{chosen.kind.upper()}_MODEL_PATH"
    if chosen.name == settings.backend(chosen.kind):
        return settings.options_of(chosen)
    variables = {name: value for name, value in settings.backend_variables.items() if name != shared}
    return chosen.options.from_environment(variables)


def configured_service(settings: Settings, kind: Kind, machine: Machine) -> Service:
    """What the settings choose for `kind`; its worker is not started. Raises `StartError`."""
    name = settings.backend(kind)
    try:
        chosen = backend(kind, name)
    except LookupError as error:
        raise StartError(f"LOCAL_{kind.upper()}_BACKEND: {error.args[0]}") from None
    try:
        options = settings.options_of(chosen)
        check_ready_set(settings.llm_mode, options.model_path)
        return make_service(settings, chosen, options, make_plan(chosen, options, machine), idle=False)
    except (BackendUnusable, OptionsError, ModelMissing) as error:
        raise StartError(str(error)) from None
