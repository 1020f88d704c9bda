"""A call on two real local AI servers, of which one is killed in the middle of a turn: the other answers it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from agent_fixture import (
    CONTEXTS,
    NO_FILLER,
    PATIENCE_S,
    TOKEN,
    Agent,
    asterisk_variables,
    eventually,
    greeted,
    require_models,
)
from breakable import children, gone

from tools.call import SipCall, SipCaller
from tools.call.wav import Pcm
from tools.free_ports import free_tcp_port
from tools.pbx_instance import Pbx
from tools.stack import Process, Stack

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]

APOLOGY = "something went wrong"


class TwoServers(Agent):
    """The stack's server and a second one, in the order of their addresses."""

    def __init__(self, stack: Stack, pbx: Pbx, servers: dict[str, Process]) -> None:
        super().__init__(stack, pbx)
        self.servers = servers

    @property
    def server_ws(self) -> str:
        return next(address for address, server in self.servers.items() if server.running)

    async def states(self) -> list[str]:
        return [server["state"] for server in (await self.get("/health"))["local_servers"]]

    async def start(self, address: str) -> None:
        server = self.servers[address]
        server.start()
        await server.ready(f"{address.replace('ws', 'http', 1)}/readyz", PATIENCE_S)

    async def kill_the_one_with_the_call(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        (address,) = [s["address"] for s in (await self.get("/health"))["local_servers"] if s["calls"]]
        server = self.servers[address]
        workers = children(server)
        server.send_signal(signal.SIGKILL)
        assert await server.ended(PATIENCE_S)
        await gone(workers)

    async def turns(self) -> list[dict[str, Any]]:
        return self.logged("agent_turn")


@asynccontextmanager
async def two_servers(home: Path, pbx: Pbx) -> AsyncIterator[TwoServers]:
    contexts = home / "contexts"
    contexts.mkdir()
    shutil.copy(CONTEXTS / "default.yaml", contexts)  # no more to render than what is used
    first, second = free_tcp_port(), free_tcp_port()
    addresses = [f"ws://127.0.0.1:{port}" for port in (first, second)]
    stack = Stack(
        home,
        asterisk_variables(pbx) | {"ENGINE_HISTORY_URL": f"sqlite:///{home}/calls.sqlite3"},
        contexts=contexts,
        config={**NO_FILLER, "history": {"enabled": True}},
        environment={"LOCAL_WS_URL": ", ".join(addresses)},
    )
    servers = {
        address: Process(
            f"server on {port}",
            [sys.executable, "-m", "local_ai_server"],
            {**os.environ, "LOCAL_AI_MODE": "full", "LOCAL_WS_AUTH_TOKEN": TOKEN, "LOCAL_WS_PORT": str(port)},
            home / f"server-{port}.log",
        )
        for address, port in zip(addresses, (first, second), strict=True)
    }
    agent = TwoServers(stack, pbx, servers)
    stack.with_server = False
    try:
        await asyncio.gather(*(agent.start(address) for address in addresses))
        async with stack:
            await eventually(agent.states, lambda states: states == ["up", "up"])
            yield agent
    finally:
        await asyncio.gather(*(server.stop(5.0) for server in servers.values()))


async def answer(agent: TwoServers, call: SipCall, question: Pcm, kill_after_s: float | None = None) -> tuple[Pcm, int]:
    """What was heard after a question, and how many ms after it. Its server may be killed so long after it begins."""
    before = len(await agent.turns())
    said = call.play(question)
    async with asyncio.TaskGroup() as group:
        if kill_after_s is not None:
            group.create_task(agent.kill_the_one_with_the_call(kill_after_s))
        end_s = await said.sent()
        begin_s = await call.wait_for_agent(timeout_s=PATIENCE_S, since_s=end_s)
    await eventually(agent.turns, lambda turns: len(turns) > before)
    await call.wait_for_silence(1000)
    return call.heard_since(begin_s - 0.2), round((begin_s - end_s) * 1000)


@pytest.mark.parametrize(
    ("text", "when", "heard_as"),
    [
        ("What colour is the door?", "while the caller talks", "door"),
        pytest.param(
            "I am in a really good mood today, how about you?", "after he has", "mood", marks=pytest.mark.slow
        ),
    ],
)
async def test_a_turn_is_answered_although_its_server_is_killed(
    tmp_path: Path, pbx: Pbx, sip_caller: SipCaller, text: str, when: str, heard_as: str
) -> None:
    require_models()
    async with two_servers(tmp_path, pbx) as agent:
        question = await agent.line(text)
        kill_after_s = 0.6 if when == "while the caller talks" else len(question) / 8000 + 0.2
        async with greeted(sip_caller, agent) as call:
            (session,) = (await agent.get("/sessions"))["sessions"]
            whole, usual_ms = await answer(agent, call, question)
            other, ms = await answer(agent, call, question, kill_after_s)
        print(f"\n{text} {usual_ms} ms to the answer, {ms} ms where the server was killed {when}")
        words = [await agent.words(sound) for sound in (whole, other)]
        assert APOLOGY not in words[1]
        assert "yellow" in words[1] if heard_as == "door" else words[1]

        async def remembered() -> dict[str, Any]:
            found: dict[str, Any] = await agent.get(f"/calls/{session['call_id']}")
            return found

        found = await eventually(remembered, lambda page: bool(page.get("ended_at")))
        said = [line["text"] for line in found["lines"] if line["speaker"] == "caller"]
        assert [heard_as in text for text in said] == [True, True]
        assert found["lines"][-1]["speaker"] == "agent"
        (moved,) = agent.logged("call_moved_to_another_server")
        assert moved["call_id"] == session["call_id"]
        await agent.nothing_left()
