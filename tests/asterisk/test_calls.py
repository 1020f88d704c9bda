"""Real callers, a real Asterisk, real models: a caller dials 700 and talks with a local agent (A1-A11)."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from agent_fixture import PATIENCE_S, Agent, agent_events, ask, greeted, is_silent, send_strays

from tools.call import SipCaller
from tools.call.measure import silence_delay_ms

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]


async def test_the_callers_recording_contains_greeting_and_answer(agent: Agent, sip_caller: SipCaller) -> None:
    question = await agent.line("What colour is the door?")
    async with greeted(sip_caller, agent) as call:
        assert "test line" in await agent.words(call.recording.agent)
        answer = await agent.words(await ask(call, question))
    assert "yellow" in answer
    assert "banana" in answer
    await agent.nothing_left()


async def test_small_talk_is_answered_by_the_language_model(agent: Agent, sip_caller: SipCaller) -> None:
    question = await agent.line("I am in a really good mood today, how about you?")
    async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
        answer = await agent.words(await ask(call, question))
        turn = await events.next("agent_turn", lambda e: e["source"] != "said")
    assert len(answer.split()) >= 2
    assert turn["source"].startswith(("llm", "near"))
    for stage in ("end_of_turn", "stt_done", "llm_first_token", "first_phrase", "tts_first_audio", "first_packet"):
        assert stage in turn["timeline_ms"], stage


async def test_an_interrupted_agent_stops_and_hears(agent: Agent, sip_caller: SipCaller) -> None:
    garden = await agent.line("Tell me about the garden.")
    stop = await agent.line("Excuse me, what colour is the door?")
    async with greeted(sip_caller, agent) as call:
        said = call.play(garden)
        await said.sent()
        await call.wait_for_agent(min_voiced_ms=1500, timeout_s=PATIENCE_S)
        onset_s = time.monotonic()
        interruption = call.play(stop)
        await interruption.sent()
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        await call.wait_for_silence(1000)
        sides = call.recording
        answer = await agent.words(call.heard_since(interruption.end_s))
    assert silence_delay_ms(sides.caller, sides.agent, after_s=onset_s - sides.begin_s - 0.1) < 3000
    assert "yellow" in answer
    assert "river" not in answer
    await agent.nothing_left()


async def test_a_cough_does_not_take_the_floor(agent: Agent, sip_caller: SipCaller) -> None:
    garden = await agent.line("Tell me about the garden.")
    rng = np.random.default_rng(7)
    cough = (rng.normal(0, 5000, 1600) * np.hanning(1600)).astype(np.int16)
    async with greeted(sip_caller, agent) as call:
        said = call.play(garden)
        await said.sent()
        begin_s = await call.wait_for_agent(min_voiced_ms=2000, timeout_s=PATIENCE_S)
        call.play(cough)
        await call.wait_for_silence(2500)
        answer = await agent.words(call.heard_since(begin_s - 0.2))
    assert "river" in answer or "village" in answer


async def test_yes_alone_is_heard_and_answered(agent: Agent, sip_caller: SipCaller) -> None:
    parking, yes = await agent.line("Is there parking?"), await agent.line("Yes.")
    async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
        assert "parking" in await agent.words(await ask(call, parking))
        answer = await agent.words(await ask(call, yes))
        await events.next("caller_turn", lambda e: e["text"].lower().strip(" .!") == "yes")
    assert answer.strip()


HANG_UP_AT = ("ringing", "greeting", "listening", "thinking", "speaking")


@pytest.mark.parametrize("state", HANG_UP_AT)
async def test_hanging_up_leaves_nothing_behind(agent: Agent, sip_caller: SipCaller, state: str) -> None:
    question = await agent.line("What colour is the door?")
    if state == "ringing":
        dialling = asyncio.ensure_future(sip_caller.dial(agent.pbx.sip_uri(700)).__aenter__())
        await asyncio.sleep(0.03)
        dialling.cancel()
        await asyncio.gather(dialling, return_exceptions=True)
        await agent.nothing_left()
        return
    async with sip_caller.dial(agent.pbx.sip_uri(700)) as call:
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        if state != "greeting":
            await call.wait_for_silence(700)
        if state in ("thinking", "speaking"):
            said = call.play(question)
            await said.sent()
        if state == "speaking":
            await call.wait_for_agent(timeout_s=PATIENCE_S)
        elif state == "thinking":
            await asyncio.sleep(0.35)
        await call.hangup()
    await agent.nothing_left()


async def test_two_callers_never_hear_each_others_house(agent: Agent, sip_caller: SipCaller) -> None:
    animal = await agent.line("What animal do you have?")

    async def visit(extension: int) -> str:
        async with greeted(sip_caller, agent, extension) as call:
            await ask(call, animal, silence_ms=3000)  # two at once on a busy machine: a filler may come first
            return await agent.words(call.recording.agent)

    first, second = await asyncio.gather(visit(711), visit(712))
    assert "first house" in first
    assert "elephant" in first
    assert "second house" in second
    assert "monkey" in second
    assert "elephant" not in second
    assert "monkey" not in first
    await agent.nothing_left()


async def test_a_stray_source_injects_nothing_and_moves_nothing(agent: Agent, sip_caller: SipCaller) -> None:
    question = await agent.line("What colour is the door?")
    async with greeted(sip_caller, agent) as call:
        first = agent.stack.ports.media_first
        flood = asyncio.create_task(send_strays(range(first, first + agent.stack.ports.media_count)))
        try:
            await asyncio.sleep(2.5)  # loud noise from a wrong port: an agent that heard it would answer or fall silent
            assert is_silent(call.heard_since(call.recording.begin_s + len(call.recording.agent) / 8000 - 1.5))
            assert "yellow" in await agent.words(await ask(call, question))
        finally:
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)
    await agent.nothing_left()


async def test_sessions_and_metrics_show_the_call(agent: Agent, sip_caller: SipCaller) -> None:
    async with greeted(sip_caller, agent):
        (session,) = (await agent.get("/sessions"))["sessions"]
        assert session["context"] == "default"
        assert (await agent.get("/health"))["calls"] == 1
    await agent.nothing_left()
    assert (await agent.get("/sessions"))["sessions"] == []
