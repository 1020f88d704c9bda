"""P8: the engine's memory. `python -m benchmarks.engine_memory [--calls 10 50] [--cycles 4] [--short] [--write-docs]`

A real engine process (scripted answers, no models but voice activity), a real Asterisk and SIPp: resident memory before
the first call, with so many calls that talk, and after them, several cycles. Reported: MB per call (target 2), and the
memory after the last cycle of that after the second (target 1.05).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.doc_figures import machine_line, markdown_table, put
from benchmarks.machine import usage
from tools.load_test.rig import LoadRig, load_rig, rss_mb
from tools.load_test.sipp import PlannedCall, Sipp, SippError, Way
from tools.pbx_instance import PbxUnavailable
from tools.stack import StackError

_LOOK_EVERY_S = 0.25
_RAMP_PER_S = 10.0


@dataclass(frozen=True, slots=True)
class Stage:
    """So many calls once."""

    cycle: int
    calls: int
    before_mb: float
    with_calls_mb: float
    """The most while all of them were up."""
    after_mb: float
    per_call_mb: float | None
    """What they hold more than the engine did before the first of all; None once others had been there before, whose
    memory the process keeps for the next."""
    objects: int
    """That the garbage collector knows, afterwards."""
    failed: int


async def stage(rig: LoadRig, home: Path, cycle: int, calls: int, talk_s: float, idle_mb: float) -> Stage:
    """Bring `calls` up, let them talk, hang all of them up. `idle_mb`: before any were. Raises `SippError`."""
    pid = rig.stack.engine.pid
    assert pid is not None
    before_mb = rss_mb(pid)
    ramp_s = calls / _RAMP_PER_S
    last_ms = round(1000 * (ramp_s + talk_s))
    sipp = Sipp(rig.pbx, home / "sipp", at_once=calls)
    plan = [PlannedCall(Way.HANGS_UP, last_ms - round(1000 * number / _RAMP_PER_S)) for number in range(calls)]
    placing = asyncio.create_task(sipp.place(plan, per_second=_RAMP_PER_S, timeout_s=60.0 + 2 * (ramp_s + talk_s)))
    most_mb = before_mb
    most_calls = 0
    while not placing.done():
        up = (await rig.page("/health"))["calls"]
        if up >= most_calls:
            most_calls, most_mb = up, max(most_mb, rss_mb(pid))
        await asyncio.sleep(_LOOK_EVERY_S)
    failed = (await placing).failed + (calls - most_calls)
    if left := await rig.settled():
        raise SippError(f"left behind after {calls} calls: {left}")
    holding = await rig.holding()
    per_call_mb = (most_mb - idle_mb) / calls if cycle == 1 else None
    return Stage(cycle, calls, before_mb, most_mb, holding.rss_mb, per_call_mb, holding.objects, failed)


async def measure(home: Path, calls: list[int], cycles: int, talk_s: float) -> list[Stage]:
    """All stages of all cycles, one engine. Raises what `load_rig` raises, and `SippError`."""
    stages = []
    async with load_rig(home, at_once=max(calls)) as rig:
        await rig.sipp.place([PlannedCall(Way.HANGS_UP, 500)], timeout_s=60.0)
        await rig.settled()
        assert rig.stack.engine.pid is not None
        idle_mb = rss_mb(rig.stack.engine.pid)
        for cycle in range(1, cycles + 1):
            for count in calls:
                one = await stage(rig, home, cycle, count, talk_s, idle_mb)
                stages.append(one)
                print(
                    f"{one.cycle:>5} {one.calls:>6} {one.before_mb:>9.1f} {one.with_calls_mb:>9.1f}"
                    f" {one.after_mb:>9.1f} {_per_call(one):>12} {one.objects:>9} {one.failed:>7}",
                    flush=True,
                )
    return stages


def _per_call(one: Stage) -> str:
    return "" if one.per_call_mb is None else f"{one.per_call_mb:.2f}"


def growth(stages: list[Stage]) -> float:
    """Memory after the last cycle, of that after the second (the first, where there is no other)."""
    ends = {one.cycle: one.after_mb for one in stages}
    return ends[max(ends)] / ends[min(2, max(ends))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--cycles", type=int, default=4)
    parser.add_argument("--talk-s", type=float, default=15.0, help="with all calls up [%(default)s]")
    parser.add_argument("--short", action="store_true", help="2 and 4 calls for 1 s: only shows that it runs")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/performance.md")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.calls, arguments.cycles, arguments.talk_s = [2, 4], 1, 1.0
    load_before, before, began = os.getloadavg()[0], usage(), time.monotonic()
    print(f"load average before {load_before:.2f}; resident MB of the engine's process")
    print("cycle  calls    before      with     after  MB per call   objects  failed")
    with tempfile.TemporaryDirectory(prefix="parley-memory-") as home:
        try:
            stages = asyncio.run(measure(Path(home), arguments.calls, arguments.cycles, arguments.talk_s))
        except (PbxUnavailable, StackError, SippError) as error:
            print(f"engine_memory: {error}", file=sys.stderr)
            return 1
    ours, others = usage().shares_since(before)
    machine = {"cores": os.cpu_count() or 1, "cpu_share_ours": ours, "cpu_share_others": others}
    print(f"\nafter the last cycle {growth(stages):.3f} of that after the second")
    if arguments.write_docs:
        put("engine_memory", _markdown(stages, machine))
    report = {"benchmark": "engine_memory", "load_before": load_before, "machine": machine}
    took = {"seconds": round(time.monotonic() - began, 1), "growth": round(growth(stages), 4)}
    print(json.dumps({**report, **took, "stages": [asdict(one) for one in stages]}))
    return 0


def _markdown(stages: list[Stage], machine: dict[str, float]) -> str:
    head = ("cycle", "calls", "before, MB", "with the calls", "after", "MB per call")
    rows = [
        (one.cycle, one.calls, f"{one.before_mb:.1f}", f"{one.with_calls_mb:.1f}", f"{one.after_mb:.1f}",
         _per_call(one))
        for one in stages
    ]  # fmt: skip
    grown = f"After the last cycle: {growth(stages):.3f} of that after the second."
    said = f"{machine_line(machine)}, Asterisk among them. {grown}"
    return f"\n{said}\n\n{markdown_table(head, rows)}\n"


if __name__ == "__main__":
    sys.exit(main())
