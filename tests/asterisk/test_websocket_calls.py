"""Whole calls over chan_websocket, chosen by the INVITE's headers (extension 750): heard, interrupted, nothing left."""

from __future__ import annotations

import asyncio

import pytest
from agent_fixture import Agent, agent_events

from tools.call import SipCaller

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]

PATIENCE_S = 60.0


def over_websocket(media_format: str) -> dict[str, str]:
    return {"X-AI-CONTEXT": "default", "X-AI-TRANSPORT": "websocket", "X-AI-TRANSPORT-FORMAT": media_format}


def media_channels(agent: Agent) -> list[str]:
    lines = agent.pbx.cli("core show channels concise").splitlines()
    return [line.split("!")[0] for line in lines if line.startswith("WebSocket/")]


@pytest.mark.parametrize("media_format", ["slin16", pytest.param("ulaw", marks=pytest.mark.slow)])
async def test_a_question_is_answered_and_the_agent_can_be_interrupted(
    agent: Agent, sip_caller: SipCaller, media_format: str
) -> None:
    garden = await agent.line("Tell me about the garden.")
    stop = await agent.line("Excuse me, what colour is the door?")
    headers = over_websocket(media_format)
    async with agent_events(agent) as events, sip_caller.dial(agent.pbx.sip_uri(750), headers=headers) as call:
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        await call.wait_for_silence(700, timeout_s=PATIENCE_S)
        assert len(media_channels(agent)) == 1
        await call.play(garden).sent()
        await call.wait_for_agent(min_voiced_ms=1500, timeout_s=PATIENCE_S)
        await call.play(stop).sent()
        story = await events.next("agent_turn", lambda e: e["source"] != "said", PATIENCE_S)
        answer = await events.next(
            "agent_turn", lambda e: e["source"] != "said" and e["turn"] != story["turn"], PATIENCE_S
        )
        await call.wait_for_silence(700, timeout_s=PATIENCE_S)
    assert story["interrupted"]
    assert story["text"].startswith("The garden")
    assert "river" not in story["text"]  # only what was heard of it
    assert "yellow" in answer["text"]
    await agent.nothing_left(PATIENCE_S)


HANG_UP_AT = [
    "answered",
    pytest.param("greeting", marks=pytest.mark.slow),
    pytest.param("listening", marks=pytest.mark.slow),
    "thinking",
    pytest.param("speaking", marks=pytest.mark.slow),
]
"""Not while it rings: a CANCEL that crosses the answer is the telephone's affair."""


@pytest.mark.parametrize("state", HANG_UP_AT)
async def test_hanging_up_leaves_nothing_behind(agent: Agent, sip_caller: SipCaller, state: str) -> None:
    question = await agent.line("What colour is the door?")
    async with sip_caller.dial(agent.pbx.sip_uri(750), headers=over_websocket("ulaw")) as call:
        if state != "answered":
            await call.wait_for_agent(timeout_s=PATIENCE_S)
        if state in ("listening", "thinking", "speaking"):
            await call.wait_for_silence(700, timeout_s=PATIENCE_S)
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
    headers = over_websocket("slin16")
    async with agent_events(agent) as events, sip_caller.dial(agent.pbx.sip_uri(750), headers=headers) as call:
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        (name,) = media_channels(agent)
        agent.pbx.cli(f"channel request hangup {name}")
        ended = await events.next("call_ended", within_s=PATIENCE_S)
    assert ended["outcome"] == "fell_back"
    await agent.nothing_left(PATIENCE_S)
