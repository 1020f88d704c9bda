"""How soon native work ends when the caller takes the floor.

`python -m benchmarks.interrupt_work [--rounds 20] [--short]`

A real server with its worker processes, and the real local provider. Each round begins one kind of work (a prompt being
read, an answer being written, a sentence being spoken, an utterance being decoded), waits until its worker is at it,
and interrupts the turn as a conversation does. Measured from the decision until the worker itself says that nothing
runs and nothing waits in it, by the clock and in CPU time of the worker, which tells the same on a busy machine.
Events of the turn that still come after the decision are counted. Prints a table and one JSON line (milliseconds);
work that had ended by itself when the decision came is left out and counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import structlog
import uvloop

from ai_engine.contexts import Context
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.provider import AgentAudio, AgentText, CallInfo, Provider, ProviderEvent
from ai_engine.providers.registry import make_factory
from ai_engine.providers.services import Services
from benchmarks.machine import usage
from local_ai_server.app import build_app
from local_ai_server.main import HttpServer, uvicorn_config
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard
from model_worker.link import WorkerLink
from voice_wire.audio import MULAW_8K, PCM_8K, convert

TARGET_MS: Final = 300.0
DEADLINE_S: Final = 60.0
KINDS: Final = ("llm prompt", "llm answer", "tts", "stt")
QUESTION = "Please tell me, slowly and with every step of it, the whole story of how a town gets its water."
SENTENCE = (
    "Our workshop is open from nine in the morning until six in the evening on every weekday, on Saturday it closes at "
    "one in the afternoon, and on Sunday there is nobody here, but you can always leave a message after the tone, and "
    "one of us will ring you back as soon as we are in again, which is before ten in most weeks of the year."
)
OPTIONS = {"max_words": 400, "small_model": False, "sampling": {"max_tokens": 400, "temperature": 1.0}}


@dataclass(slots=True)
class Rounds:
    """What came of one kind of work."""

    idle_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    ended_before: int = 0
    unended: int = 0
    delivered_after: int = 0


class Bench:
    """One call's provider, and a view into the workers."""

    def __init__(self, provider: Provider, switchboard: Switchboard, speech: bytes) -> None:
        self._provider = provider
        self._switchboard = switchboard
        self._speech = speech
        self._events: list[ProviderEvent] = []
        self._turn = 0

    async def read(self) -> None:
        async for event in self._provider.events():
            self._events.append(event)

    async def round(self, kind: str, rounds: Rounds) -> None:
        await self._until_idle("llm", "tts", "stt")
        self._turn += 1
        self._events.clear()
        worker = kind.partition(" ")[0]
        provider, turn = self._provider, self._turn
        if worker == "llm":
            provider.speculate(turn, 1, (), QUESTION)
            provider.adopt(turn, 1)
        elif worker == "tts":
            provider.say(turn, 1, SENTENCE)
        else:
            provider.send_audio(turn, self._speech)
            provider.transcribe(turn, 1)
        if kind == "llm answer":
            await _until(lambda: any(isinstance(event, AgentText | AgentAudio) for event in self._events))
        running = await self._begun(worker)
        self._events.clear()
        spent_ms = self._cpu_ms(worker)
        decided = time.perf_counter()
        if worker == "stt":
            provider.forget(turn)
        else:
            provider.interrupt(turn, "")
        idle = await self._until_idle(worker)
        ended_ms = 1000 * (time.perf_counter() - decided)
        spent_ms = self._cpu_ms(worker) - spent_ms
        await asyncio.sleep(0.05)
        rounds.delivered_after += sum(getattr(event, "turn", 0) == turn for event in self._events)
        if not running:
            rounds.ended_before += 1
        elif not idle:
            rounds.unended += 1
        else:
            rounds.idle_ms.append(ended_ms)
            rounds.cpu_ms.append(spent_ms)

    async def _begun(self, worker: str) -> bool:
        """Wait until the worker is at it; False when it was done before that was seen."""
        deadline = time.monotonic() + (0.0 if self._events else 5.0)
        while not await self._busy(worker):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.001)
        return True

    async def _busy(self, worker: Any) -> bool:
        said = await self._link(worker).probe(deadline_s=DEADLINE_S)
        return bool(said["running"] or said["waiting"])

    def _link(self, worker: Any) -> WorkerLink:
        return cast("WorkerLink", self._switchboard.service(worker).link)

    def _cpu_ms(self, worker: str) -> float:
        """CPU time of all the worker's threads so far (proc(5): `schedstat`)."""
        tasks = Path(f"/proc/{self._link(worker).stats().pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e6

    async def _until_idle(self, *workers: str) -> bool:
        deadline = time.monotonic() + DEADLINE_S
        for worker in workers:
            while await self._busy(worker):
                if time.monotonic() >= deadline:
                    return False
                await asyncio.sleep(0.002)
        return True


async def _until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not met():  # noqa: ASYNC110 - events are noted by another task
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running_server() -> AsyncIterator[tuple[Switchboard, str]]:
    settings = read_settings(Path("no.env"), {"LOCAL_AI_MODE": "full"})
    switchboard = Switchboard.from_settings(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(uvicorn_config(build_app(settings, switchboard), settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await switchboard.start()
        yield switchboard, f"ws://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        await switchboard.stop()


async def measure(n_rounds: int) -> dict[str, Rounds]:
    """The rounds of each kind, one after the other."""
    found = {kind: Rounds() for kind in KINDS}
    call = CallInfo("interrupt-work", "default", "You tell people about towns.", "en", None, MULAW_8K)
    context = Context(greeting="Hello.", prompt=call.system_prompt)
    with tempfile.TemporaryDirectory() as folder:
        async with running_server() as (switchboard, url):
            async with switchboard.service("tts").link.call("speak", {"text": SENTENCE}) as answers:
                _, spoken = await answers.finish()
            services = Services(local_url=url, local_token="", rendered=RenderedSpeech(Path(folder)))
            factory = make_factory("local", "local", OPTIONS, services)
            provider = factory.create(call, context, no_information="I do not know.")
            await provider.start(call)
            speech = convert(spoken, MULAW_8K, PCM_8K)[: PCM_8K.bytes_for_ms(10_000)]
            bench = Bench(provider, switchboard, speech)
            reading = asyncio.create_task(bench.read())
            for kind in KINDS:
                for _ in range(n_rounds):
                    await bench.round(kind, found[kind])
            await provider.stop()
            await reading
    return found


def figures(found: dict[str, Rounds]) -> dict[str, dict[str, float | int | None]]:
    """By kind of work."""
    rows: dict[str, dict[str, float | int | None]] = {}
    for kind, rounds in found.items():
        times = sorted(rounds.idle_ms)
        rows[kind] = {
            "interrupted": len(times),
            "p50_ms": round(statistics.median(times), 1) if times else None,
            "p95_ms": round(times[min(len(times) - 1, int(0.95 * len(times)))], 1) if times else None,
            "most_ms": round(times[-1], 1) if times else None,
            "cpu_p50_ms": round(statistics.median(rounds.cpu_ms), 1) if times else None,
            "cpu_most_ms": round(max(rounds.cpu_ms), 1) if times else None,
            "ended_before": rounds.ended_before,
            "unended": rounds.unended,
            "delivered_after": rounds.delivered_after,
        }
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    before = usage()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = figures(runner.run(measure(2 if options.short else options.rounds)))
    ours, others = usage().shares_since(before)
    print(f"from the decision to an idle worker, ms (target: ≤ {TARGET_MS:g}); others used {others:.0%} of the machine")
    names = tuple(rows[KINDS[0]])
    print(f"{'':12}" + "".join(f"{name:>16}" for name in names))
    for kind, row in rows.items():
        print(f"{kind:12}" + "".join(f"{'-' if row[name] is None else row[name]!s:>16}" for name in names))
    machine = {"ours": round(ours, 3), "others": round(others, 3)}
    print(json.dumps({"benchmark": "interrupt_work", "target_ms": TARGET_MS, "machine": machine, "work": rows}))


if __name__ == "__main__":
    main()
