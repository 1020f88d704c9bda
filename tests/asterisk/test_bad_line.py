"""What the engine tells of a line that loses packets: while the call lasts and when it has ended."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from agent_fixture import Agent, agent_events, eventually

from tools.call import SipCaller
from tools.call.impaired_line import impaired_line
from tools.call.impairment import Impairment

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]


async def metrics(agent: Agent) -> str:
    async with aiohttp.ClientSession() as client, client.get(f"{agent.stack.engine_url}/metrics") as response:
        return await response.text()


async def test_a_call_over_a_bad_line_is_counted_as_one(agent: Agent, sip_caller: SipCaller) -> None:
    async def seen() -> dict[str, Any]:
        sessions = (await agent.get("/sessions"))["sessions"]
        return (sessions[0]["line"] or {}) if sessions else {}

    bad = Impairment(loss=0.2)
    async with agent_events(agent) as events:
        async with impaired_line(agent.pbx.sip_uri(714), up=bad, seed=3) as line, sip_caller.dial(line.uri) as call:
            await eventually(seen, lambda figures: figures.get("lost", 0) >= 3, 60.0)
            await call.hangup()
            lost = line.stats[0].lost
        ended = await events.next("call_ended", within_s=60.0)

    async def report() -> list[dict[str, Any]]:
        return [entry for entry in agent.logged("line_quality") if entry["call_id"] == ended["call_id"]]

    (told,) = await eventually(report, bool)
    assert 3 <= told["lost"] <= lost
    assert told["concealed"] >= 1
    assert told["jitter_ms"] >= 0
    assert told["sent"] > 0
    exposition = await metrics(agent)
    for name in (
        'parley_line_packets_total{leg="media",what="lost"}',
        'parley_line_loss_ratio_count{direction="in",leg="media"}',
        'parley_line_delay_seconds_count{leg="media"}',
    ):
        assert name in exposition
    await agent.nothing_left()
