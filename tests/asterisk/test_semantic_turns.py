"""A real call with the semantic end-of-turn model: it is asked, and its death is nobody's loss."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from agent_fixture import NO_FILLER, Agent, agent_events, ask, eventually, greeted, own_agent

from local_ai_server.catalog import ModelMissing, find_model
from tools.call import SipCaller
from tools.pbx_instance import Pbx, PbxUnavailable

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = {**NO_FILLER, "end_of_turn": {"model": "smart-turn-v3", "deadline_ms": 2000}, "logging": {"level": "debug"}}
PATIENT = {"wait": {"base_ms": 1200, "complete_ms": 1200, "unknown_ms": 1200}}
"""So that a loaded machine, too, has its opinion before the turn is over."""


def workers(engine_pid: int | None) -> list[int]:
    """The engine's children that run the model."""
    found = []
    for file in Path(f"/proc/{engine_pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread may end while one looks
            for pid in map(int, file.read_text().split()):
                with suppress(OSError):  # and so may a child
                    if b"SmartTurnModel" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        found.append(pid)
    return found


def opinions(agent: Agent) -> list[dict[str, Any]]:
    lines = agent.stack.engine.log.read_text().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in events if event["event"] == "semantic_end_of_turn"]


async def test_a_call_goes_on_with_the_model_and_without_it(tmp_path: Path, sip_caller: SipCaller) -> None:
    try:
        find_model("smart-turn-v3")
    except ModelMissing as missing:
        pytest.skip(str(missing))
    pbx = Pbx(tmp_path / "pbx")
    try:
        pbx.start()
    except PbxUnavailable as error:
        pytest.skip(f"no Asterisk can be had here: {error}")
    try:
        config = {**CONFIG, "conversation": {**CONFIG["conversation"], **PATIENT}}
        async with own_agent(tmp_path / "agent", pbx, config=config) as agent:
            question = await agent.line("What colour is the door?")
            async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
                await ask(call, question)
                await events.next("caller_turn", within_s=30.0)
                found = opinions(agent)
                assert found
                assert all(0 <= opinion["probability"] <= 1 for opinion in found)

                (worker,) = workers(agent.stack.engine.pid)
                os.kill(worker, signal.SIGKILL)
                events.seen.clear()
                await ask(call, question)
                await events.next("caller_turn", within_s=30.0)

                async def back() -> list[int]:
                    return workers(agent.stack.engine.pid)

                await eventually(back, lambda pids: len(pids) == 1 and pids != [worker], within_s=60.0)
            await agent.nothing_left()
    finally:
        pbx.stop()
