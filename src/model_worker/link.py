"""The parent's side of a worker: starts it, sends it calls, and brings it back when it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

from model_worker.backoff import Backoff
from model_worker.calls import CallStream
from model_worker.errors import CallTimedOut, WorkerDied, WorkerError, WorkerUnavailable
from model_worker.frames import Header
from model_worker.memory import MemoryUse, group_memory
from model_worker.process import WorkerProcess
from model_worker.spec import Priority, WorkerSpec, WorkerState, WorkerStats

log = structlog.get_logger(__name__)

_UNLOAD_GRACE_S: Final = 1.0


class WorkerLink:
    """One model in one process, supervised.

        link = WorkerLink(spec)
        await link.start()
        async with link.call("speak", {"text": text}) as stream:
            async for header, body in stream:
                ...
        await link.stop()

    When the process crashes, closes its socket, sends garbage or hangs, what is in flight gets `WorkerDied` and a new
    process is started after a growing delay; it is `ready` when its model has loaded and its canary has sung.
    Use it from one event loop.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
        on_state_change: Callable[[WorkerState], None] | None = None,
    ) -> None:
        self.spec = spec
        self.on_state_change = on_state_change
        """Called with each new state, on the event loop; must not block."""
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._state: WorkerState = "stopped"
        self._reason = "it was not started"
        self._process: WorkerProcess | None = None
        self._starting: asyncio.Task[WorkerProcess] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._calls_started = 0
        self._restarts = 0

    @property
    def state(self) -> WorkerState:
        """`stopped` until `start`."""
        return self._state

    @property
    def reason(self) -> str:
        """Why the worker is not ready, in words; empty when it is."""
        return self._reason

    async def start(self) -> None:
        """Starts the process; returns when it is ready.

        Raises `WorkerUnavailable`, with the model's own words, when it cannot start, load or pass its canary: a missing
        file is not cured by trying again. `start` may be called again.
        """
        if self._state not in ("stopped", "failed"):
            raise RuntimeError(f"worker {self.spec.name} is {self._state} already")
        self._enter("starting", "it is starting")
        self._starting = asyncio.create_task(
            self._bring_up(idle_load_s=self.spec.idle_load_s), name=f"start {self.spec.name}"
        )
        try:
            self._process = await self._starting
        except (WorkerError, OSError) as error:
            self._enter("failed", str(error))
            raise WorkerUnavailable(f"worker {self.spec.name} could not start: {error}") from error
        except asyncio.CancelledError:
            if self.state != "starting":  # it was `stop` that cancelled, not our caller
                raise WorkerUnavailable(f"worker {self.spec.name} was stopped while it started") from None
            self._enter("stopped", "its start was cancelled")
            raise
        finally:
            self._starting = None
        self._backoff.ready(self._clock())
        self._enter("ready", "")
        self._supervisor = asyncio.create_task(self._supervise(), name=f"supervise {self.spec.name}")

    async def stop(self, *, drain_s: float = 5.0) -> int | None:
        """Takes no more calls, lets those in flight end for up to `drain_s`, then ends the process and its group.

        The process's exit status when it has verifiably gone; None when there was none, or it would not go (logged).
        """
        self._enter("stopped", "it was stopped")
        process, self._process = self._process, None
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait((self._starting,))
        if self._supervisor is not None:
            self._supervisor.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        if process is None:
            return None
        try:
            if not process.ended.done():
                with suppress(TimeoutError, WorkerError):
                    if process.calls_in_flight:
                        async with asyncio.timeout(drain_s):
                            await process.drained()
                    async with process.stream("unload", deadline_s=_UNLOAD_GRACE_S) as unload:
                        await unload.finish()
        finally:
            status = await process.end(gently=True)
            if status is None:
                log.error("worker_would_not_die", worker=self.spec.name, pid=process.pid)
        return status

    def call(
        self,
        method: str,
        args: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        priority: Priority = Priority.FINAL,
        deadline_s: float | None = None,
    ) -> CallStream:
        """A call whose answer is read chunk by chunk. Leaving its context cancels it."""
        request = {"op": "call", "method": method, "args": args or {}, "priority": int(priority)}
        return CallStream(self.take_call, request, body, deadline_s=deadline_s or self.spec.call_deadline_s)

    async def request(
        self,
        method: str,
        args: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        priority: Priority = Priority.FINAL,
        deadline_s: float | None = None,
    ) -> tuple[Header, bytes]:
        """A call whose answer is read as a whole: what the method returned, and all bytes it gave, joined."""
        async with self.call(method, args, body, priority=priority, deadline_s=deadline_s) as stream:
            return await stream.finish()

    async def probe(self, *, deadline_s: float = 1.0) -> Header:
        """What the process says of itself: `pid`, and how many calls are `waiting` and `running` in it.

        Its reading thread answers, at once, whatever the model is at. `CallTimedOut` means that native code holds the
        interpreter's lock, and cancels cannot be obeyed either.
        """
        process = await self._ready()
        async with process.stream("stats", deadline_s=deadline_s) as answer:
            return (await answer.finish())[0]

    def stats(self) -> WorkerStats:
        """The figures of this moment."""
        process = self._process if self._state == "ready" else None
        in_flight = process.calls_in_flight if process else 0
        return WorkerStats(
            state=self._state,
            pid=process.pid if process else None,
            rss_bytes=process.rss_bytes() if process else 0,
            calls_started=self._calls_started,
            calls_in_flight=in_flight,
            peak_rss_bytes=process.peak_rss_bytes() if process else 0,
            queue_depth=max(0, in_flight - self.spec.concurrency),
            restarts=self._restarts,
        )

    async def memory(self) -> MemoryUse | None:
        """What the process and the engines it started hold, shared pages told apart; None when there is no process."""
        process = self._process if self._state == "ready" else None
        return await asyncio.to_thread(group_memory, process.pid) if process else None

    @property
    def calls_in_flight(self) -> int:
        """Calls that the worker has not ended."""
        return self._process.calls_in_flight if self._process else 0

    @property
    def can_take_call(self) -> bool:
        """A call made now would not wait for a process."""
        return self._state == "ready" and not self._is_coming()

    async def take_call(self) -> WorkerProcess:
        """The process for one call, which is counted. Waits for one that is coming; raises `WorkerUnavailable`."""
        if self._state == "ready" and self._process is not None:
            self._process.give_up_if_stuck(newcomer=True)
        process = await self._ready()
        self._calls_started += 1
        return process

    async def _ready(self) -> WorkerProcess:
        """The process to send a call to; waits for one that is coming."""
        if self._is_coming():
            with suppress(TimeoutError):
                async with asyncio.timeout(self.spec.ready_wait_s):
                    while self._is_coming():
                        await self._changed.wait()
        if self._process is None or self._state != "ready":
            raise WorkerUnavailable(f"worker {self.spec.name} is {self._state}: {self._reason}")
        return self._process

    def _is_coming(self) -> bool:
        if self._state == "ready":  # it may have ended just now, before the supervisor had its turn
            return self._process is not None and self._process.ended.done()
        return self._state in ("starting", "restarting")

    async def _bring_up(self, *, idle_load_s: float = 0.0) -> WorkerProcess:
        """A process that has loaded its model and passed its canary. Whatever fails leaves no process behind."""
        process = await WorkerProcess.spawn(self.spec, idle_load_s=idle_load_s)
        try:
            await self._within(
                process, process.stream("load", args=self.spec.settings, deadline_s=self.spec.load_deadline_s)
            )
            if self.spec.canary is not None:
                method, args = self.spec.canary
                deadline_s = self.spec.canary_deadline_s
                await self._within(process, process.stream("call", method=method, args=args, deadline_s=deadline_s))
            if idle_load_s:
                await self._within(process, process.stream("lift", deadline_s=self.spec.canary_deadline_s))
            await self._within_memory(process)
        except CallTimedOut as error:
            await process.end()
            raise WorkerDied(str(error), process.stderr.lines()) from error
        except BaseException:
            await process.end()
            raise
        return process

    async def _within(self, process: WorkerProcess, call: CallStream) -> None:
        """Runs one call of the start; if the process ends first, its words are the error."""
        async with call:
            answer = asyncio.create_task(call.finish())
            try:
                await asyncio.wait((answer, process.ended), return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    await process.end()  # fails the call, with the last lines of stderr
                await answer
            finally:
                answer.cancel()
                await asyncio.wait((answer,))

    async def _within_memory(self, process: WorkerProcess) -> None:
        await process.look_at_memory()
        if process.ended.done():
            await process.end()
            raise process.death()

    async def _supervise(self) -> None:
        """Ends what has failed, starts what is to follow. Lives from the first `ready` to `stop`."""
        process = self._process
        while process is not None:
            reason = await asyncio.shield(process.ended)  # the future is the process's, whoever cancels us
            self._enter("restarting", f"it {reason} and is being restarted")
            await process.end()
            log.warning("worker_died", worker=self.spec.name, reason=reason, stderr=process.stderr.lines()[-5:])
            self._process = process = await self._replace()
            self._restarts += 1
            self._backoff.ready(self._clock())
            self._enter("ready", "")

    async def _replace(self) -> WorkerProcess:
        while True:
            await asyncio.sleep(self._backoff.next_delay_s(self._clock()))
            try:
                return await self._bring_up()
            except (WorkerError, OSError) as error:
                self._reason = f"its restart failed: {error}"
                log.warning("worker_restart_failed", worker=self.spec.name, reason=str(error))

    def _enter(self, state: WorkerState, reason: str) -> None:
        self._reason = reason
        if state == self._state:
            return
        self._state = state
        # Each waiter looks at the state anew: the event is only their bell.
        self._changed.set()
        self._changed = asyncio.Event()
        log.info("worker_state", worker=self.spec.name, state=state, reason=reason or None)
        if self.on_state_change is not None:
            self.on_state_change(state)
