"""Real parts break under real calls: what the caller hears, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from agent_fixture import (
    CONTEXTS,
    NO_FILLER,
    PATIENCE_S,
    Agent,
    agent_events,
    ask,
    asterisk_variables,
    eventually,
    greeted,
    has_tone,
    require_models,
)
from breakable import BreakableAgent, CuttableLine, children, gone, ports_free, resident_kib, worker_of

from tools.call import CallError, SipCall, SipCaller
from tools.pbx_instance import Pbx, PbxUnavailable
from tools.stack import Stack

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]

APOLOGY = "something went wrong"
FALLBACK = "sorry"
"""Asterisk's own recording in the dialplan's fallback: I'm sorry, please try your call later."""
MOST_CALLS = 7
STOP_DEADLINE_S = 13.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BreakableAgent]:
    """Parts of this module's own: an Asterisk, the line to it, a server and an engine."""
    require_models()
    pbx = Pbx(tmp_path_factory.mktemp("pbx"))
    try:
        pbx.start()
    except PbxUnavailable as error:
        pytest.skip(f"no Asterisk can be had here: {error}")
    with CuttableLine(pbx.http_port) as ari:
        stack = Stack(
            tmp_path_factory.mktemp("agent"),
            {**asterisk_variables(pbx), "ASTERISK_ARI_PORT": str(ari.port)},
            config={"calls": {"max_concurrent": MOST_CALLS}, **NO_FILLER},
            contexts=CONTEXTS,
            stop_deadline_s=STOP_DEADLINE_S,
        )
        try:
            asyncio.run(stack.start())
            yield BreakableAgent(stack, pbx, ari)
        finally:
            asyncio.run(stack.stop())
            pbx.stop()


@pytest.fixture
async def agent(running: BreakableAgent) -> AsyncIterator[BreakableAgent]:
    await running.whole()
    yield running


async def served(caller: SipCaller, agent: Agent) -> None:
    """A new caller is greeted and answered, and leaves nothing."""
    question = await agent.line("What colour is the door?")
    async with greeted(caller, agent) as call:
        assert "yellow" in await agent.words(await ask(call, question))
    await agent.nothing_left()


async def sent_to_fallback(caller: SipCaller, agent: Agent) -> None:
    """A new caller hears the dialplan's apology and is hung up."""
    async with caller.dial(agent.pbx.sip_uri(700)) as call:
        await call.wait_ended(PATIENCE_S)
        heard = await agent.words(call.recording.agent)
    assert FALLBACK in heard
    assert "test line" not in heard


# --- the server and its workers ---------------------------------------------------------------------------------------


async def test_the_server_killed_while_it_thinks_and_while_the_agent_speaks(
    agent: BreakableAgent, sip_caller: SipCaller
) -> None:
    question, garden = await agent.line("What colour is the door?"), await agent.line("Tell me about the garden.")
    async with greeted(sip_caller, agent) as call:
        said = call.play(question)
        await said.sent()
        await asyncio.sleep(0.1)
        killed_s = time.monotonic()
        await agent.kill_server()
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        await call.wait_for_silence(1000)
        apology = call.heard_since(killed_s)

        await agent.start_server()
        assert APOLOGY in await agent.words(apology)
        said = call.play(garden)
        await said.sent()
        begin_s = await call.wait_for_agent(min_voiced_ms=1500, timeout_s=PATIENCE_S)
        await agent.kill_server()
        await call.wait_for_silence(1000)
        story = call.heard_since(begin_s - 0.2)
        unheard = await ask(call, question)

        await agent.start_server()
        assert "village" in await agent.words(story)  # its sound was there to the end
        assert APOLOGY in await agent.words(unheard)
        assert "yellow" in await agent.words(await ask(call, question))
    await agent.nothing_left()


async def test_who_cannot_be_served_is_put_through_where_the_context_says(
    agent: BreakableAgent, sip_caller: SipCaller
) -> None:
    question = await agent.line("What colour is the door?")
    async with greeted(sip_caller, agent, 717) as call:
        await agent.kill_server()
        killed_s = time.monotonic()
        said = call.play(question)
        await said.sent()
        begin_s = await call.wait_for_agent(min_voiced_ms=3000, timeout_s=60.0, since_s=killed_s)
        await eventually(_heard_tone(call, begin_s), bool, 30.0)
        heard = call.heard_since(begin_s - 0.2)
    await agent.start_server()
    assert "technical" in await agent.words(heard[: 5 * 8000])
    await agent.nothing_left(30.0)


def _heard_tone(call: SipCall, since_s: float) -> Callable[[], Awaitable[bool]]:
    async def heard() -> bool:
        return has_tone(call.heard_since(since_s), 1004.0)

    return heard


