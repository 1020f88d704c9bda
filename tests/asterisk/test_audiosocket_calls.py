"""Whole calls over AudioSocket, chosen by the INVITE's headers (extension 750): heard, answered, and nothing left."""

from __future__ import annotations

import asyncio

import pytest
from agent_fixture import Agent, agent_events, ask

from tools.call import SipCaller

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]

PATIENCE_S = 60.0


def over_audiosocket(media_format: str) -> dict[str, str]:
    return {"X-AI-CONTEXT": "default", "X-AI-TRANSPORT": "audiosocket", "X-AI-TRANSPORT-FORMAT": media_format}


def media_channel(agent: Agent) -> str:
    """The AudioSocket channel of the only call."""
    lines = agent.pbx.cli("core show channels concise").splitlines()
    (name,) = [line.split("!")[0] for line in lines if line.startswith("AudioSocket/")]
    return name


@pytest.mark.parametrize("media_format", [pytest.param("slin", marks=pytest.mark.slow), "slin16"])
async def test_a_question_is_heard_and_answered(agent: Agent, sip_caller: SipCaller, media_format: str) -> None:
    question = await agent.line("What colour is the door?")
    async with (
        agent_events(agent) as events,
        sip_caller.dial(agent.pbx.sip_uri(750), headers=over_audiosocket(media_format)) as call,
    ):
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        await call.wait_for_silence(700)
        assert media_channel(agent)
        heard = await ask(call, question)
        answer = await events.next("agent_turn", lambda e: e["source"] != "said", PATIENCE_S)
    assert "yellow" in answer["text"]
    assert heard.size
    await agent.nothing_left(PATIENCE_S)


HANG_UP_AT = [
    "ringing",
    "greeting",
    pytest.param("listening", marks=pytest.mark.slow),
    "thinking",
    pytest.param("speaking", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("state", HANG_UP_AT)
async def test_hanging_up_leaves_nothing_behind(agent: Agent, sip_caller: SipCaller, state: str) -> None:
    question = await agent.line("What colour is the door?")
    uri, headers = agent.pbx.sip_uri(750), over_audiosocket("slin")
    async with sip_caller.dial(uri, headers=headers, wait=state != "ringing") as call:
        if state == "ringing":  # before that the telephone has nothing that it could cancel
            while call.ringing_s is None and not call.established.is_set():
                await asyncio.sleep(0.005)
        else:
            await call.wait_for_agent(timeout_s=PATIENCE_S)
        if state in ("listening", "thinking", "speaking"):
            await call.wait_for_silence(700)
        if state in ("thinking", "speaking"):
            await call.play(question).sent()
        if state == "speaking":
            await call.wait_for_agent(timeout_s=PATIENCE_S)
        elif state == "thinking":
            await asyncio.sleep(0.35)
        await call.hangup()
    await agent.nothing_left(PATIENCE_S)


async def test_a_media_channel_that_is_hung_up_sends_the_caller_to_the_fallback(
    agent: Agent, sip_caller: SipCaller
) -> None:
    async with (
        agent_events(agent) as events,
        sip_caller.dial(agent.pbx.sip_uri(750), headers=over_audiosocket("slin16")) as call,
    ):
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        agent.pbx.cli(f"channel request hangup {media_channel(agent)}")
        ended = await events.next("call_ended", within_s=PATIENCE_S)
    assert ended["outcome"] == "fell_back"
    await agent.nothing_left(PATIENCE_S)
