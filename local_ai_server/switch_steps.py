"""The steps of one switch, and what is told of them: load, route, drain, stop, and start the old again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from local_ai_server.backends.backend import Kind, Plan
from local_ai_server.service import Service
from local_ai_server.switch_request import Target
from model_worker.errors import WorkerError, WorkerUnavailable
from model_worker.memory import group_rss_bytes
from voice_wire.messages import ErrorCode, SwitchProgress
from voice_wire.switching import SwitchStage

log = structlog.get_logger(__name__)

OnProgress = Callable[[SwitchProgress], None]
_GONE_LOOKS: Final = 100
_GONE_PAUSE_S: Final = 0.05
"""A killed process whose memory the kernel still unmaps goes within five seconds."""


class SwitchError(Exception):
    """The switch did not take place; the message says why and what serves now."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code


class Board(Protocol):
    """Where requests look up what serves them: `local_ai_server.switchboard.Switchboard`."""

    def find(self, kind: Kind) -> Service | None: ...

    def plan(self, target: Target) -> Plan:
        """How it is loaded; called in a thread. Raises `BackendUnusable`."""

    def build(self, target: Target, plan: Plan, *, idle: bool) -> Service:
        """Its service, not started; `idle`: it gives way to others while it loads."""

    def assign(self, kind: Kind, service: Service) -> Service | None:
        """From now on `service` serves `kind`. What did before."""

    def withdraw(self, kind: Kind) -> None:
        """Nothing serves `kind`, as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchOptions:
    """How a switch is done."""

    stop_then_start: bool = False
    dry_run: bool = False
    even_if_same: bool = False
    """A reload."""
    drain_s: float = 10.0
    """How long the old worker may finish its requests."""


@dataclass(slots=True)
class Outcome:
    """What a switch did, or would do."""

    candidates: int = 0
    """Kinds that it concerned; 0: all was so already."""
    changed: list[str] = field(default_factory=list)
    message: str = ""
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes: `needed`, `free` and `reserve` before it; `old_rss_before` and `old_rss_after` it."""
    stages: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Candidate:
    """One kind's new service, and the one in whose place it comes."""

    kind: Kind
    service: Service
    old: Service | None

    def says(self) -> str:
        return f"{self.kind}: {self.service.backend.name} with {self.service.model_name}"


