"""Round trip of an empty call to a worker process, and what a 20 ms frame's worth of audio adds.

    python -m benchmarks.worker_ipc [--calls 5000] [--loop uvloop]

Prints a table and one JSON line (microseconds, seen by the awaiting coroutine).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import statistics
import time

import structlog
import uvloop

from model_worker.link import WorkerLink
from model_worker.model import Answer, Cancelled
from model_worker.spec import WorkerSpec


class Empty:
    """A model that answers at once."""

    def load(self) -> None:
        """Nothing to load."""

    def answer(self, body: bytes, cancelled: Cancelled) -> Answer:
        """The body, as it came."""
        return {}, body


async def measure(calls: int) -> dict[str, dict[str, float]]:
    """Percentiles for each size of body."""
    link = WorkerLink(WorkerSpec(model="benchmarks.worker_ipc:Empty", env={"PYTHONPATH": "."}))
    await link.start()
    figures = {}
    for name, body in (("empty", b""), ("640_bytes", bytes(640)), ("100_kb", bytes(100_000))):
        times_us = []
        for _ in range(calls):
            began = time.perf_counter()
            await link.request("answer", None, body)
            times_us.append((time.perf_counter() - began) * 1e6)
        cuts = statistics.quantiles(times_us[calls // 10 :], n=100)
        figures[name] = {"p50_us": round(cuts[49], 1), "p90_us": round(cuts[89], 1), "p99_us": round(cuts[98], 1)}
    await link.stop()
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    factory = uvloop.new_event_loop if arguments.loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        figures = runner.run(measure(arguments.calls))
    print(f"{'body':<12}{'p50 us':>10}{'p90 us':>10}{'p99 us':>10}")
    for name, row in figures.items():
        print(f"{name:<12}{row['p50_us']:>10}{row['p90_us']:>10}{row['p99_us']:>10}")
    about = {"benchmark": "worker_ipc", "python": platform.python_version(), "loop": arguments.loop}
    print(json.dumps({**about, "calls": arguments.calls, **figures}))


if __name__ == "__main__":
    main()
