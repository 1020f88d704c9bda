"""A whole agent on a real Asterisk with real models, and what a test does with it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from local_ai_server.catalog import ModelMissing, find_model
from tools.call import SipCall, SipCaller
from tools.call.measure import voiced_segments
from tools.call.wav import Pcm
from tools.pbx_instance import Pbx
from tools.speech import speak, transcribe
from tools.stack import PROJECT, Ports, Stack

PATIENCE_S = 60.0
"""For what takes a moment on an idle machine; a telephone whose CANCEL crosses the answer keeps its call for 32 s."""
TOKEN = "token-of-the-tests"
NO_FILLER = {"conversation": {"filler_after_s": 0}}
"""So that the first thing heard after a question is its answer, however slow a busy machine makes it."""
CONTEXTS = Path(__file__).parent / "contexts"
EMBEDDED = ("whisper-tiny.en", "en_US-joe-medium", "SmolLM2-135M-Instruct-Q8_0", "silero_vad")


class Agent:
    """The running parts, and shortcuts to what is asked of them most."""

    def __init__(self, stack: Stack, pbx: Pbx) -> None:
        self.stack = stack
        self.pbx = pbx

    @property
    def server_ws(self) -> str:
        return self.stack.server_url.replace("http", "ws", 1)

    async def line(self, text: str) -> Pcm:
        """What a caller says, as sound."""
        return await speak(self.server_ws, text, token=TOKEN, cache=PROJECT / "var" / "speech")

    async def words(self, pcm: Pcm) -> str:
        """What was heard, as words: lower case, no punctuation."""
        text = await transcribe(self.server_ws, pcm, token=TOKEN)
        return re.sub(r"[^a-z0-9' ]+", " ", text.lower())

    async def get(self, page: str) -> Any:
        async with aiohttp.ClientSession() as client, client.get(f"{self.stack.engine_url}{page}") as response:
            return await response.json()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The engine's log lines of that name, oldest first."""
        text = (self.stack.home / "engine.log").read_text()
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may be on its way into the file
        return [entry for line in lines if line.startswith("{") and (entry := json.loads(line)).get("event") == event]

    async def left_behind(self) -> dict[str, Any]:
        """Everything that should be gone after the last call: empty when nothing is left."""
        health = await self.get("/health")
        left = {
            "calls": health["calls"],
            "ports": health["media"]["ports_in_use"],
            "channels": _count(self.pbx.cli("core show channels count"), r"(\d+) active channel"),
            "bridges": len([row for row in self.pbx.cli("bridge show all").splitlines()[1:] if row.strip()]),
        }
        return {what: count for what, count in left.items() if count}

    async def nothing_left(self, within_s: float = PATIENCE_S) -> None:
        """Fail unless Asterisk and engine are as before the call at last."""
        await eventually(self.left_behind, lambda left: not left, within_s)


async def eventually(
    read: Callable[[], Awaitable[Any]], good: Callable[[Any], bool], within_s: float = PATIENCE_S
) -> Any:
    """Read until it is good; fail with the last reading when time runs out."""
    deadline = time.monotonic() + within_s
    while not good(value := await read()):
        if time.monotonic() > deadline:
            pytest.fail(f"still {value!r} after {within_s} s")
        await asyncio.sleep(0.1)
    return value


def _count(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    assert found, text
    return int(found[1])


def asterisk_variables(pbx: Pbx) -> dict[str, str]:
    return {
        "ASTERISK_HOST": pbx.host,
        "ASTERISK_ARI_PORT": str(pbx.http_port),
        "ASTERISK_ARI_USERNAME": pbx.ari_user,
        "ASTERISK_ARI_PASSWORD": pbx.ari_password,
        "ASTERISK_ARI_APP": pbx.app,
        "LOCAL_WS_AUTH_TOKEN": TOKEN,
    }


def require_models() -> None:
    for name in EMBEDDED:
        try:
            find_model(name)
        except ModelMissing as missing:
            pytest.skip(f"needs the embedded models: {missing}")


@asynccontextmanager
async def own_agent(home: Path, pbx: Pbx, **options: Any) -> AsyncIterator[Agent]:
    """A stack for a test that breaks it."""
    require_models()
    async with Stack(home, asterisk_variables(pbx), contexts=CONTEXTS, ports=Ports(), **options) as stack:
        yield Agent(stack, pbx)


@asynccontextmanager
async def greeted(caller: SipCaller, agent: Agent, extension: int = 700) -> AsyncIterator[SipCall]:
    """A call whose greeting has been heard to its end."""
    async with caller.dial(agent.pbx.sip_uri(extension)) as call:
        await call.wait_for_agent(timeout_s=PATIENCE_S, since_s=call.dialled_s)
        await call.wait_for_silence(700)
        yield call


async def ask(call: SipCall, question: Pcm, *, silence_ms: float = 1000) -> Pcm:
    """Say `question`, let the agent answer, and return what was heard from the end of the question on."""
    said = call.play(question)
    await said.sent()
    begin_s = await call.wait_for_agent(timeout_s=PATIENCE_S)
    await call.wait_for_silence(silence_ms)
    return call.heard_since(begin_s - 0.2)


def has_tone(pcm: Pcm, hz: float) -> bool:
    """Most of the last half second is that one frequency."""
    samples = np.asarray(pcm[-4000:], np.float64)
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    near = np.abs(np.fft.rfftfreq(samples.size, 1 / 8000) - hz) < 20
    return bool(spectrum[near].sum() > 0.5 * spectrum.sum() > 0)


def is_silent(pcm: Pcm) -> bool:
    return not voiced_segments(np.asarray(pcm))


class Events:
    """The engine's live events as they come."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    async def next(
        self, kind: str, fits: Callable[[dict[str, Any]], bool] = lambda _: True, within_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        """The first event of that kind that fits, come or coming."""

        async def read() -> dict[str, Any] | None:
            return next((e for e in self.seen if e["type"] == kind and fits(e)), None)

        return await eventually(read, lambda event: event is not None, within_s)


@asynccontextmanager
async def agent_events(agent: Agent) -> AsyncIterator[Events]:
    """What the engine tells of its calls from here on."""
    events = Events()

    async def collect(response: aiohttp.ClientResponse) -> None:
        async for line in response.content:
            if line.startswith(b"data: "):
                events.seen.append(json.loads(line[6:]))

    async with aiohttp.ClientSession() as client, client.get(f"{agent.stack.engine_url}/events") as response:
        await response.content.readline()
        task = asyncio.create_task(collect(response))
        try:
            yield events
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def send_strays(ports: Iterable[int]) -> None:
    """Loud mu-law noise as well-formed RTP to each of `ports`, from a port nobody knows, until cancelled."""
    noise = np.random.default_rng(3).integers(0, 256, 160, dtype=np.uint8).tobytes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(1_000_000):
            packet = struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, number * 160 & 0xFFFFFFFF, 7) + noise
            for port in ports:
                sender.sendto(packet, ("127.0.0.1", port))
            await asyncio.sleep(0.02)