class SwitchSteps:
    """The steps of one switch, and what is told of them."""

    def __init__(
        self, board: Board, options: SwitchOptions, on_progress: OnProgress, *, clock: Callable[[], float]
    ) -> None:
        self.options = options
        self.memory: dict[str, int] = {}
        self._board = board
        self._on_progress = on_progress
        self._clock = clock
        self._began = clock()
        self._stages: list[dict[str, Any]] = []
        self._notes: list[str] = []

    def tell(self, kind: Kind, stage: SwitchStage, message: str = "") -> None:
        ms = round(1000 * (self._clock() - self._began), 1)
        self._stages.append({"backend_type": kind, "stage": stage, "ms": ms})
        self._on_progress(SwitchProgress(backend_type=kind, stage=stage, message=message, elapsed_ms=ms))

    def report(self, candidates: Sequence[Candidate], *, would: bool = False) -> Outcome:
        changed = [name for candidate in candidates for name in _changed(candidate)]
        says = "; ".join(candidate.says() for candidate in candidates)
        if not candidates:
            message = "all of it is so already"
        elif would:
            message = f"would serve {says}; nothing was changed"
        else:
            message = ". ".join([f"serves {says}", *self._notes])
        return Outcome(len(candidates), changed, message, self.memory, self._stages)

    async def load(self, candidates: Sequence[Candidate]) -> None:
        """Starts all of them; if one cannot, none is left. Raises `SwitchError`."""
        ready = False
        try:
            for candidate in candidates:
                await self._start(candidate.kind, candidate.service)
            for candidate in candidates:
                await self._warm(candidate)
            _check_ready(candidates)
            ready = True
        except WorkerUnavailable as error:
            kind = next(c.kind for c in candidates if not c.service.ready)
            self.tell(kind, "failed", str(error).splitlines()[0])
            serving = "the old model goes on" if any(c.old for c in candidates) else "nothing was changed"
            raise SwitchError("switch_failed", f"{kind}: {error}; {serving}") from error
        finally:
            if not ready:
                await _stop_all([candidate.service for candidate in candidates])

    async def hot(self, candidates: Sequence[Candidate]) -> None:
        """The loaded services take over."""
        await self._route(candidates)
        for candidate in candidates:
            self.tell(candidate.kind, "done")

    async def _route(self, candidates: Sequence[Candidate]) -> None:
        """New requests go to the new services; returns when the old ones have ended."""
        for candidate in candidates:
            self._take_over(candidate)
        async with asyncio.TaskGroup() as ending:
            for candidate in candidates:
                ending.create_task(self._end_old(candidate))

    async def stop_then_start(self, candidates: Sequence[Candidate]) -> None:
        """Raises `SwitchError`; the old models then serve again."""
        for candidate in candidates:
            candidate.service.queue.hold()
        try:
            await self._route(candidates)
            for candidate in candidates:
                await self._start(candidate.kind, candidate.service)
        except WorkerUnavailable as error:
            kind = next(c.kind for c in candidates if not c.service.ready)
            self.tell(kind, "failed", str(error).splitlines()[0])
            ends = await self._roll_back(candidates)
            raise SwitchError("switch_failed", f"{kind}: {error}; {ends}") from error
        except asyncio.CancelledError:
            await _stop_all([candidate.service for candidate in candidates])
            raise
        for candidate in candidates:
            candidate.service.queue.open()
            self.tell(candidate.kind, "done")

    async def _start(self, kind: Kind, service: Service) -> None:
        self.tell(kind, "loading", f"{service.backend.name} with {service.model_name}")
        await service.link.start()

    async def _warm(self, candidate: Candidate) -> None:
        """The new language model reads the prompts of the sessions that talk, so that their next answer is not late."""
        if candidate.kind != "llm" or candidate.old is None or not candidate.old.prompts:
            return
        prompts = dict(candidate.old.prompts)
        self.tell("llm", "warming", f"reads the prompts of {len(prompts)} sessions")
        for session, messages in prompts.items():
            if session not in candidate.old.prompts:
                continue  # it has ended meanwhile
            with suppress(WorkerError):  # a prompt that it cannot read is its session's matter
                async with candidate.service.link.call("warm", {"messages": messages, "session": session}) as answers:
                    await answers.finish()
            if session in candidate.old.prompts:
                candidate.service.prompts[session] = messages

    def _take_over(self, candidate: Candidate) -> None:
        self.tell(candidate.kind, "routing")
        candidate.old = self._board.assign(candidate.kind, candidate.service)
        if candidate.old is not None:
            candidate.old.retire(candidate.service)

    async def _end_old(self, candidate: Candidate) -> None:
        old, kind = candidate.old, candidate.kind
        if old is None:
            return
        stats = old.link.stats()
        try:
            self.tell(kind, "draining", f"{old.running} requests at work")
            async with asyncio.timeout(self.options.drain_s):
                await old.drained()
        except TimeoutError:
            self._notes.append(f"{kind}: {old.running} requests outlasted the {self.options.drain_s:g} s they had")
        finally:
            self.tell(kind, "stopping")
            await old.link.stop(drain_s=0.0)
        left = await _memory_left(stats.pid)
        self.memory["old_rss_after"] = self.memory.get("old_rss_after", 0) + left
        if left:
            self._notes.append(f"{kind}: the old worker (pid {stats.pid}) would not end")
            log.error("old_worker_still_there", kind=kind, pid=stats.pid, rss_bytes=left)

    async def _roll_back(self, candidates: Sequence[Candidate]) -> str:
        """Starts what served before; requests that wait go there. What became of it, in words."""
        await _stop_all([candidate.service for candidate in candidates])
        ends = []
        for candidate in candidates:
            kind, failed, old = candidate.kind, candidate.service, candidate.old
            if old is None:
                failed.queue.open()  # who waits there learns why nothing serves
                self._board.withdraw(kind)
                continue
            again = self._board.build(Target(backend=old.backend, options=old.options), old.plan, idle=False)
            again.queue.hold()
            self._board.assign(kind, again)
            failed.retire(again)
            try:
                await again.link.start()
            except WorkerUnavailable as error:
                ends.append(f"{kind}: the old model could not be started again: {error}")
            else:
                self.tell(kind, "rolled_back")
                ends.append(f"{kind}: the old model serves again")
            finally:
                again.queue.open()
        return "; ".join(ends) or "nothing serves it now"


def _check_ready(candidates: Sequence[Candidate]) -> None:
    """One that was loaded may have ended while the others were."""
    for candidate in candidates:
        if not candidate.service.ready:
            raise WorkerUnavailable(candidate.service.link.reason)


async def _stop_all(services: Sequence[Service]) -> None:
    async with asyncio.TaskGroup() as stopping:
        for service in services:
            stopping.create_task(service.link.stop(drain_s=0.0))


async def _memory_left(pid: int | None) -> int:
    """Resident bytes of a worker that is to have ended, and of what it started: 0 once they have."""
    left = 0
    for _ in range(_GONE_LOOKS):
        left = group_rss_bytes(pid) if pid is not None else 0
        if not left:
            break
        await asyncio.sleep(_GONE_PAUSE_S)
    return left


def _changed(candidate: Candidate) -> list[str]:
    """Names of the `switch_model` fields whose values are other than before."""
    kind, new, old = candidate.kind, candidate.service, candidate.old
    if old is None or old.backend.name != new.backend.name:
        return [f"{kind}_backend", f"{kind}_model_path"]
    fields = type(new.options).model_fields
    other = [name for name in fields if getattr(new.options, name) != getattr(old.options, name, None)]
    return [f"{kind}_model_path" if name == "model_path" else f"{kind}_config.{name}" for name in other]
