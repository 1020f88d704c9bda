"""Several workers with one model, behind the interface of one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from model_worker.backoff import Backoff
from model_worker.calls import CallCarrier, CallStream
from model_worker.frames import Header
from model_worker.link import WorkerLink
from model_worker.memory import MemoryUse
from model_worker.spec import Priority, WorkerSpec, WorkerState, WorkerStats

_REMEMBERED: Final = 4096
_BEST_FIRST: Final[tuple[WorkerState, ...]] = ("ready", "starting", "restarting", "failed", "stopped")


class WorkerPool:
    """Replicas of one worker. A call goes to the one that has least to do; when one dies the others go on.

    What keeps state in a worker stays with it: calls with the same `stream` in their arguments (an utterance that is
    being heard) always, those with the same `session` (its prefix cache) unless that worker is full and another is not.
    """

    def __init__(self, spec: WorkerSpec, *, replicas: int, backoff: Callable[[], Backoff] = Backoff) -> None:
        if replicas < 1:
            raise ValueError(f"a pool of {replicas} workers {spec.name} serves nobody; it takes 1 or more")
        self.spec = spec
        self.on_state_change: Callable[[WorkerState], None] | None = None
        """Called with each new state of the whole, on the event loop; must not block."""
        self.members = tuple(WorkerLink(spec, backoff=backoff(), on_state_change=self._look) for _ in range(replicas))
        self._homes: OrderedDict[tuple[str, str], WorkerLink] = OrderedDict()
        self._changed = asyncio.Event()
        self._state: WorkerState = "stopped"

    @property
    def state(self) -> WorkerState:
        """The best of the members' states: `ready` while one of them is."""
        return min((member.state for member in self.members), key=_BEST_FIRST.index)

    @property
    def reason(self) -> str:
        """Why no worker is ready, in words; empty when one is."""
        return min(self.members, key=lambda member: _BEST_FIRST.index(member.state)).reason

    async def start(self) -> None:
        """Starts one worker, then, its files cached and its settings proven, the others at once.

        Raises `WorkerUnavailable` when one cannot start; none is left running then.
        """
        first, *others = self.members
        starting: list[asyncio.Task[None]] = []
        try:
            await first.start()
            starting += [asyncio.create_task(member.start()) for member in others]
            await asyncio.gather(*starting)
        except BaseException:
            # The one that failed keeps its state and reason; the stop of the others ends their starts.
            await asyncio.gather(*(member.stop(drain_s=0) for member in self.members if member.state != "failed"))
            await asyncio.gather(*starting, return_exceptions=True)
            raise

    async def stop(self, *, drain_s: float = 5.0) -> int | None:
        """Stops all, at the same time. The first member's exit status; None if one had none (`WorkerLink.stop`)."""
        self._homes.clear()
        statuses = await asyncio.gather(*(member.stop(drain_s=drain_s) for member in self.members))
        return None if None in statuses else statuses[0]

    def call(
        self,
        method: str,
        args: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        priority: Priority = Priority.FINAL,
        deadline_s: float | None = None,
    ) -> CallStream:
        """As `WorkerLink.call`; the worker is chosen when the context is entered."""
        request = {"op": "call", "method": method, "args": args or {}, "priority": int(priority)}

        async def acquire() -> CallCarrier:
            return await (await self._member_for(args or {})).take_call()

        return CallStream(acquire, request, body, deadline_s=deadline_s or self.spec.call_deadline_s)

    async def request(
        self,
        method: str,
        args: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        priority: Priority = Priority.FINAL,
        deadline_s: float | None = None,
    ) -> tuple[Header, bytes]:
        """As `WorkerLink.request`."""
        async with self.call(method, args, body, priority=priority, deadline_s=deadline_s) as stream:
            return await stream.finish()

    def stats(self) -> WorkerStats:
        """Sums over the members; `pid` is that of the first which has one."""
        every = [member.stats() for member in self.members]
        return replace(
            next((one for one in every if one.pid is not None), every[0]),
            state=self.state,
            rss_bytes=sum(one.rss_bytes for one in every),
            peak_rss_bytes=sum(one.peak_rss_bytes for one in every),
            calls_started=sum(one.calls_started for one in every),
            calls_in_flight=sum(one.calls_in_flight for one in every),
            queue_depth=sum(one.queue_depth for one in every),
            restarts=sum(one.restarts for one in every),
        )

    async def memory(self) -> MemoryUse | None:
        """Sums over the members; None when none runs. Weights that they share count once in `pss_bytes`."""
        every = [use for use in await asyncio.gather(*(member.memory() for member in self.members)) if use is not None]
        if not every:
            return None
        return MemoryUse(
            rss_bytes=sum(use.rss_bytes for use in every),
            pss_bytes=sum(use.pss_bytes for use in every),
            uss_bytes=sum(use.uss_bytes for use in every),
            peak_rss_bytes=sum(use.peak_rss_bytes for use in every),
            pids=tuple(pid for use in every for pid in use.pids),
        )

    async def _member_for(self, args: Mapping[str, Any]) -> WorkerLink:
        """The worker for a call, waited for where none is ready but one is coming."""
        await self._one_ready()
        ready = [member for member in self.members if member.can_take_call] or list(self.members)
        idlest = min(ready, key=lambda member: member.calls_in_flight)
        for name in ("stream", "session"):
            value = args.get(name)
            if value is None:
                continue
            key = (name, str(value))
            home = self._homes.pop(key, None)
            full = home is not None and home.calls_in_flight >= self.spec.concurrency > idlest.calls_in_flight
            if home is None or home not in ready or (full and name == "session"):
                home = idlest
            self._homes[key] = home
            while len(self._homes) > _REMEMBERED:
                self._homes.popitem(last=False)
            return home
        return idlest

    async def _one_ready(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.spec.ready_wait_s):
                while not any(member.can_take_call for member in self.members):
                    if self.state in ("failed", "stopped"):
                        break
                    await self._changed.wait()

    def _look(self, _: WorkerState) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        state = self.state
        if state != self._state:
            self._state = state
            if self.on_state_change is not None:
                self.on_state_change(state)