async def test_a_worker_killed_in_a_turn_is_replaced(agent: BreakableAgent, sip_caller: SipCaller) -> None:
    door = await agent.line("What colour is the door?")
    small_talk = await agent.line("I am in a really good mood today, how about you?")
    async with greeted(sip_caller, agent) as call:
        for kind, line in (("stt", door), ("llm", small_talk), ("tts", small_talk)):
            said = call.play(line)
            await said.sent()
            await asyncio.sleep(0.1 if kind == "stt" else 0.4)
            worker = worker_of(agent.stack.server, kind)
            os.kill(worker, signal.SIGKILL)
            begin_s = await call.wait_for_agent(timeout_s=PATIENCE_S)  # an apology, or the answer of the next worker
            await call.wait_for_silence(1500)
            heard = call.heard_since(begin_s - 0.2)
            await gone({worker})
            await agent.stack.server.ready(f"{agent.stack.server_url}/readyz", PATIENCE_S)
            assert await agent.words(heard)
            assert "yellow" in await agent.words(await ask(call, door)), kind
    await agent.nothing_left()


# --- Asterisk ---------------------------------------------------------------------------------------------------------


async def test_talk_goes_on_while_ari_is_lost_and_all_is_set_right_afterwards(
    agent: BreakableAgent, sip_caller: SipCaller
) -> None:
    question = await agent.line("What colour is the door?")
    async with greeted(sip_caller, agent) as staying, contextlib.AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(greeted(sip_caller, agent))
        agent.ari.freeze()
        assert "yellow" in await agent.words(await ask(staying, question))
        await leaving.hangup()
        coming = await stack.enter_async_context(sip_caller.dial(agent.pbx.sip_uri(700), wait=False))
        await asyncio.sleep(0.5)
        agent.ari.cut()
        agent.ari.thaw()
        await coming.wait_established(PATIENCE_S)
        await coming.wait_for_agent(timeout_s=PATIENCE_S)
        await coming.wait_for_silence(700)
        assert "test line" in await agent.words(coming.recording.agent)
        await eventually(lambda: agent.get("/health"), lambda health: health["calls"] == 2)
        assert "yellow" in await agent.words(await ask(staying, question))
        assert "yellow" in await agent.words(await ask(coming, question))
    await agent.nothing_left()


async def test_a_torn_media_websocket_sends_the_caller_to_the_fallback(
    agent: BreakableAgent, sip_caller: SipCaller
) -> None:
    """Asterisk hangs its channel up, and takes no second connection for it."""
    headers = {"X-AI-CONTEXT": "default", "X-AI-TRANSPORT": "websocket", "X-AI-TRANSPORT-FORMAT": "slin16"}
    async with (
        agent_events(agent) as events,
        sip_caller.dial(agent.pbx.sip_uri(750), headers=headers) as call,
    ):
        await call.wait_for_agent(timeout_s=30.0)
        agent.ari.cut()  # the events of ARI, too: how the media channel ended is nowhere to be read
        ended = await events.next("call_ended", within_s=60.0)
    assert ended["outcome"] in {"fell_back", "failed"}  # by ARI, or by the transport that waited for it in vain
    await agent.nothing_left(60.0)
    await agent.ready()


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "crashed"])
async def test_asterisk_restarted_mid_call(agent: BreakableAgent, sip_caller: SipCaller, kill: bool) -> None:
    async with greeted(sip_caller, agent):
        await asyncio.to_thread(agent.pbx.stop, kill=kill)
        state = await eventually(lambda: agent.get("/ready"), lambda page: not page["ready"])
        assert "Asterisk cannot be reached" in state["reason"] or "connection ended" in state["reason"]
        await asyncio.to_thread(agent.pbx.start)
        await agent.ready()
        await agent.nothing_left()
    await served(sip_caller, agent)


async def test_the_engine_waits_for_an_asterisk_that_is_down(agent: BreakableAgent, sip_caller: SipCaller) -> None:
    await agent.stack.engine.stop(20.0)
    await asyncio.to_thread(agent.pbx.stop)
    agent.stack.engine.start()
    await eventually(lambda: _ready(agent), lambda page: "cannot be reached" in page.get("reason", ""), 30.0)
    await asyncio.to_thread(agent.pbx.start)
    await agent.ready()
    await served(sip_caller, agent)


async def _ready(agent: Agent) -> dict[str, str]:
    try:
        page: dict[str, str] = await agent.get("/ready")
    except OSError:
        return {}
    return page


# --- the engine -------------------------------------------------------------------------------------------------------


