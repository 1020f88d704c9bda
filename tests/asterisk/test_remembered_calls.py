"""A real call in the history: what both said, how fast, and its recording; deleted, nothing of it is left (A20)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from agent_fixture import PATIENCE_S, Agent, ask, eventually

from tools.call import SipCaller

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]


async def test_a_call_is_remembered_until_it_is_deleted(agent: Agent, sip_caller: SipCaller) -> None:
    question = await agent.line("What colour is the door?")
    async with sip_caller.dial(agent.pbx.sip_uri(715)) as call:
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        await call.wait_for_silence(1000)
        (session,) = (await agent.get("/sessions"))["sessions"]
        await ask(call, question)
    page = f"/calls/{session['call_id']}"

    async def read() -> dict[str, Any]:
        found: dict[str, Any] = await agent.get(page)
        return found

    found = await eventually(read, lambda shown: shown.get("ended_at") and shown["recording_there"])
    assert (found["context"], found["provider"], found["outcome"]) == ("ctx715", "local", "caller_hung_up")
    assert (found["dialled_number"], found["transport"], found["media_format"]) == ("715", "rtp", "ulaw")
    assert found["line_quality"]["received"] > 0
    speakers = [line["speaker"] for line in found["lines"]]
    assert speakers[0] == "agent"
    assert "caller" in speakers
    answers = [line for line in found["lines"] if line["speaker"] == "agent" and line["timeline_ms"]]
    assert any("first_packet" in line["timeline_ms"] for line in answers)
    recordings = agent.stack.home / "recordings"
    file = Path(found["recording_file"])
    assert await eventually(lambda: exists(recordings / file), bool)

    async with aiohttp.ClientSession() as client, client.delete(agent.stack.engine_url + page) as answer:
        assert (answer.status, await answer.json()) == (200, {"deleted": 1, "recordings": 1})
    assert "error" in await agent.get(page)
    assert not (recordings / file).exists()


async def exists(file: Path) -> bool:
    return file.exists()
