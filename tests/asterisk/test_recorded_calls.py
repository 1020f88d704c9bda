"""A recorded call, through a real Asterisk: both sides, in step, without the time before the caller was told (A21)."""

from __future__ import annotations

import wave
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from agent_fixture import PATIENCE_S, Agent, ask, eventually

from tools.call import SipCaller
from tools.call.measure import lag_ms
from tools.call.wav import Pcm

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]

WAY_MS = 1000
"""There and back between telephone and engine, with both jitter buffers and a machine that does much else; 32 ms on a
quiet one. A recording whose sides are out of step is so by what it leaves out: seconds."""


def sides_of(file: Path) -> tuple[Pcm, Pcm]:
    with wave.open(str(file), "rb") as reader:
        both = np.frombuffer(reader.readframes(reader.getnframes()), "<i2").reshape(-1, 2)
        assert (reader.getframerate(), reader.getnchannels()) == (8000, 2)
    return both[:, 0].copy(), both[:, 1].copy()


async def recording_of(agent: Agent, call_id: str) -> Path:
    """The complete file of a call that has ended."""

    async def find() -> list[Path]:
        return list((agent.stack.home / "recordings").rglob(f"*_{call_id}.wav"))

    (file,) = await eventually(find, bool, within_s=PATIENCE_S)
    assert isinstance(file, Path)
    return file


async def test_the_recording_holds_what_the_caller_said_left_and_heard_right(
    agent: Agent, sip_caller: SipCaller
) -> None:
    question = await agent.line("What colour is the door?")
    async with sip_caller.dial(agent.pbx.sip_uri(715)) as call:
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        await call.wait_for_silence(1000)
        (session,) = (await agent.get("/sessions"))["sessions"]
        assert session["recording"] == "recording"
        answer = await ask(call, question)
        own = call.recording
    file = await recording_of(agent, session["call_id"])
    left, right = sides_of(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "tape" in await agent.words(own.agent), "the caller is told"
    assert "tape" not in await agent.words(right), "and recorded only then"
    assert "door" in await agent.words(left)
    assert "yellow" in await agent.words(right)
    assert "yellow" not in await agent.words(left)

    # From the question to the answer it is as long in either recording, but for the way there and back.
    own_gap_ms = place_ms(answer, own.agent) - place_ms(question, own.caller)
    gap_ms = place_ms(answer, right) - place_ms(question, left)
    assert -100 <= own_gap_ms - gap_ms <= WAY_MS


async def test_nothing_of_the_time_it_is_paused_is_in_it(agent: Agent, sip_caller: SipCaller) -> None:
    question = await agent.line("What colour is the door?")

    async def steer(call_id: str, action: str) -> str:
        url = f"{agent.stack.engine_url}/sessions/{call_id}/recording"
        async with aiohttp.ClientSession() as client, client.post(url, json={"action": action}) as response:
            assert response.status == 200
            return str((await response.json())["recording"])

    async with sip_caller.dial(agent.pbx.sip_uri(715)) as call:
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        await call.wait_for_silence(1000)
        (session,) = (await agent.get("/sessions"))["sessions"]
        assert await steer(session["call_id"], "pause") == "paused"
        await ask(call, question)
        assert await steer(session["call_id"], "resume") == "recording"
        own = call.recording
    left, right = sides_of(await recording_of(agent, session["call_id"]))
    assert np.abs(left).max() < 500 < np.abs(question).max(), "all that the caller said he said meanwhile"
    assert "yellow" in await agent.words(own.agent)
    assert "yellow" not in await agent.words(right)
    assert len(left) > len(question) + 16_000, "and yet its time is true"


def place_ms(sound: Pcm, recording: Pcm) -> float:
    """Where in `recording` the loudest second of `sound` lies, less where in `sound` it is."""
    return lag_ms(sound, recording, limit_ms=len(recording) / 8)
