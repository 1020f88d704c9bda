"""One backend in place of another while requests run.

Hot: the new worker loads and passes its canary beside the old one; then one assignment sends each new request to it,
the old one finishes what it has, is stopped, and its exit and memory are verified. What fails before the assignment
leaves everything as it was.

Stop then start, where both do not fit: requests wait in the new service's queue while the old worker is stopped and the
new one loads. If that fails, the old one is started again, and they wait for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from local_ai_server.backends.backend import BackendUnusable, Kind, Plan
from local_ai_server.backends.options import OptionsError
from local_ai_server.memory import MemoryFigures, NotEnoughMemory, check_memory, estimate_bytes, free_bytes
from local_ai_server.service import Service
from local_ai_server.switch_request import KINDS, Target
from local_ai_server.switch_steps import Board, Candidate, OnProgress, Outcome, SwitchError, SwitchOptions, SwitchSteps

log = structlog.get_logger(__name__)


class Switcher:
    """One switch at a time. `close` ends one that is at work and leaves no process of it behind."""

    def __init__(
        self,
        board: Board,
        *,
        reserve_bytes: int,
        free: Callable[[], int] = free_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._reserve_bytes = reserve_bytes
        self._free = free
        self._clock = clock
        self._job: asyncio.Task[Outcome] | None = None
        self._committed = False
        self._closed = False

    async def run(self, targets: Mapping[Kind, Target], options: SwitchOptions, on_progress: OnProgress) -> Outcome:
        """All of `targets` or none of them. Raises `SwitchError`.

        Cancelled before requests have been sent to the new worker, it undoes itself; after, it goes on without its
        caller.
        """
        if self._closed:
            raise SwitchError("switch_failed", "the server is stopping")
        if self._job is not None and not options.dry_run:
            raise SwitchError("switch_in_progress", "another switch is at work; try again when it has ended")
        work = SwitchSteps(self._board, options, on_progress, clock=self._clock)
        if options.dry_run:
            candidates = await self._prepare(targets, work)
            return work.report(candidates, would=True)
        self._committed = False
        job = self._job = asyncio.create_task(self._switch(targets, work), name="switch")
        job.add_done_callback(self._ended)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():  # it was `close`, not our caller
                raise SwitchError("switch_failed", "the server is stopping") from None
            if not self._committed:
                job.cancel()
                await asyncio.wait((job,))
            raise

    async def close(self) -> None:
        """Ends a switch at work."""
        self._closed = True
        if self._job is not None:
            self._job.cancel()
            await asyncio.wait((self._job,))

    def _ended(self, job: asyncio.Task[Outcome]) -> None:
        self._job = None
        if not job.cancelled() and (error := job.exception()) is not None:
            log.warning("switch_failed", error=str(error))

    async def _switch(self, targets: Mapping[Kind, Target], work: SwitchSteps) -> Outcome:
        candidates = await self._prepare(targets, work)
        if not candidates:
            return work.report(candidates)
        if work.options.stop_then_start:
            self._committed = True
            await work.stop_then_start(candidates)
        else:
            await work.load(candidates)
            self._committed = True
            await work.hot(candidates)
        report = work.report(candidates)
        log.info("switched", changed=report.changed, memory=report.memory)
        return report

    async def _prepare(self, targets: Mapping[Kind, Target], work: SwitchSteps) -> list[Candidate]:
        """What really is to change, if it can run here and fits. Raises `SwitchError`."""
        candidates = []
        needed = 0
        for kind in KINDS:
            if kind not in targets:
                continue
            target, old = targets[kind], self._board.find(kind)
            try:
                plan = await asyncio.to_thread(self._board.plan, target)
                needs = await asyncio.to_thread(estimate_bytes, plan)
            except OptionsError as error:
                raise SwitchError("invalid_message", f"{kind}: {error}") from None
            except (BackendUnusable, OSError) as error:
                raise SwitchError("backend_unavailable", f"{kind}: {error}") from None
            if not work.options.even_if_same and old is not None and _is_same(target, plan, old):
                continue
            needed += needs
            candidates.append(
                Candidate(kind, self._board.build(target, plan, idle=not work.options.stop_then_start), old)
            )
        if candidates:
            self._admit(candidates, needed, work)
        return candidates

    def _admit(self, candidates: Sequence[Candidate], needed: int, work: SwitchSteps) -> None:
        held = sum(candidate.old.link.stats().rss_bytes for candidate in candidates if candidate.old)
        figures = MemoryFigures(needed=needed, free=self._free(), reserve=self._reserve_bytes, held_by_old=held)
        work.memory |= {"needed": needed, "free": figures.free, "reserve": figures.reserve, "old_rss_before": held}
        try:
            check_memory(figures, stop_then_start=work.options.stop_then_start)
        except NotEnoughMemory as error:
            names = ", ".join(candidate.says() for candidate in candidates)
            raise SwitchError("not_enough_memory", f"{names}: {error}") from None


def _is_same(target: Target, plan: Plan, old: Service) -> bool:
    return (
        old.ready
        and old.backend is target.backend
        and (plan.load, plan.env, plan.threads, plan.concurrency)
        == (old.plan.load, old.plan.env, old.plan.threads, old.plan.concurrency)
    )
