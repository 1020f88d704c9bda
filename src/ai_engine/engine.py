"""The engine: owns Asterisk's events, the media loop, providers and calls, from start to graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog

from ai_engine.admission import Admission
from ai_engine.asterisk import channels
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.dispatch import Dispatcher
from ai_engine.asterisk.errors import AriError, AriReplaced, AriUnauthorized
from ai_engine.asterisk.events import Channel, Event, StasisStart, UserEvent
from ai_engine.asterisk.ids import OwnIds, instance_of
from ai_engine.asterisk.peers import Peers
from ai_engine.asterisk.reconcile import Fallback, reconcile
from ai_engine.asterisk.subscription import SubscriptionCheck
from ai_engine.asterisk.survivors import DEAD_AFTER_S, Survivors
from ai_engine.call_report import CallReport
from ai_engine.call_services import CallServices, Outcome
from ai_engine.config_file import ConfigError
from ai_engine.contexts import load_contexts
from ai_engine.conversation.embedding import EmbedderUnavailable
from ai_engine.conversation.embedding_worker import EmbeddingWorker
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.conversation.semantic_end_of_turn import SmartTurnWorker
from ai_engine.conversation_section import conversation_settings
from ai_engine.history_setup import make_history
from ai_engine.http_api import HttpApi, Readiness
from ai_engine.live_events import LiveEvents
from ai_engine.media.agent_level import VoiceLevels
from ai_engine.media.echo import guards_for
from ai_engine.media.line_registry import LineParts, lines_from
from ai_engine.media.pacer import MediaLoop, prefer_this_thread, settle_interpreter
from ai_engine.media.ports import RtpPorts
from ai_engine.messages.desk import make_desk
from ai_engine.messages.spool import Spool
from ai_engine.metrics import Metrics
from ai_engine.providers.clients import SharedClients
from ai_engine.providers.provider import ProviderError
from ai_engine.providers.registry import make_factory
from ai_engine.providers.server_fleet import ServerFleet
from ai_engine.providers.services import ProviderFactory, Services
from ai_engine.reception import Reception
from ai_engine.recording_setup import announced, check_action, make_recorder
from ai_engine.settings import Settings
from ai_engine.tools.call_hooks import AfterCalls
from ai_engine.tools.registry import Toolbox, ToolServices
from speech_detection.detector import SpeechDetector
from voice_wire.audio import AudioFormat

log = structlog.get_logger(__name__)

FAREWELL_S: Final = 8.0
"""Kept of `stop_deadline_s` for farewells to be said and heard."""
PREPARE_RETRY_S: Final = 3.0
FIGURES_EVERY_S: Final = 5.0


class Engine:
    """Made from settings; `run` until told to stop. Raises `ConfigError` for what cannot work."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tool_clients = SharedClients()
        self._toolbox = Toolbox(settings.tools, ToolServices(settings.environment, self._tool_clients))
        self._contexts = announced(load_contexts(settings.contexts_folder, self._toolbox), settings.recording)
        if settings.calls.default_context not in self._contexts:
            raise ConfigError(
                f"calls.default_context: {settings.contexts_folder} has no {settings.calls.default_context}.yaml; "
                f"there are {', '.join(sorted(self._contexts))}"
            )
        for name, context in self._contexts.items():
            if context.provider not in settings.providers:
                raise ConfigError(
                    f"{settings.contexts_folder / name}.yaml: provider {context.provider!r} is not among the "
                    f"configured ones: {', '.join(sorted(settings.providers))}"
                )
        asterisk = settings.asterisk
        self.metrics = Metrics()
        self.live = LiveEvents()
        self._recorder = make_recorder(self._contexts, settings.recording, self.metrics)
        self._ari = AriClient(
            asterisk.base_url, asterisk.username, asterisk.password.get_secret_value(), asterisk.app
        )  # fmt: skip
        # The instance is the application's name: the engine that comes after this one must know its leftovers.
        self._ids = OwnIds(instance_of(asterisk.app))
        self._media = MediaLoop()
        self._detector = SpeechDetector(
            settings.models_folder / "vad" / "silero_vad.onnx", self._media.post, prepare_thread=prefer_this_thread
        )
        echo_choices = {settings.media.echo, *(line.echo for line in settings.media.line_profiles.values())}
        self._guard_echo = {choice: guards_for(choice) for choice in echo_choices}
        ports = settings.media.ports
        self._ports = RtpPorts(ports.first, ports.last, host=settings.media.bind)
        self._after_calls = AfterCalls(self._spool("after-calls"), on_done=self._delivered)
        self._messages = make_desk(settings, self._spool("messages"), self._delivered)
        self._history = make_history(settings, self.metrics, self._delete_of_call)
        self._http = HttpApi(
            self,
            self.metrics,
            self.live,
            bind=settings.http.bind,
            port=settings.http.port,
            token=settings.http.token.get_secret_value(),
            more=self._history.pages.add_to if self._history is not None else None,
        )
        self._fallback = Fallback(asterisk.fallback_context, asterisk.fallback_extension, 1)
        limits = settings.calls
        self._reception = Reception(
            self._ari,
            Admission(limits.max_concurrent, limits.when_full, limits.max_messages),
            self.metrics,
            fallback=self._fallback,
            ports_left=self._ports_left,
            spawn=self._spawn,
        )
        self._calls = self._reception.calls
        self._subscription = SubscriptionCheck(self._ari, on_lost=self.metrics.resubscriptions.inc)
        self._survivors = Survivors(
            self._ari,
            Peers(asterisk.app, asterisk.peers, dead_after_s=DEAD_AFTER_S),
            room=lambda: self._reception.room,
            fallback=self._fallback,
            on_rescued=lambda how: self.metrics.callers_rescued.labels(how).inc(),
        )
        self._dispatcher = Dispatcher(
            self._reception.on_new_channel,
            on_failure=lambda key, error: log.error("call_events_failed", channel=key, error=repr(error)),
            is_ours=self._ids.is_ours,
            on_stray=self._destroy_stray,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._factories: dict[str, ProviderFactory] = {}
        self._unprepared = dict.fromkeys(self._contexts, Readiness("not prepared yet"))
        """Context → why it is not ready; absent once it is."""
        self._rendered_formats = {(name, settings.media.line.audio_format) for name in self._contexts}
        self._http_port = 0
        self._local_servers: ServerFleet | None = None
        """None until the services are made."""

    # --- life -------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Serve until `stop`; then no new calls, and `stop_deadline_s` for the live ones. `hurry`: farewells now.

        Raises `OSError` when the HTTP port is taken and `WorkerError` kinds when a worker cannot run at all.
        """
        async with AsyncExitStack() as owned:
            if self._history is not None:
                owned.push_async_callback(self._history.stop)  # after the pages that read it
            self._http_port = await self._http.start()
            owned.push_async_callback(self._http.stop)
            if self._history is not None:
                await self._history.start()
            if self._recorder is not None:
                self._recorder.start()
                owned.push_async_callback(asyncio.to_thread, self._recorder.stop)
            self._media.start()
            owned.callback(self._media.stop)
            self._detector.start()
            owned.callback(self._detector.stop)
            embedder = await self._start_embedder(owned)
            self._reception.services = await self._make_services(owned, embedder, await self._start_turn_ending(owned))
            await owned.enter_async_context(self._ari)
            owned.push_async_callback(self._end_tasks)
            owned.push_async_callback(self._dispatcher.close)
            self._spawn(self._prepare_contexts(), "prepare")
            self._spawn(self._keep_figures(), "figures")
            self._spawn(self._ari.run(self._on_event, self._on_connected, self._on_disconnected), "asterisk-events")
            self._spawn(self._subscription.run(), "asterisk-subscription")
            self._spawn(self._survivors.run(), "asterisk-survivors")
            log.info("engine_started", http_port=self._http_port, app=self._ari.app, contexts=sorted(self._contexts))
            await stop.wait()
            await self._drain(hurry)
        log.info("engine_stopped")

    async def _drain(self, hurry: asyncio.Event) -> None:
        """No new calls; live ones finish by themselves, or get a farewell in time, or are sent on."""
        self._reception.stopping = True
        deadline_s = self._settings.calls.stop_deadline_s
        log.info("engine_stopping", calls=len(self._calls), deadline_s=deadline_s)
        await self._calls_ended(max(0.0, deadline_s - FAREWELL_S), hurry)
        for call in tuple(self._calls.values()):
            call.say_farewell()
        await self._calls_ended(min(FAREWELL_S, deadline_s))
        for call in tuple(self._calls.values()):
            call.finish(Outcome.FELL_BACK)
        await self._calls_ended(5.0)

    def _spool(self, kind: str) -> Spool:
        """Of this engine alone: others may share the folder."""
        return Spool(self._settings.outbox_folder / self._ids.instance / kind)

    def _delivered(self, tool: str, how: str) -> None:
        self.metrics.after_calls.labels(tool, how).inc()

    def _delete_of_call(self, call_id: str) -> int:
        """What of a call lies elsewhere than in the history; returns the files of messages. Blocks."""
        self._after_calls.delete_call(call_id)
        return self._messages.delete_call(call_id) if self._messages is not None else 0

    def _report(self, call_id: str) -> CallReport:
        notes = self._history.notes(call_id) if self._history is not None else None
        return CallReport(call_id, self.metrics, self.live, notes)

    async def _calls_ended(self, timeout_s: float, hurry: asyncio.Event | None = None) -> None:
        """Wait until no call is left, for `timeout_s` at the most, or until hurried."""
        deadline = time.monotonic() + timeout_s
        while not self._reception.empty and time.monotonic() < deadline and not (hurry and hurry.is_set()):  # noqa: ASYNC110 - three ends
            await asyncio.sleep(0.05)

    async def _start_embedder(self, owned: AsyncExitStack) -> EmbeddingWorker | None:
        known_by_heart = any(context.known_answers.pairs for context in self._contexts.values())
        tools = [tool for context in self._contexts.values() for tool in self._toolbox.allowed(context.tools)]
        if not known_by_heart and not any(tool.spec.said for tool in tools):
            return None
        embedder = EmbeddingWorker()
        owned.push_async_callback(embedder.stop)
        try:
            await embedder.start()
        except EmbedderUnavailable as error:
            if known_by_heart:
                raise
            log.warning("tools_not_chosen_by_words", reason=str(error))  # the language model chooses
            return None
        return embedder

    async def _start_turn_ending(self, owned: AsyncExitStack) -> SmartTurnWorker | None:
        chosen = self._settings.end_of_turn
        if chosen.model == "none":
            return None
        worker = SmartTurnWorker(self._settings.models_folder, deadline_s=chosen.deadline_ms / 1000)
        owned.push_async_callback(worker.stop)
        await worker.start()
        return worker

    async def _make_services(
        self, owned: AsyncExitStack, embedder: EmbeddingWorker | None, turn_ending: SmartTurnWorker | None
    ) -> CallServices:
        settings = self._settings
        shared = Services(
            local_url=settings.local.url,
            local_token=settings.local.token.get_secret_value(),
            rendered=RenderedSpeech(settings.state_folder / "rendered"),
            embedder=embedder,
            environment=settings.environment,
            on_fallback=lambda component, member: self.metrics.fallbacks.labels(component, member).inc(),
        )
        owned.push_async_callback(shared.clients.close)
        self._local_servers = shared.local_servers().fleet
        self.metrics.watch_local_servers(self._local_servers)
        owned.push_async_callback(self._tool_clients.close)
        owned.push_async_callback(self._toolbox.stop)
        owned.push_async_callback(self._after_calls.stop)
        if self._messages is not None:
            owned.push_async_callback(self._messages.stop)
        await self._toolbox.start()
        await self._after_calls.resume(self._toolbox.after_call_hook)
        if self._messages is not None:
            await self._messages.start(self._toolbox.message_taker)
        self._factories = {
            name: make_factory(name, provider.kind, provider.options, shared)
            for name, provider in settings.providers.items()
        }
        sources = frozenset({*await _addresses(settings.asterisk.host), *settings.media.allowed_sources})
        lines = lines_from(LineParts(settings, self._media, self._ports, sources))
        owned.push_async_callback(lines.stop)
        await lines.start(settings.media.transport)
        return CallServices(
            ari=self._ari,
            ids=self._ids,
            media=self._media,
            detector=self._detector,
            lines=lines,
            line=settings.media.line,
            line_profiles=settings.media.line_profiles,
            contexts=self._contexts,
            default_context=settings.calls.default_context,
            factories=self._factories,
            conversation=conversation_settings(settings.conversation),
            fallback=self._fallback,
            answer_timeout_s=settings.calls.answer_timeout_s,
            report=self._report,
            toolbox=self._toolbox,
            after_calls=self._after_calls,
            messages=self._messages,
            turn_ending=turn_ending,
            recorder=self._recorder,
            voice_levels=VoiceLevels(settings.media.agent_level_dbfs),
            guard_echo=self._guard_echo,
            format_used=self._format_used,
        )

    async def _prepare_contexts(self) -> None:
        """Render what can be said ahead of any call, the default context first; again until it succeeds."""
        default = self._settings.calls.default_context
        order = sorted(self._contexts, key=lambda name: name != default)
        audio_format = self._settings.media.line.audio_format
        for name in order:
            context = self._contexts[name]
            while name in self._unprepared:
                try:
                    await self._factories[context.provider].prepare(name, context, audio_format, self._progress(name))
                except ProviderError as error:
                    if self._unprepared[name].reason != str(error):
                        log.warning("context_not_prepared", context=name, error=str(error))
                    self._unprepared[name] = Readiness(str(error), retryable=error.retryable)
                    await asyncio.sleep(PREPARE_RETRY_S)
                else:
                    del self._unprepared[name]
                    log.info("context_prepared", context=name)
        settle_interpreter()

    def _format_used(self, name: str, audio_format: AudioFormat) -> None:
        """A call with this context has this format: render in it too. Until that is done what there is is converted."""
        if (name, audio_format) not in self._rendered_formats:
            self._rendered_formats.add((name, audio_format))
            self._spawn(self._prepare_also(name, audio_format), f"prepare-{name}-again")

    async def _prepare_also(self, name: str, audio_format: AudioFormat) -> None:
        """Once nobody calls: rendering takes the processor from the answers of live calls."""
        while self._unprepared or self._calls:  # noqa: ASYNC110 - not worth two events
            await asyncio.sleep(PREPARE_RETRY_S)
        context, rate_hz = self._contexts[name], audio_format.sample_rate_hz
        try:
            await self._factories[context.provider].prepare(name, context, audio_format)
        except ProviderError as error:
            self._rendered_formats.discard((name, audio_format))  # the next such call tries again
            log.warning("context_not_prepared", context=name, rate_hz=rate_hz, error=str(error))
        else:
            log.info("context_prepared", context=name, rate_hz=rate_hz)

    def _progress(self, name: str) -> Any:
        def note(done: int, total: int, _text: str) -> None:
            self._unprepared[name] = Readiness(f"rendering what it says: {done} of {total}")

        return note

    # --- Asterisk ---------------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if isinstance(event, UserEvent):
            self._subscription.heard(event)
            self._survivors.heard(event)
            return
        if isinstance(event, StasisStart):
            self._survivors.arrived(event.channel.id)
        self._dispatcher.dispatch(event)

    async def _on_connected(self) -> None:
        self.metrics.ari_connected.set(1)
        self.metrics.ari_reconnects.inc()
        await self._survivors.say_alive()
        await reconcile(
            self._ari,
            live_calls=self._reception.live_calls,
            ours_prefix=self._ids.prefix,
            new_call=self._dispatcher.announce,
            end_call=self._reception.end_call,
            call_broken=self._reception.call_broken,
            accept_new=not self._reception.stopping,
            fallback=self._fallback,
        )

    async def _on_disconnected(self, error: AriError) -> None:
        self.metrics.ari_connected.set(0)
        log.warning("asterisk_lost", error=str(error), calls=len(self._calls))
        if isinstance(error, AriReplaced):
            self._reception.give_all_up()

    def _ports_left(self) -> int | None:
        """None where another transport than RTP is the usual one: then calls need no port of their own."""
        return self._ports.size - self._ports.in_use if self._settings.media.transport == "rtp" else None

    def _destroy_stray(self, channel: Channel) -> None:
        async def destroy() -> None:
            with contextlib.suppress(AriError):
                await channels.hangup(self._ari, channel.id)

        self._spawn(destroy(), f"stray-{channel.id}")

    # --- what the pages ask -----------------------------------------------------------------------------------------

    def ready(self) -> Readiness:
        if self._reception.stopping:
            return Readiness("stopping", retryable=False)
        if not self._ari.connected:
            error = self._ari.last_error
            return Readiness(str(error or "connecting to Asterisk"), retryable=not isinstance(error, AriUnauthorized))
        if not self._subscription.works:
            return Readiness(f"Asterisk tells nothing of the Stasis application {self._ari.app!r}; connecting anew")
        default = self._settings.calls.default_context
        if (unprepared := self._unprepared.get(default)) is not None:
            return Readiness(f"context {default}: {unprepared.reason}", retryable=unprepared.retryable)
        return Readiness()

    def health(self) -> dict[str, Any]:
        figures = self._media.figures()
        readiness = self.ready()
        return {
            "status": "ok" if readiness else "degraded",
            "reason": readiness.reason,
            "calls": len(self._calls),
            "max_calls": self._settings.calls.max_concurrent,
            "asterisk": {
                "connected": self._ari.connected,
                "app": self._ari.app,
                "subscribed": self._ari.connected and self._subscription.works,
                "peers": self._survivors.states(),
            },
            "room": self._reception.room,
            "local_servers": self._local_servers.describe() if self._local_servers is not None else [],
            "media": {
                "ports_in_use": self._ports.in_use,
                "ports": self._ports.size,
                "late_ticks": figures.late_ticks,
                "skipped_ticks": figures.skipped_ticks,
                "gap_p99_ms": round(figures.gap_p99_ms, 2),
                "busy_share": round(figures.busy_share, 4),
            },
            "contexts": {name: self._unprepared.get(name, Readiness("ready")).reason for name in self._contexts},
        }

    def sessions(self) -> list[dict[str, Any]]:
        return [call.describe() for call in self._calls.values()]

    async def record(self, call_id: str, action: str) -> str | None:
        return await self._calls[call_id].record(check_action(action))

    # --- tasks ------------------------------------------------------------------------------------------------------

    async def _keep_figures(self) -> None:
        while True:
            self.metrics.ports_in_use.set(self._ports.in_use)
            self.metrics.peers_alive.set(sum(self._survivors.states().values()))
            self.metrics.late_ticks.set(self._media.figures().late_ticks)
            await asyncio.sleep(FIGURES_EVERY_S)

    def _spawn(self, coroutine: Any, name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task_failed", task=task.get_name(), exc_info=error)

    async def _end_tasks(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _addresses(host: str) -> set[str]:
    """The addresses Asterisk's media may come from: those its name stands for."""
    with contextlib.suppress(ValueError):
        return {str(ipaddress.ip_address(host))}
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise ConfigError(f"asterisk.host: {host!r} cannot be looked up: {error}") from None
    return {str(entry[4][0]) for entry in found}
