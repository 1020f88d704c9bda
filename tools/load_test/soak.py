"""The test: cycles of short calls, a look at what is held after each, and what must be true at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.engine_events import EngineEvents
from tools.load_test.rig import KEPT_ALIVE, Holding, LoadRig, load_rig
from tools.load_test.sipp import PlannedCall, Way, plan_calls

GROWTH = 1.05
"""Memory after any later cycle, of that after the second: PERFORMANCE.md P8."""
_A_CALL_S = 10.0
"""Generous: the longest planned call, on a machine that does much else."""


@dataclass(slots=True)
class Cycle:
    """One cycle, and what the engine held when all of it was over."""

    calls: int
    failed: int
    seconds: float
    rss_mb: float
    descriptors: Mapping[str, int]
    threads: int
    objects: int


@dataclass(slots=True)
class Report:
    """What came of it all."""

    sipp: str
    cycles: list[Cycle] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    """What the engine was doing for a call when it ended, and how it ended."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    gc_longest_ms: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Pauses of the garbage collector during the cycles, by generation."""
    complaints: list[str] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Memory after the last cycle, of that after the second (or the first, where there are no more)."""
        reference = self.cycles[min(1, len(self.cycles) - 1)]
        return self.cycles[-1].rss_mb / reference.rss_mb

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "states": dict(self.states), "growth": round(self.growth, 4)}


async def soak(
    home: Path,
    *,
    calls: int,
    at_once: int,
    cycles: int,
    per_second: float = 15.0,
    seed: int = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Place the calls and look. Raises what `load_rig` and `Sipp.place` raise."""
    async with load_rig(home, at_once=at_once) as rig:
        report = Report(sipp=await rig.sipp.version())
        # The first call loads what is loaded lazily, in the engine and in Asterisk: that is no leak.
        await rig.sipp.place([PlannedCall(Way.HANGS_UP, 500)], timeout_s=60.0)
        report.complaints += _as_complaints(await rig.settled(), "after the very first call")
        before = await rig.holding()
        states = StatesAtTheEnd()
        async with EngineEvents().watch(rig.stack.engine_url) as events:
            for number in range(cycles):
                await _one_cycle(rig, report, calls // cycles, seed=seed + number, per_second=per_second, tell=tell)
                states.take(events)
        report.states = states.found
        await _look_at_the_end(rig, report, before)
        return report


async def _one_cycle(
    rig: LoadRig, report: Report, calls: int, *, seed: int, per_second: float, tell: Callable[[str], None]
) -> None:
    began, known = time.monotonic(), len(report.complaints)
    result = await rig.sipp.place(
        plan_calls(calls, seed), per_second=per_second, timeout_s=60.0 + calls * (_A_CALL_S + 1 / per_second)
    )
    took_s = time.monotonic() - began
    number = len(report.cycles) + 1
    report.complaints += _as_complaints(await rig.settled(), f"after cycle {number}")
    holding = await rig.holding()
    report.cycles.append(
        Cycle(calls, result.failed, took_s, holding.rss_mb, holding.descriptors, holding.threads, holding.objects)
    )
    pauses = zip(report.gc_longest_ms, holding.gc_longest_ms, strict=True)
    report.gc_longest_ms = [max(longest) for longest in pauses]
    if result.failed or result.successful != calls:
        report.complaints.append(
            f"cycle {number}: {result.successful} of {calls} calls went as planned, {result.failed} did not: "
            f"{result.errors[:1500]}"
        )
    for complaint in report.complaints[known:]:
        tell(f"WRONG: {complaint}")
    tell(
        f"cycle {number}: {calls} calls in {took_s:.0f} s, {result.failed} failed; engine {holding.rss_mb:.1f} MB, "
        f"{sum(holding.descriptors.values())} descriptors, {holding.threads} threads, {holding.objects} objects"
    )


async def _look_at_the_end(rig: LoadRig, report: Report, before: Holding) -> None:
    """One more ordinary call, and everything is as it was before the first."""
    last = await rig.sipp.place([PlannedCall(Way.HANGS_UP, 1500)], timeout_s=60.0)
    if last.successful != 1:
        report.complaints.append(f"the call after all others failed: {last.errors}")
    report.complaints += _as_complaints(await rig.settled(), "at the end")
    report.complaints += await _more_than_before(rig, before)
    report.outcomes = await rig.outcomes()
    report.complaints += [f"engine's log: {line[:500]}" for line in rig.engine_complaints()]
    report.complaints += [f"Asterisk's log: {line[:500]}" for line in rig.asterisk_complaints()]


async def _more_than_before(rig: LoadRig, before: Holding, within_s: float = 30.0) -> list[str]:
    """What the engine holds more of than before. Waited for: connections that are kept alive a while are no leak."""
    deadline = time.monotonic() + within_s
    while True:
        after = await rig.holding()
        more = [
            f"{now.get(kind, 0)} {what} {kind!r} after the calls, {was.get(kind, 0)} before"
            for what, was, now in (
                ("open descriptors", before.descriptors, after.descriptors),
                ("threads", {"in all": before.threads}, {"in all": after.threads}),
                ("tasks", before.tasks, after.tasks),
            )
            for kind in now
            if now[kind] > was.get(kind, 0) and kind != KEPT_ALIVE
        ]
        if not more or time.monotonic() > deadline:
            return more
        await asyncio.sleep(0.5)


def _as_complaints(left: Mapping[str, Any], when: str) -> list[str]:
    return [f"{when}: {value} {what} left behind" for what, value in left.items()]


class StatesAtTheEnd:
    """From the engine's live events: what each call was doing when it ended."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self._states: dict[str, str] = {}

    def take(self, events: EngineEvents) -> None:
        """Count the events that have come, and forget them."""
        for event in events.seen:
            call_id = event.get("call_id", "")
            if event["type"] == "call_started":
                self._states[call_id] = "connecting"
            elif event["type"] == "state" and event["state"] != "ended":
                with contextlib.suppress(KeyError):
                    self._states[call_id] = event["state"]
            elif event["type"] == "call_ended":
                state = self._states.pop(call_id, "before it was answered")
                self.found[f"{state}, {event['outcome']}"] += 1
        events.seen.clear()
