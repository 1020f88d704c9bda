"""How real calls begin and end without the model: greetings, silence, and being put through."""

from __future__ import annotations

import numpy as np
import pytest
from agent_fixture import Agent, agent_events, greeted, has_tone

from tools.call import SipCaller
from tools.call.measure import voiced_segments

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]

FAREWELL = "I cannot hear anybody, so I will end this call now. Thank you very much for calling us today. Goodbye."
TOLD = "You are talking with an automated assistant. Hello, this is the quiet line."


async def test_a_key_puts_the_caller_through_once_that_was_announced(agent: Agent, sip_caller: SipCaller) -> None:
    async with agent_events(agent) as events, greeted(sip_caller, agent, 713) as call:
        await call.send_dtmf("0")
        told = await events.next("agent_turn", lambda e: e["text"] == "I will put you through to somebody now.", 30.0)
        ended = await events.next("call_ended", within_s=30.0)
        begin_s = await call.wait_for_agent(min_voiced_ms=1000, timeout_s=30.0)
        assert has_tone(call.heard_since(begin_s), 1004.0)
    assert not told["interrupted"]
    assert ended["outcome"] == "transferred"
    await agent.nothing_left(30.0)


async def test_a_silent_caller_hears_greeting_question_and_farewell_to_their_ends(
    agent: Agent, sip_caller: SipCaller
) -> None:
    async with agent_events(agent) as events, sip_caller.dial(agent.pbx.sip_uri(714)) as call:
        await call.wait_ended(60.0)
        await events.next("call_ended", lambda e: e["outcome"] == "agent_hung_up", 30.0)
        turns = [event for event in events.seen if event["type"] == "agent_turn"]
        voiced = voiced_segments(np.asarray(call.recording.agent))
    assert [turn["text"] for turn in turns] == [TOLD, "Are you still there?", FAREWELL]
    assert not any(turn["interrupted"] for turn in turns)
    assert len(voiced) >= 3
    await agent.nothing_left(30.0)


async def test_outside_of_its_hours_another_persona_answers(agent: Agent, sip_caller: SipCaller) -> None:
    async with agent_events(agent) as events, sip_caller.dial(agent.pbx.sip_uri(716)):
        greeting = await events.next("agent_turn", within_s=30.0)
        assert greeting["text"] == "Our shop is closed at the moment."
        (session,) = (await agent.get("/sessions"))["sessions"]
        assert session["context"] == "ctx717"
    await agent.nothing_left(30.0)