async def test_a_stopping_engine_takes_leave_and_leaves_nothing(agent: BreakableAgent, sip_caller: SipCaller) -> None:
    engine, workers = agent.stack.engine, children(agent.stack.engine)
    assert workers
    async with greeted(sip_caller, agent) as first, greeted(sip_caller, agent) as second:
        stopped_s = time.monotonic()
        engine.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        await sent_to_fallback(sip_caller, agent)
        for call in (first, second):
            await call.wait_ended(STOP_DEADLINE_S + PATIENCE_S)
        last_words = [await agent.words(call.heard_since(stopped_s)) for call in (first, second)]
    assert await engine.ended(PATIENCE_S)
    assert engine.returncode == 0
    for words in last_words:
        assert "thank you" in words
        assert "goodbye" in words.replace(" ", "")
    await gone(workers)
    assert ports_free(agent)
    await _pbx_is_empty(agent)


async def test_a_second_signal_hurries_the_farewell(agent: BreakableAgent, sip_caller: SipCaller) -> None:
    async with greeted(sip_caller, agent) as call:
        for _ in range(2):
            agent.stack.engine.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
        await call.wait_for_agent(timeout_s=PATIENCE_S)
        await call.wait_ended(10.0)
    assert await agent.stack.engine.ended(PATIENCE_S)
    assert agent.stack.engine.returncode == 0
    await _pbx_is_empty(agent)


async def test_callers_of_a_crashed_engine_are_served_by_the_next(agent: BreakableAgent, sip_caller: SipCaller) -> None:
    question = await agent.line("What colour is the door?")
    workers = children(agent.stack.engine)
    async with greeted(sip_caller, agent) as call:
        agent.stack.engine.send_signal(signal.SIGKILL)
        assert await agent.stack.engine.ended(PATIENCE_S)
        await gone(workers)
        started_s = time.monotonic()
        await agent.start_engine()
        await call.wait_for_agent(timeout_s=PATIENCE_S, since_s=started_s)
        await call.wait_for_silence(700)
        assert "cut off" in await agent.words(call.heard_since(started_s))
        assert "yellow" in await agent.words(await ask(call, question))
    await agent.nothing_left()


async def test_a_caller_too_many_goes_to_the_fallback(agent: BreakableAgent, sip_caller: SipCaller) -> None:
    async with contextlib.AsyncExitStack() as calls:
        for _ in range(MOST_CALLS):
            await calls.enter_async_context(sip_caller.dial(agent.pbx.sip_uri(700)))
        await eventually(lambda: agent.get("/health"), lambda health: health["calls"] == MOST_CALLS)
        await sent_to_fallback(sip_caller, agent)
    await agent.nothing_left()
    await served(sip_caller, agent)


# --- the caller -------------------------------------------------------------------------------------------------------


async def test_hanging_up_at_any_moment_of_connecting_leaves_nothing(
    agent: BreakableAgent, sip_caller: SipCaller
) -> None:
    for after_ms in (5, 20, 50, 100, 150, 250, 400):
        async with sip_caller.dial(agent.pbx.sip_uri(700), wait=False) as call:
            await asyncio.sleep(after_ms / 1000)
            await call.hangup()
    await agent.nothing_left()
    await served(sip_caller, agent)


@pytest.mark.parametrize("calls", [30, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_many_short_calls_leave_nothing_and_cost_no_memory(
    agent: BreakableAgent, sip_caller: SipCaller, calls: int
) -> None:
    chance = random.Random(5)
    question = await agent.line("What colour is the door?")
    six = asyncio.Semaphore(6)

    async def visit() -> None:
        async with six:
            with contextlib.suppress(CallError):  # one too many goes to the fallback; it is no fault
                async with sip_caller.dial(agent.pbx.sip_uri(700), wait=False) as call:
                    await _stay(call, chance.uniform(0.0, 3.0))

    async def _stay(call: SipCall, seconds: float) -> None:
        call.play(question)
        await asyncio.sleep(seconds)

    await asyncio.gather(*(visit() for _ in range(10)))
    await agent.nothing_left()
    before_kib = resident_kib(agent.stack.engine)
    await asyncio.gather(*(visit() for _ in range(calls)))
    await agent.nothing_left()
    assert resident_kib(agent.stack.engine) < before_kib * 1.1
    await served(sip_caller, agent)


async def _pbx_is_empty(agent: Agent) -> None:
    async def shown() -> str:
        return await asyncio.to_thread(agent.pbx.cli, "core show channels") + agent.pbx.cli("bridge show all")

    def empty(text: str) -> bool:
        return "0 active channels" in text and "parley" not in text

    await eventually(shown, empty)
