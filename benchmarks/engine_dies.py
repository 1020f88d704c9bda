"""A26: an engine is killed under load. `python -m benchmarks.engine_dies [--engines 3] [--calls 40] [--short]`

SIPp's callers (real SIP and RTP), a real Asterisk whose dialplan spreads them over several engine processes with
scripted answers. When all talk, one engine gets SIGKILL. Reported: from the kill to each of its callers being moved to
another engine; whether any caller's call failed; what is left in Asterisk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tools.free_ports import free_rtp_ports
from tools.load_test.engines import ONE_OF_SEVERAL, WITHIN_S, EngineProcess, all_started, all_stopped
from tools.load_test.rig import ASTERISK_PORTS_PER_CALL
from tools.load_test.sipp import PlannedCall, Sipp, SippError, SippResult, Way
from tools.pbx_instance import Pbx, PbxUnavailable
from tools.stack import StackError

_PER_SECOND = 10.0
_TALK_ON_S = 8.0
"""How long all go on talking after the kill."""


@dataclass(slots=True)
class Outcome:
    """What came of one kill."""

    engines: int
    calls: int
    killed_calls: int
    """That the killed engine had."""
    adopted: int
    adopted_after_s: list[float]
    """From SIGKILL to the caller's move, of each."""
    calls_failed: int
    """That did not last as long as their caller wanted, or were not answered."""
    left_in_asterisk: int
    late_ticks: int
    """Of the other engines' pacers after the kill."""


async def measure(home: Path, engines: int, calls: int) -> Outcome:
    """Raises `PbxUnavailable`, `StackError` and `SippError`."""
    n_ports = ASTERISK_PORTS_PER_CALL * calls + 200
    first_port = free_rtp_ports(n_ports)
    pbx = Pbx(home / "pbx", rtp_ports=(first_port, first_port + n_ports - 1))
    await asyncio.to_thread(pbx.start)
    limits = {"calls": {"max_concurrent": 2 * calls, "answer_timeout_s": 30.0}}
    processes = [
        EngineProcess(home, pbx, number, limits, media_ports=4 * calls + 60) for number in range(1, engines + 1)
    ]
    try:
        await all_started(*processes)
        return await _kill_one(pbx, home, processes, calls)
    finally:
        await all_stopped(*processes)
        with suppress(RuntimeError):
            await asyncio.to_thread(pbx.stop)


async def _kill_one(pbx: Pbx, home: Path, processes: list[EngineProcess], calls: int) -> Outcome:
    coming_s = calls / _PER_SECOND
    plan = [PlannedCall(Way.HANGS_UP, int(1000 * (coming_s + 4 + _TALK_ON_S)), ONE_OF_SEVERAL)] * calls
    sipp = Sipp(pbx, home / "sipp", at_once=calls)
    placing = asyncio.create_task(sipp.place(plan, per_second=_PER_SECOND, timeout_s=coming_s + 120))
    async with asyncio.timeout(coming_s + WITHIN_S):
        while sum([(await engine.health())["calls"] for engine in processes]) < calls:
            if placing.done():
                raise SippError(f"the calls ended before all had come: {placing.result()}")
            await asyncio.sleep(0.2)
    await asyncio.sleep(2.0)
    dying, *others = processes
    had = (await dying.health())["calls"]
    ticks_before = sum([(await engine.health())["media"]["late_ticks"] for engine in others])
    killed_at = await dying.kill()
    result: SippResult = await placing
    ticks_after = sum([(await engine.health())["media"]["late_ticks"] for engine in others])
    rescued = [line for engine in others for line in engine.said("asterisk.caller_of_dead_engine")]
    return Outcome(
        engines=len(processes),
        calls=calls,
        killed_calls=had,
        adopted=sum(line["how"] == "adopted" for line in rescued),
        adopted_after_s=sorted(round(_at(line) - killed_at, 2) for line in rescued),
        calls_failed=result.failed,
        left_in_asterisk=await _left(pbx),
        late_ticks=ticks_after - ticks_before,
    )


def _at(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


async def _left(pbx: Pbx) -> int:
    """Channels and bridges that stay."""
    rows: list[str] = []
    for _ in range(50):
        channels = (await asyncio.to_thread(pbx.cli, "core show channels concise")).splitlines()
        bridges = (await asyncio.to_thread(pbx.cli, "bridge show all")).splitlines()[1:]
        rows = [row for row in (*channels, *bridges) if row.strip()]
        if not rows:
            break
        await asyncio.sleep(0.2)
    return len(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", type=int, default=3, choices=(2, 3))
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--short", action="store_true", help="2 engines and 4 calls: only shows that it runs")
    arguments = parser.parse_args()
    engines, calls = (2, 4) if arguments.short else (arguments.engines, arguments.calls)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="parley-dies-") as home:
        try:
            outcome = asyncio.run(measure(Path(home), engines, calls))
        except (PbxUnavailable, StackError, SippError) as error:
            print(f"engine_dies: {error}", file=sys.stderr)
            return 2
    print(f"{calls} calls on {engines} engines, load average before {load_before:.2f}")
    print(f"the killed engine had {outcome.killed_calls}; adopted: {outcome.adopted}")
    if seconds := outcome.adopted_after_s:
        middle = statistics.median(seconds)
        print(f"moved {seconds[0]:.2f} s, median {middle:.2f} s, last {seconds[-1]:.2f} s after SIGKILL")
    print(f"calls that failed: {outcome.calls_failed}; late ticks of the others: {outcome.late_ticks}; ", end="")
    print(f"left in Asterisk: {outcome.left_in_asterisk}\n")
    print(json.dumps({"benchmark": "engine_dies", "load_before": load_before, **asdict(outcome)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
