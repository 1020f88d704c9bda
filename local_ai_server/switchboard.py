"""Which service answers for STT, LLM and TTS now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

from local_ai_server.backend_news import BackendNews
from local_ai_server.backends.backend import Backend, Kind, Machine, Plan
from local_ai_server.backends.registry import BACKENDS, backend
from local_ai_server.building import StartError, base_options, configured_service, make_plan, make_service
from local_ai_server.errors import ServeError
from local_ai_server.gpu_monitor import GpuMonitor
from local_ai_server.memory import MIB
from local_ai_server.model_roots import ModelRoots, model_roots
from local_ai_server.service import UNAVAILABLE, Place, Service
from local_ai_server.settings import Settings
from local_ai_server.switch_request import KINDS, SwitchRefused, Target, read_switch
from local_ai_server.switch_steps import OnProgress, SwitchError, SwitchOptions
from local_ai_server.switching import Switcher
from local_ai_server.tool_model import LABEL, chat_machine, tool_service
from model_worker.errors import WorkerUnavailable
from model_worker.spec import Priority
from voice_wire.messages import BackendChanged, ReloadResponse, SwitchModel, SwitchResponse

log = structlog.get_logger(__name__)

_FORGET_S: Final = 2.0
_LOAD_ORDER: Final[tuple[tuple[Kind, ...], ...]] = (("stt", "tts"), ("llm",))
"""A server that hears and speaks can already apologise."""


def _say_nothing(progress: object) -> None: ...


class Switchboard:
    """The services of one server. Sessions ask it for each request anew, so that a switch reaches the next one."""

    def __init__(
        self,
        services: Mapping[Kind, Service],
        *,
        absent: Mapping[Kind, ServeError],
        settings: Settings | None = None,
        startup_errors: Mapping[Kind, str] | None = None,
        gpu: GpuMonitor | None = None,
        tools: Service | None = None,
        tools_error: str = "",
    ) -> None:
        """`absent`: why nothing serves a kind; `startup_errors`: those of them that should be served.

        `tools`: a second language model that decides about tools; `tools_error`: why it is missing.
        """
        self.gpu = gpu or GpuMonitor()
        self._services = dict(services)
        self._absent = dict(absent)
        self._settings = settings or Settings()
        self._startup_errors = dict(startup_errors or {})
        self._tools = tools
        self._tools_error = tools_error
        if llm := self._services.get("llm"):
            llm.decider = tools
        self._loading = False
        """The start is not over: what it loads is not to be pulled from under it."""
        self._news = BackendNews()
        self._switcher = Switcher(self, reserve_bytes=self._settings.memory_reserve_mib * MIB)

    @classmethod
    def from_settings(cls, settings: Settings, gpu: GpuMonitor | None = None) -> Switchboard:
        """Chooses engines and models, starts nothing. Raises `StartError`."""
        gpu = gpu or GpuMonitor()
        machine = Machine(has_gpu=settings.has_gpu, gpu_free_bytes=gpu.free_bytes)
        services: dict[Kind, Service] = {}
        absent: dict[Kind, ServeError] = {}
        errors: dict[Kind, str] = {}
        for kind in KINDS:
            if not settings.enabled(kind):
                message = f"{kind} is switched off here (ENABLE_{kind.upper()}=false)"
                absent[kind] = ServeError(UNAVAILABLE[kind], message, retryable=False)
            elif kind == "llm" and settings.llm_roles == "tool":
                message = "no model talks here, one decides about tools (LOCAL_LLM_ROLES=tool)"
                absent[kind] = ServeError("llm_unavailable", message, retryable=False)
            elif kind == "llm" and not settings.preloads_llm:
                message = (
                    "the LLM is not loaded in minimal mode: send reload_llm, or set LOCAL_AI_MODE=full (or add a GPU) "
                    "and restart"
                )
                absent[kind] = ServeError("llm_not_loaded", message, retryable=False)
            else:
                try:
                    part = chat_machine(settings, machine) if kind == "llm" else machine
                    services[kind] = configured_service(settings, kind, part)
                except StartError as error:
                    if not settings.degraded_start:
                        raise
                    errors[kind] = str(error)
                    absent[kind] = _not_started(kind, str(error))
        tools, tools_error = None, ""
        try:
            tools = tool_service(settings, machine)
        except StartError as error:
            if not settings.degraded_start:
                raise
            tools_error = str(error)
        return cls(
            services,
            absent=absent,
            settings=settings,
            startup_errors=errors,
            gpu=gpu,
            tools=tools,
            tools_error=tools_error,
        )

    def service(self, kind: Kind) -> Service:
        """What serves `kind` now. Raises `ServeError` where nothing does."""
        found = self._services.get(kind)
        if found is None:
            absent = self._absent[kind]
            raise ServeError(absent.code, str(absent), retryable=absent.retryable)
        return found

    def deciding(self) -> Service:
        """What is asked about tools: the model that talks, which asks the other, or that alone. Raises `ServeError`."""
        if self._tools is not None and "llm" not in self._services:
            return self._tools
        return self.service("llm")

    def find(self, kind: Kind) -> Service | None:
        return self._services.get(kind)

    @property
    def services(self) -> tuple[Service, ...]:
        found = tuple(self._services.values())
        return (*found, self._tools) if self._tools is not None else found

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Of the workers that run now."""
        return tuple(pid for service in self.services if (pid := service.link.stats().pid) is not None)

    @property
    def not_ready(self) -> dict[str, str]:
        """What is configured and cannot serve now, with the reason."""
        waiting = {service.label: service.link.reason for service in self.services if not service.ready}
        # A worker's last words are for the log: they may hold what a caller said, and anybody may ask for this.
        return {kind: _first_line(reason) for kind, reason in (self.startup_errors | waiting).items()}

    @property
    def startup_errors(self) -> dict[str, str]:
        """Why a kind that is configured did not start; gone once a switch or reload has loaded it."""
        errors = {str(kind): reason for kind, reason in self._startup_errors.items()}
        return errors | ({LABEL: self._tools_error} if self._tools_error else {})

    @property
    def runtime_fallbacks(self) -> dict[str, str]:
        """What runs instead of what was configured, and why, as the backends say (`fallback` in their traits)."""
        found = {kind: service.traits.get("fallback") for kind, service in self._services.items()}
        return {kind: str(fallback) for kind, fallback in found.items() if fallback}

    async def start(self, on_loaded: Callable[[Service], None] = lambda service: None) -> None:
        """Starts the workers: speech first, then the LLM. Raises `WorkerUnavailable` when one cannot.

        With LOCAL_DEGRADED_START the others serve all the same, and `startup_errors` tells.
        """

        async def load(kind: Kind) -> None:
            service = self._services[kind]
            try:
                await service.link.start()
            except WorkerUnavailable as error:
                if not self._settings.degraded_start:
                    raise
                log.warning("model_not_loaded", kind=kind, error=str(error))
                self._startup_errors[kind] = str(error)
                self._absent[kind] = _not_started(kind, str(error).splitlines()[0])
                self.withdraw(kind)
            else:
                on_loaded(service)

        self._loading = True
        for together in _LOAD_ORDER:
            loading = [asyncio.create_task(load(kind)) for kind in together if kind in self._services]
            try:
                await asyncio.gather(*loading)
            finally:
                for task in loading:
                    task.cancel()
                await asyncio.gather(*loading, return_exceptions=True)
        await self._load_tools(on_loaded)
        self._loading = False

    async def _load_tools(self, on_loaded: Callable[[Service], None]) -> None:
        """After the model that talks: engines that claim a share of a GPU's memory are not to load at once."""
        if self._tools is None:
            return
        try:
            await self._tools.link.start()
        except WorkerUnavailable as error:
            if not self._settings.degraded_start:
                raise
            log.warning("model_not_loaded", kind=LABEL, error=str(error))
            self._tools_error = str(error)
            self._tools = None
            if llm := self._services.get("llm"):
                llm.decider = None
        else:
            on_loaded(self._tools)

    async def stop(self, *, drain_s: float = 1.0) -> None:
        """Ends all workers, and a switch that is at work."""
        await self._switcher.close()
        await asyncio.gather(*(service.link.stop(drain_s=drain_s) for service in self.services))

    # --- what changes while it runs

    def subscribe(self, callback: Callable[[BackendChanged], None]) -> Callable[[], None]:
        """`callback` is called, from the event loop, with every change. Returns what ends that."""
        return self._news.subscribe(callback)

    async def switch(self, message: SwitchModel, *, on_progress: OnProgress = _say_nothing) -> SwitchResponse:
        """Other engines, models or options, as the message says (see `switch_request`), while requests run."""
        default = self._settings.switch_drain_s
        options = SwitchOptions(
            stop_then_start=message.stop_then_start,
            dry_run=message.dry_run,
            drain_s=default if message.drain_deadline_s is None else message.drain_deadline_s,
        )
        try:
            self._check_started()
            targets = await asyncio.to_thread(self._read, message)
            outcome = await self._switcher.run(targets, options, on_progress)
        except SwitchRefused as error:
            return SwitchResponse(status="error", code=error.code, message=str(error))
        except SwitchError as error:
            return SwitchResponse(status="error", code=error.code, message=str(error))
        return SwitchResponse(
            status="success" if outcome.candidates else "no_change",
            message=outcome.message,
            changed=outcome.changed,
            memory=outcome.memory or None,
            stages=outcome.stages or None,
        )

    async def reload(
        self,
        kinds: tuple[Kind, ...],
        *,
        llm_model_path: str | None = None,
        on_progress: OnProgress = _say_nothing,
    ) -> ReloadResponse:
        """The models of `kinds` anew from their files, the LLM's from `llm_model_path` where that is given.

        What did not start is tried again. The LLM that minimal mode leaves out is loaded where it is all that is asked.
        """
        try:
            self._check_started()
            targets = {kind: target for kind in kinds if (target := self._to_reload(kind, alone=kinds == (kind,)))}
            if llm_model_path is not None:
                targets |= await asyncio.to_thread(self._read, SwitchModel(llm_model_path=llm_model_path))
            options = SwitchOptions(even_if_same=True, drain_s=self._settings.switch_drain_s)
            outcome = await self._switcher.run(targets, options, on_progress)
        except (SwitchRefused, SwitchError) as error:
            return ReloadResponse(status="error", code=error.code, message=str(error))
        if not outcome.candidates:
            message = "nothing of that is loaded here, or could be"
            return ReloadResponse(status="error", code="invalid_message", message=message)
        return ReloadResponse(status="success", message=outcome.message)

    def plan(self, target: Target) -> Plan:
        """How `target` is loaded. Raises `BackendUnusable`."""
        machine = Machine(has_gpu=self._settings.has_gpu, gpu_free_bytes=self.gpu.free_bytes)
        part = chat_machine(self._settings, machine) if target.backend.kind == "llm" else machine
        return make_plan(target.backend, target.options, part)

    def build(self, target: Target, plan: Plan, *, idle: bool) -> Service:
        """The service of `target`; its worker is not started."""
        return make_service(self._settings, target.backend, target.options, plan, idle=idle)

    def assign(self, kind: Kind, service: Service) -> Service | None:
        """From now on `service` serves `kind`. What did before; whoever subscribed hears of it."""
        old = self._services.get(kind)
        if old is not None:
            service.former_voices = old.former_voices | set(old.traits.get("voices", ()))
        if kind == "llm":
            service.decider = self._tools
        self._services[kind] = service
        self._startup_errors.pop(kind, None)
        self._news.announce(kind, self._services)
        return old

    def withdraw(self, kind: Kind) -> None:
        """Nothing serves `kind`, for the reason that was known for it."""
        self._services.pop(kind, None)
        if kind not in self._absent:
            self._absent[kind] = _not_started(kind, "its model could not be loaded")

    def _read(self, message: SwitchModel) -> dict[Kind, Target]:
        targets = read_switch(
            message,
            running={
                kind: Target(backend=service.backend, options=service.options)
                for kind, service in self._services.items()
            },
            chosen=self._settings.backend,
            configured=lambda found: base_options(self._settings, found),
            roots=self._roots(),
        )
        for kind in targets:
            self._check_enabled(kind)
        return targets

    def _to_reload(self, kind: Kind, *, alone: bool) -> Target | None:
        service = self._services.get(kind)
        if service is not None:
            return Target(backend=service.backend, options=service.options)
        if alone:
            self._check_enabled(kind)
        if alone or kind in self._startup_errors:
            chosen = backend(kind, self._settings.backend(kind))
            return Target(backend=chosen, options=self._settings.options_of(chosen))
        return None

    def _check_started(self) -> None:
        if self._loading:
            raise SwitchError("switch_in_progress", "the server is loading its models; try again when it is ready")

    def _check_enabled(self, kind: Kind) -> None:
        if not self._settings.enabled(kind):
            raise SwitchRefused(f"{self._absent[kind]}; set it to true and restart", code=UNAVAILABLE[kind])
        if kind == "llm" and self._settings.llm_roles == "tool":
            raise SwitchRefused(f"{self._absent[kind]}; set it to both and restart", code=UNAVAILABLE[kind])

    def _roots(self) -> ModelRoots:
        options = [self._settings.options_of(known) for known in BACKENDS]
        # Only models': beside a program that is named there others lie.
        paths = [each.model_path for each in options if each.model_path is not None]
        return model_roots(self._settings.model_roots, paths)

    async def forget(self, session: str) -> None:
        """The session has ended: its place in the prefix caches is free."""
        for llm in (self._services.get("llm"), self._tools):
            if llm is not None:
                await _forget(llm, session)

    def describe(self) -> dict[str, Any]:
        """`models` of the status message."""
        models: dict[str, Any] = {}
        for kind in KINDS:
            found = self._services.get(kind)
            if found is None:
                models[kind] = {"loaded": False, "reason": str(self._absent[kind])}
                continue
            models[kind] = _describe(found)
        if self._tools is not None:
            models["llm"]["tools_model"] = _describe(self._tools)
        return models


def _describe(service: Service) -> dict[str, Any]:
    stats = service.link.stats()
    return {
        "loaded": service.ready,
        "backend": service.backend.name,
        "path": str(service.model_path) if service.model_path else None,
        "state": stats.state,
        "rss_bytes": stats.rss_bytes,
        "restarts": stats.restarts,
        "running": service.running,
        "waiting": service.waiting,
        "config": service.traits,
    }


async def _forget(llm: Service, session: str) -> None:
    llm.prompts.pop(session, None)
    if not llm.ready:
        return
    with suppress(ServeError, TimeoutError):
        async with asyncio.timeout(_FORGET_S):
            async with llm.call("forget", {"session": session}, place=Place(Priority.LIVE)) as answers:
                await answers.finish()


def availability() -> dict[Backend, str | None]:
    """Every engine and why it cannot run here; None where it can."""
    return {candidate: candidate.missing() for candidate in BACKENDS}


def _first_line(reason: str) -> str:
    return next(iter(reason.splitlines()), "")


def _not_started(kind: Kind, reason: str) -> ServeError:
    message = f"{kind} did not start: {reason}. When that is mended, send switch_model or reload_models"
    return ServeError(UNAVAILABLE[kind], message, retryable=False)
