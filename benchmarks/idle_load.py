"""What callers feel while another model is loaded: at normal and at idle priority.

    python -m benchmarks.idle_load [--callers 2] [--work-ms 30] [--pause-ms 100] [--load-s 3] [--idle-load-s 20]

`callers` workers answer calls of `work-ms` of processor time each, with a pause after each, while one more worker loads
a model that takes `load-s` of processor time on every core. Prints a table and one JSON line (ms; the load in s).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import logging
import os
import statistics
import threading
import time

import structlog

from model_worker.link import WorkerLink
from model_worker.model import Answer, Cancelled
from model_worker.spec import WorkerSpec

_BLOCK = bytes(1 << 20)


def burn(seconds: float) -> None:
    """So much processor time of this thread, in native code with the interpreter's lock released."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.sha256(_BLOCK).digest()


class Caller:
    """Answers after some work."""

    def load(self) -> None:
        """Nothing to load."""

    def work(self, body: bytes, cancelled: Cancelled, *, seconds: float) -> Answer:
        """{}."""
        burn(seconds)
        return {}, b""


class Hungry:
    """Takes all cores to load."""

    def load(self, *, seconds: float) -> None:
        """On as many threads as there are cores."""
        threads = [threading.Thread(target=burn, args=(seconds,)) for _ in range(os.cpu_count() or 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def spec(model: str, **options: object) -> WorkerSpec:
    """Of this module's models."""
    return WorkerSpec(model=f"benchmarks.idle_load:{model}", env={"PYTHONPATH": "."}, **options)  # type: ignore[arg-type]


async def talk(links: list[WorkerLink], work_s: float, pause_s: float, until: asyncio.Event) -> list[float]:
    """How long each call took, in ms, of all callers, until the event."""
    times_ms: list[float] = []

    async def one(link: WorkerLink) -> None:
        while not until.is_set():
            began = time.perf_counter()
            await link.request("work", {"seconds": work_s})
            times_ms.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(pause_s)

    await asyncio.gather(*(one(link) for link in links))
    return times_ms


async def measure(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Percentiles of the callers' times beside nothing, a load at normal priority and one at idle."""
    links = [WorkerLink(spec("Caller")) for _ in range(arguments.callers)]
    await asyncio.gather(*(link.start() for link in links))
    figures = {}
    for name, idle_load_s in (("nothing", None), ("normal", 0.0), ("idle", arguments.idle_load_s)):
        over = asyncio.Event()
        talking = asyncio.create_task(talk(links, arguments.work_ms / 1e3, arguments.pause_ms / 1e3, over))
        began = time.perf_counter()
        if idle_load_s is None:
            await asyncio.sleep(2 * arguments.load_s)
        else:
            settings = {"seconds": arguments.load_s}
            loaded = WorkerLink(spec("Hungry", settings=settings, idle_load_s=idle_load_s, load_deadline_s=120.0))
            await loaded.start()
            await loaded.stop()
        took_s = time.perf_counter() - began
        over.set()
        cuts = statistics.quantiles(await talking, n=100)
        figures[name] = {"p50_ms": round(cuts[49], 1), "p95_ms": round(cuts[94], 1), "load_s": round(took_s, 2)}
    await asyncio.gather(*(link.stop() for link in links))
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=2)
    parser.add_argument("--work-ms", type=float, default=30.0)
    parser.add_argument("--pause-ms", type=float, default=100.0)
    parser.add_argument("--load-s", type=float, default=3.0)
    parser.add_argument("--idle-load-s", type=float, default=20.0)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    figures = asyncio.run(measure(arguments))
    print(f"{'beside a load':<16}{'p50 ms':>10}{'p95 ms':>10}{'load s':>10}")
    for name, row in figures.items():
        print(f"{name:<16}{row['p50_ms']:>10}{row['p95_ms']:>10}{row['load_s']:>10}")
    print(json.dumps({"benchmark": "idle_load", **vars(arguments), **figures}))


if __name__ == "__main__":
    main()
