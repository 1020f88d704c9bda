"""P5: many sessions on one model. `python -m benchmarks.many_sessions [--seconds 12] [--rounds 3] [--short]`

LLM: 1, 2, 4 and 8 sessions of the real server ask without a pause, each with its own persona and history in its slot;
tokens a second in all and of each, from the first request's start to the end of the time. STT and TTS: as many sessions
ask at the same moment; how long each request waited for its worker. Others on the machine slow all of it down; the
model's own CPU time for a token tells what a quiet machine would do. The numbers of sessions take turns, one way round
and then the other, so that a busy neighbour meets all of them; figures are medians of the rounds, and what counts is
their ratio within the run. Prints tables and one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.machine import usage
from local_ai_server.app import build_app
from local_ai_server.main import HttpServer, uvicorn_config
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard
from voice_wire.messages import Auth, LlmRequest, SttFinalize, SttStart, TtsRequest, Warm, WireModel, pack_frame

SESSIONS = (1, 2, 4, 8)
MAX_TOKENS = 40
"""An answer on the telephone."""
SPOKEN = "I would like to make an appointment for Tuesday afternoon, please."
REPLY = "Of course, we have a free place on Tuesday at three."


@dataclass(frozen=True, slots=True)
class LlmRound:
    """One span of time with `sessions` talking."""

    sessions: int
    tokens_a_second: float
    slowest_to_fastest: float
    """The fastest session's tokens over the slowest's; 1 is fair."""
    first_token_ms: float
    """Median."""
    cpu_ms_a_token: float
    """Of the model's process, all threads: what a busy neighbour changes least."""


class Caller:
    """One version-3 session that asks one thing after the other."""

    def __init__(self, ws: ClientConnection, name: int) -> None:
        self._ws = ws
        self._asked = 0
        self._persona = {
            "role": "system",
            "content": f"You answer telephone {name} of a shop, open nine to five. " * 12,
        }
        self.tokens = self.all_tokens = 0
        self.first_ms: list[float] = []

    async def warm(self) -> None:
        await self._until_done(Warm.model_validate({"request_id": self._next(), "messages": [self._persona]}))

    async def talk(self, until: float) -> None:
        """Asks until the time is over; tokens that come after it do not count."""
        self.tokens, self.all_tokens, self.first_ms = 0, 0, []
        while time.perf_counter() < until:
            question = {"role": "user", "content": f"Tell me a long story about the number {self._asked}."}
            fields = {
                "request_id": self._next(),
                "messages": [self._persona, question],
                "sampling": {"max_tokens": MAX_TOKENS, "temperature": 0.0},
                "stream": True,
            }
            began = time.perf_counter()
            await self._ws.send(LlmRequest.model_validate(fields).to_json())
            first = True
            while (message := json.loads(await self._ws.recv()))["type"] == "llm_delta":
                if first:
                    self.first_ms.append(1000 * (time.perf_counter() - began))
                    first = False
                self.all_tokens += 1
                self.tokens += time.perf_counter() < until
            _check(message)

    async def speak(self) -> float:
        """How long a TTS request waited, in ms."""
        done = await self._until_done(TtsRequest(request_id=self._next(), text=REPLY, stream=True))
        return float(done["queue_ms"])

    async def hear(self, audio: bytes) -> float:
        """How long an STT request waited, in ms."""
        request_id = self._next()
        await self._ws.send(SttStart(stream_id=self._asked, encoding="mulaw", sample_rate_hz=8000).to_json())
        await self._ws.send(pack_frame(self._asked, 0, audio))
        done = await self._until_done(SttFinalize(request_id=request_id, stream_id=self._asked))
        return float(done["queue_ms"])

    def _next(self) -> str:
        self._asked += 1
        return f"r{self._asked}"

    async def _until_done(self, message: WireModel) -> dict[str, Any]:
        await self._ws.send(message.to_json())
        while True:
            data = await self._ws.recv()
            answer: dict[str, Any] = {} if isinstance(data, bytes) else json.loads(data)
            if answer.get("type") in ("done", "error"):
                _check(answer)
                return answer


def _check(answer: dict[str, Any]) -> None:
    if answer["type"] != "done":
        raise RuntimeError(f"the server answered {answer}")


