"""P8 and more: what 2,000 short calls leave behind. `python -m benchmarks.soak [--calls 2000] [--short] [--write-docs]`

The load test (`python -m tools.load_test`) with its figures for docs/performance.md. Exit code 1 when something is left
behind, a call failed, memory grew by more than 5 % after the second cycle, or a log holds an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.doc_figures import machine_line, markdown_table, put
from benchmarks.machine import usage
from tools.load_test.__main__ import show
from tools.load_test.sipp import SippError
from tools.load_test.soak import GROWTH, Report, soak
from tools.pbx_instance import PbxUnavailable
from tools.stack import StackError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--short", action="store_true", help="20 calls, 10 at once, 2 cycles: only shows that it runs")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/performance.md")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.calls, arguments.at_once, arguments.cycles = 20, 10, 2
    load_before, before = os.getloadavg()[0], usage()
    with tempfile.TemporaryDirectory(prefix="parley-soak-") as home:
        try:
            report = asyncio.run(
                soak(
                    Path(home), calls=arguments.calls, at_once=arguments.at_once, cycles=arguments.cycles,
                    tell=lambda line: print(line, flush=True),
                )
            )  # fmt: skip
        except (PbxUnavailable, StackError, SippError) as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
    ours, others = usage().shares_since(before)
    machine = {"cores": os.cpu_count() or 1, "cpu_share_ours": ours, "cpu_share_others": others}
    show(report)
    if arguments.write_docs:
        put("soak", markdown(report, arguments.at_once, machine))
    figures = {"load_before": load_before, "machine": machine, "growth": round(report.growth, 4)}
    states, complaints = dict(report.states), report.complaints
    print(json.dumps({"benchmark": "soak", **figures, "states": states, "complaints": complaints}))
    return 1 if complaints or report.growth > GROWTH else 0


def markdown(report: Report, at_once: int, machine: dict[str, float]) -> str:
    """For the page."""
    calls = sum(cycle.calls for cycle in report.cycles)
    failed = sum(cycle.failed for cycle in report.cycles)
    seconds = sum(cycle.seconds for cycle in report.cycles)
    ends = markdown_table(("calls", "ended while"), [(count, state) for state, count in report.states.most_common()])
    rows = [
        (number, cycle.calls, cycle.failed, cycle.seconds, f"{cycle.rss_mb:.1f}", cycle.threads)
        for number, cycle in enumerate(report.cycles, 1)
    ]
    table = markdown_table(("cycle", "calls", "failed", "seconds", "RSS MB", "threads"), rows)
    wrong = "\n".join(f"- {complaint.splitlines()[0][:200]}" for complaint in report.complaints) or "Nothing was wrong."
    pauses = ", ".join(f"{ms:.1f}" for ms in report.gc_longest_ms)
    said = (
        f"{calls} calls, {at_once} at once, in {seconds:.0f} s; {failed} failed; "
        f"{machine_line(machine)}, Asterisk among them. "
        f"Memory after the last cycle: {report.growth:.3f} of that after the second. "
        f"Longest pauses of the garbage collector, by generation: {pauses} ms."
    )
    return f"\n{said}\n\n{wrong}\n\n{table}\n\n{ends}\n"


if __name__ == "__main__":
    sys.exit(main())
