"""P4: what the server adds to its models. `python -m benchmarks.server_overhead [--rounds 25] [--short]`

Each round asks each loaded model twice for the same thing: over its worker's link alone, and through WebSocket, session
and queue; first one way round, then the other. Measured to the final text (STT), the first token (LLM, prompt cached)
and the first audio (TTS). Prints a table and one JSON line (milliseconds).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import socket
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from local_ai_server.app import build_app
from local_ai_server.main import HttpServer, uvicorn_config
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard
from voice_wire.messages import Auth, LlmRequest, SttFinalize, SttStart, TtsRequest, WireModel, pack_frame

QUESTION = "I would like to make an appointment for Tuesday afternoon, please."
REPLY = "We open at nine."
MESSAGES = [
    {"role": "system", "content": "You answer the phone of a shop that is open from nine to five. " * 12},
    {"role": "user", "content": "Hello, when are you open?"},
]
TARGET_MS = 10.0


class ThroughServer:
    """One version-3 session."""

    def __init__(self, ws: ClientConnection, question: bytes) -> None:
        self._ws = ws
        self._question = question

    async def stt(self, turn: int) -> float:
        await self._ws.send(SttStart(stream_id=turn, encoding="mulaw", sample_rate_hz=8000).to_json())
        await self._ws.recv()
        await self._ws.send(pack_frame(turn, 0, self._question))
        return await self._until("stt_result", SttFinalize(request_id=f"s{turn}", stream_id=turn))

    async def llm(self, turn: int) -> float:
        fields = {"request_id": f"l{turn}", "messages": MESSAGES, "sampling": {"max_tokens": 3}, "stream": True}
        return await self._until("llm_delta", LlmRequest.model_validate(fields))

    async def tts(self, turn: int) -> float:
        return await self._until("audio", TtsRequest(request_id=f"t{turn}", text=REPLY, stream=True))

    async def _until(self, wanted: str, message: WireModel) -> float:
        """Milliseconds to the first answer of that type; reads on to the end."""
        began, took_ms = time.perf_counter(), 0.0
        await self._ws.send(message.to_json())
        while True:
            data = await self._ws.recv()
            kind = "audio" if isinstance(data, bytes) else json.loads(data)["type"]
            if kind == wanted and not took_ms:
                took_ms = 1000 * (time.perf_counter() - began)
            if kind in ("done", "error"):
                return took_ms


class Direct:
    """The same three, asked of the workers."""

    def __init__(self, switchboard: Switchboard, question: bytes) -> None:
        self._switchboard = switchboard
        self._question = question

    async def stt(self, turn: int) -> float:
        return await self._first("stt", "transcribe", {"encoding": "mulaw", "sample_rate_hz": 8000}, self._question)

    async def llm(self, turn: int) -> float:
        return await self._first(
            "llm", "generate", {"messages": MESSAGES, "session": "direct", "sampling": {"max_tokens": 3}}
        )

    async def tts(self, turn: int) -> float:
        return await self._first("tts", "speak", {"text": REPLY})

    async def _first(self, kind: Any, method: str, args: dict[str, Any], body: bytes = b"") -> float:
        """Milliseconds to the first chunk, or to the answer of a method that gives none."""
        began, took_ms = time.perf_counter(), 0.0
        async with self._switchboard.service(kind).link.call(method, args, body) as answers:
            async for _ in answers:
                took_ms = took_ms or 1000 * (time.perf_counter() - began)
        return took_ms or 1000 * (time.perf_counter() - began)


async def measure(rounds: int, changes: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Medians for each model."""
    settings = read_settings(Path("no.env"), {"LOCAL_AI_MODE": "full", **changes})
    switchboard = Switchboard.from_settings(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(uvicorn_config(build_app(settings, switchboard), settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await switchboard.start()
        async with switchboard.service("tts").link.call("speak", {"text": QUESTION}) as answers:
            _, question = await answers.finish()
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        async with connect(url, compression=None, max_size=None) as ws:
            await ws.send(Auth(protocol_version=3).to_json())
            await ws.recv()
            return await _compare(Direct(switchboard, question), ThroughServer(ws, question), rounds)
    finally:
        server.should_exit = True
        await serving
        await switchboard.stop()


async def _compare(direct: Direct, through: ThroughServer, rounds: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[tuple[float, float]]] = {"stt": [], "llm": [], "tts": []}
    for turn in range(rounds + 1):
        for kind, pairs in times.items():
            asked = dict.fromkeys(("direct", "server"), 0.0)
            for side in asked if turn % 2 else reversed(asked):
                asked[side] = await getattr(direct if side == "direct" else through, kind)(turn)
            if turn:  # the first round fills the caches
                pairs.append((asked["direct"], asked["server"]))
    return {
        kind: {
            "direct_p50_ms": round(statistics.median(a for a, _ in pairs), 1),
            "server_p50_ms": round(statistics.median(b for _, b in pairs), 1),
            "added_p50_ms": round(statistics.median(b - a for a, b in pairs), 2),
        }
        for kind, pairs in times.items()
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    changes = dict(pair.split("=", 1) for pair in options.set)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(2 if options.short else options.rounds, changes))
    print(f"{'':5}{'direct p50':>12}{'server p50':>12}{'added p50':>12}   (ms; target: added ≤ {TARGET_MS:g})")
    for kind, row in figures.items():
        print(f"{kind:5}" + "".join(f"{value:12.2f}" for value in row.values()))
    print(json.dumps({"benchmark": "server_overhead", "target_ms": TARGET_MS, **figures}))


if __name__ == "__main__":
    main()