@asynccontextmanager
async def running_server(parallel: int | None, changes: Mapping[str, str]) -> AsyncIterator[tuple[str, Switchboard]]:
    """The real server on a free port, all workers ready."""
    environment = {"LOCAL_AI_MODE": "full", "LOCAL_LLM_PROMPT_FORM": "chat", **changes}
    if parallel is not None:
        environment["LOCAL_LLM_PARALLEL"] = str(parallel)
    settings = read_settings(Path("no.env"), environment)
    switchboard = Switchboard.from_settings(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(uvicorn_config(build_app(settings, switchboard), settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await switchboard.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/", switchboard
    finally:
        server.should_exit = True
        await serving
        await switchboard.stop()


async def measure(seconds: float, rounds: int, parallel: int | None, changes: Mapping[str, str]) -> dict[str, Any]:
    """Figures for each number of sessions."""
    llm: list[LlmRound] = []
    queues: dict[str, dict[int, list[float]]] = {kind: {n: [] for n in SESSIONS} for kind in ("stt", "tts")}
    async with running_server(parallel, changes) as (url, switchboard), AsyncExitStack() as stack:
        async with switchboard.service("tts").link.call("speak", {"text": SPOKEN}) as answers:
            _, audio = await answers.finish()
        callers = []
        for name in range(max(SESSIONS)):
            ws = await stack.enter_async_context(connect(url, compression=None, max_size=None))
            await ws.send(Auth(protocol_version=3).to_json())
            await ws.recv()
            callers.append(Caller(ws, name))
        slots = switchboard.service("llm").plan.concurrency
        before = usage([service.link.stats().pid for service in switchboard.services])
        for turn in range(rounds):
            for n in SESSIONS if turn % 2 else reversed(SESSIONS):
                llm.append(await _llm_round(callers[:n], seconds, switchboard.service("llm").link.stats().pid))
                queues["stt"][n] += await asyncio.gather(*(caller.hear(audio) for caller in callers[:n]))
                queues["tts"][n] += await asyncio.gather(*(caller.speak() for caller in callers[:n]))
        after = usage([service.link.stats().pid for service in switchboard.services])
    ours, others = after.shares_since(before)
    rows = [_row(n, [r for r in llm if r.sessions == n], queues) for n in SESSIONS]
    for row in rows:
        row["to_one"] = round(row["tokens_a_second"] / rows[0]["tokens_a_second"], 2)
    return {"slots": slots, "cpu_ours": round(ours, 2), "cpu_others": round(others, 2), "rows": rows}


async def _llm_round(callers: list[Caller], seconds: float, pid: int | None) -> LlmRound:
    await asyncio.gather(*(caller.warm() for caller in callers))
    cpu_s = _cpu_s(pid)
    await asyncio.gather(*(caller.talk(time.perf_counter() + seconds) for caller in callers))
    cpu_s = _cpu_s(pid) - cpu_s
    tokens = [caller.tokens for caller in callers]
    return LlmRound(
        sessions=len(callers),
        tokens_a_second=sum(tokens) / seconds,
        slowest_to_fastest=max(tokens) / max(1, min(tokens)),
        first_token_ms=statistics.median(ms for caller in callers for ms in caller.first_ms),
        cpu_ms_a_token=1000 * cpu_s / max(1, sum(caller.all_tokens for caller in callers)),
    )


def _cpu_s(pid: int | None) -> float:
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _row(n: int, rounds: list[LlmRound], queues: dict[str, dict[int, list[float]]]) -> dict[str, Any]:
    return {
        "sessions": n,
        "tokens_a_second": round(statistics.median(r.tokens_a_second for r in rounds), 1),
        "slowest_to_fastest": round(statistics.median(r.slowest_to_fastest for r in rounds), 2),
        "first_token_ms": round(statistics.median(r.first_token_ms for r in rounds)),
        "cpu_ms_a_token": round(statistics.median(r.cpu_ms_a_token for r in rounds), 1),
        **{f"{kind}_queue_p50_ms": round(statistics.median(queues[kind][n])) for kind in ("stt", "tts")},
        **{f"{kind}_queue_max_ms": round(max(queues[kind][n])) for kind in ("stt", "tts")},
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0, help="of talking, for each number of sessions and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parallel", type=int, help="slots of the model; the server's own default if left out")
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    seconds, rounds = (0.5, 1) if options.short else (options.seconds, options.rounds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(
            measure(seconds, rounds, options.parallel, dict(pair.split("=", 1) for pair in options.set))
        )
    print(f"{figures['slots']} slots; CPU: {figures['cpu_ours']:.0%} ours, {figures['cpu_others']:.0%} others'")
    heads = {"sessions": 9, "tokens/s": 10, "to one": 8, "slow:fast": 11, "1st ms": 8, "CPU ms/token": 14}
    heads |= {"STT q": 8, "STT max": 9, "TTS q": 8, "TTS max": 9}
    print("".join(f"{head:>{width}}" for head, width in heads.items()) + "   (q: ms in the queue)")
    for row in figures["rows"]:
        print(
            f"{row['sessions']:>9}{row['tokens_a_second']:>10}{row['to_one']:>8}{row['slowest_to_fastest']:>11}"
            f"{row['first_token_ms']:>8}{row['cpu_ms_a_token']:>14}{row['stt_queue_p50_ms']:>8}{row['stt_queue_max_ms']:>9}"
            f"{row['tts_queue_p50_ms']:>8}{row['tts_queue_max_ms']:>9}"
        )
    print(json.dumps({"benchmark": "many_sessions", "seconds": seconds, "rounds": rounds, **figures}))


if __name__ == "__main__":
    main()
