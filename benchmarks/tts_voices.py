"""How soon a voice begins and how fast it speaks: the text-to-speech backends whose weights are installed.

    python -m benchmarks.tts_voices [--runs 7] [--threads 1 2] [--short]

Each runs in its worker, as the server plans it. Prints a table and one JSON line: load time, resident memory, for each
text the median milliseconds to the first chunk and the real-time factor (time to make it / time it lasts), and what
share of the processors others used meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import time
from typing import Any, Final

import structlog

from benchmarks.machine import usage
from local_ai_server.backends.backend import Backend, BackendUnusable, Machine
from local_ai_server.backends.options import BackendOptions
from local_ai_server.backends.tts import kokoro, piper
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec

TEXTS: Final = {
    "4 words": "Thanks, one moment please.",
    "7 words": "Hello, how can I help you today?",
    "16 words": "We are open from nine to five, Monday to Friday, and our address is twelve High Street.",
}


async def measure(backend: Backend, options: BackendOptions, runs: int) -> dict[str, Any]:
    """Figures of one worker. Raises `BackendUnusable` where it cannot run here."""
    if reason := backend.missing():
        raise BackendUnusable(reason)
    plan = backend.plan(options, Machine())
    link = WorkerLink(
        WorkerSpec(
            model=backend.model, settings=plan.load, env=plan.env, threads=plan.threads, canary=backend.canary,
            canary_deadline_s=120, load_deadline_s=120, call_deadline_s=120,
        )
    )  # fmt: skip
    began = time.perf_counter()
    await link.start()
    figures: dict[str, Any] = {"load_s": round(time.perf_counter() - began, 2)}
    before = usage([link.stats().pid])
    for name, text in TEXTS.items():
        first_ms, factors = [], []
        for _ in range(runs):
            began = time.perf_counter()
            audio_ms, first = 0.0, None
            async with link.call("speak", {"text": text}) as answers:
                async for header, _audio in answers:
                    first = first or time.perf_counter() - began
                    audio_ms += header["audio_ms"]
            first_ms.append(1000 * (first or 0.0))
            factors.append(1000 * (time.perf_counter() - began) / audio_ms)
        figures[name] = {
            "first_ms": round(statistics.median(first_ms)),
            "rtf": round(statistics.median(factors), 3),
        }
    figures["rss_mb"] = round(link.stats().rss_bytes / 1e6)
    figures["others_cpu"] = round(usage([link.stats().pid]).shares_since(before)[1], 2)
    await link.stop()
    return figures


async def run(threads: list[int], runs: int) -> dict[str, Any]:
    """Figures by backend and threads."""
    found: dict[str, Any] = {}
    for count in threads:
        candidates: list[tuple[Backend, BackendOptions]] = [
            (piper.BACKEND, piper.Options(threads=count)),
            (kokoro.BACKEND, kokoro.Options(mode="onnx", threads=count)),
        ]
        for backend, options in candidates:
            try:
                figures = await measure(backend, options, runs)
            except BackendUnusable as error:
                print(f"{backend.name}: left out: {error}")
                continue
            found[f"{backend.name}, {count} threads"] = figures
            print(f"{backend.name:8} {count} threads  load {figures['load_s']} s  {figures['rss_mb']} MB", end="")
            for name in TEXTS:
                print(f"  {name}: {figures[name]['first_ms']} ms, RTF {figures[name]['rtf']}", end="")
            print(f"  others {figures['others_cpu']:.0%}")
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--short", action="store_true", help="one run, one thread: shows that it works")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    threads, runs = ([1], 1) if arguments.short else (arguments.threads, arguments.runs)
    print(json.dumps({"benchmark": "tts_voices", "runs": runs, "figures": asyncio.run(run(threads, runs))}))


if __name__ == "__main__":
    main()
