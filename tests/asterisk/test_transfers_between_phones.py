"""Transfers between three registered telephones through a real Asterisk: who hears whom, and what is left."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest
from agent_fixture import PATIENCE_S, require_models
from transfer_rig import CALLER, CALLER_HZ, Exchange, likest, purity, running_exchange, scene, talk, tone

from tools.call import CallRefused
from tools.pbx_instance import Pbx, PbxUnavailable

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    require_models()
    pbx = Pbx(tmp_path_factory.mktemp("pbx"))
    try:
        pbx.start()
    except PbxUnavailable as error:
        pytest.skip(f"no Asterisk can be had here: {error}")
    try:
        with running_exchange(tmp_path_factory.mktemp("exchange"), pbx) as exchange:
            yield exchange
    finally:
        pbx.stop()


TO_JOIN = b"/continue"
"""The colleague's request first, then the caller's."""


async def test_accepted_by_key_and_both_talk_on_when_the_engine_is_stopped(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.rings()
        assert CALLER in leg.peer
        at.call.surround(tone(CALLER_HZ))
        await leg.answer()
        assert leg.answered_s is not None
        await leg.wait_for_agent(1500, PATIENCE_S, since_s=leg.answered_s)
        await leg.wait_for_silence(300, PATIENCE_S)
        briefing, meanwhile = leg.heard_since(leg.answered_s), at.call.heard_since(leg.answered_s)
        at.call.surround(None)
        assert "bicycle" in await exchange.words(briefing)
        assert likest(briefing, meanwhile) < 0.5 < likest(briefing, briefing), "the caller does not hear it"
        assert purity(briefing, CALLER_HZ) < 0.5, "nor is he heard"
        await leg.send_dtmf("1")
        assert await at.ended() == "transferred"
        await talk(at.call, leg)
        at.no_dead_air()
        await exchange.stack.engine.stop(30.0)
        await talk(at.call, leg)
        await leg.hangup()
        await at.call.wait_ended(PATIENCE_S)
    await exchange.empty()


async def test_a_caller_is_back_with_the_agent_when_the_telephone_is_busy_and_may_ask_again(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        await (await at.rings()).reject()
        await at.told("ann is on another call")
        at.no_dead_air()
        await (await at.rings(destination="ben")).reject()
        await at.told("ben is on another call")
    await exchange.nothing_left()


async def test_a_caller_is_back_with_the_agent_when_nobody_answers(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.rings("ask_briefly")
        await leg.wait_ended(PATIENCE_S)
        await at.told("nobody answers")
        at.no_dead_air()
    await exchange.nothing_left()


@pytest.mark.slow
async def test_a_caller_is_back_with_the_agent_when_the_telephone_is_not_connected(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        await at.asks_for("cleo")
        await at.told("cannot reach cleo")
        at.no_dead_air()
    await exchange.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("briefed", [False, True])
async def test_a_caller_hears_a_farewell_when_the_engine_is_told_to_stop(exchange: Exchange, briefed: bool) -> None:
    async with scene(exchange) as at:
        leg = await (at.briefed() if briefed else at.rings())
        stopped_s = time.monotonic()
        await exchange.stack.engine.stop(30.0)
        await leg.wait_ended(PATIENCE_S)
        await at.call.wait_ended(PATIENCE_S)
        heard = await exchange.words(at.call.heard_since(stopped_s))
        assert "bye" in heard, heard
        at.no_dead_air()
    await exchange.empty()


@pytest.mark.slow
async def test_a_colleague_is_not_left_alone_when_the_engine_dies_during_the_briefing(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.briefed()
        await exchange.kill_engine()
        await exchange.start_engine()
        await leg.wait_ended(PATIENCE_S)
        await exchange.logged_anew("agent_turn", text="Hello.")
        at.no_dead_air()
    await exchange.nothing_left()


@pytest.mark.parametrize("does", ["hangs up", pytest.param("declines", marks=pytest.mark.slow)])
async def test_a_caller_is_back_with_the_agent_when_the_colleague(exchange: Exchange, does: str) -> None:
    async with scene(exchange) as at:
        leg = await at.briefed()
        await (leg.send_dtmf("2") if does == "declines" else leg.hangup())
        await leg.wait_ended(PATIENCE_S)
        await at.told("cannot take your call")
        at.no_dead_air()
    await exchange.nothing_left()


async def test_a_caller_who_hangs_up_while_it_rings_ends_the_ringing(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.rings()
        await at.call.hangup()
        await leg.wait_ended(PATIENCE_S)
        assert leg.answered_s is None
    await exchange.nothing_left()


async def test_a_colleague_is_told_that_the_caller_hung_up_during_the_briefing(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.briefed()
        await at.call.hangup()
        hung_up_s = time.monotonic()
        await leg.wait_ended(PATIENCE_S)
        assert "hung up" in await exchange.words(leg.heard_since(hung_up_s))
    await exchange.nothing_left()


@pytest.mark.parametrize("requests", [pytest.param(0, marks=pytest.mark.slow), 1])
async def test_a_caller_who_hangs_up_at_the_merge_leaves_no_colleague(exchange: Exchange, requests: int) -> None:
    async with scene(exchange) as at:
        exchange.ari.hold(TO_JOIN, skip=requests)
        leg = await at.accepted()
        await exchange.ari.until_reached()
        await at.call.hangup()
        exchange.ari.release()
        await leg.wait_ended(PATIENCE_S)
        assert await at.ended() == "caller_hung_up"
    await exchange.nothing_left()


@pytest.mark.slow
async def test_a_caller_is_back_with_the_agent_when_the_colleague_hangs_up_before_the_merge(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        exchange.ari.hold(TO_JOIN)
        leg = await at.accepted()
        await exchange.ari.until_reached()
        await leg.hangup()
        exchange.ari.release()
        await at.told("cannot take your call")
        at.no_dead_air()
    await exchange.nothing_left()


@pytest.mark.slow
async def test_a_caller_whose_colleague_hangs_up_at_the_merge_is_with_the_agent_in_a_new_call(
    exchange: Exchange,
) -> None:
    async with scene(exchange) as at:
        exchange.ari.hold(TO_JOIN, skip=1)
        leg = await at.accepted()
        await exchange.ari.until_reached()
        await leg.hangup()
        await exchange.logged_anew("consultation", happened="callee_gone")
        exchange.ari.release()
        assert await at.ended() == "fell_back", "the first call is not the caller's end"
        await at.told("cut off")
        assert not at.call.ended.is_set()
        at.no_dead_air()
    await exchange.nothing_left()


async def test_both_talk_on_when_the_engine_is_killed(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.accepted()
        assert await at.ended() == "transferred"
        await exchange.kill_engine()
        await talk(at.call, leg)
        await exchange.start_engine()
        await talk(at.call, leg)
        await at.call.hangup()
        await leg.wait_ended(PATIENCE_S)
    await exchange.idle()


@pytest.mark.slow
@pytest.mark.parametrize("requests", [0, 1])
async def test_nobody_is_alone_for_ever_when_the_engine_dies_at_the_merge(exchange: Exchange, requests: int) -> None:
    async with scene(exchange) as at:
        exchange.ari.hold(TO_JOIN, skip=requests)
        leg = await at.accepted()
        await exchange.ari.until_reached()
        await exchange.kill_engine()
        killed_s = time.monotonic()
        exchange.ari.release()
        if requests:
            await leg.wait_ended(PATIENCE_S)  # the dialplan does it, without any engine
        await exchange.start_engine()
        await leg.wait_ended(PATIENCE_S)
        await exchange.logged_anew("agent_turn", text="Hello.")
        assert "hello" in await exchange.words(at.call.heard_since(killed_s))
    await exchange.nothing_left()


@pytest.mark.slow
async def test_a_caller_on_hold_hears_music_until_the_next_engine_when_one_dies(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.rings()
        await exchange.kill_engine()
        await asyncio.sleep(1.0)  # the music goes on meanwhile
        started_s = time.monotonic()
        await exchange.start_engine()
        await leg.wait_ended(PATIENCE_S)
        await exchange.logged_anew("agent_turn", text="Hello.")
        at.no_dead_air()
        assert "hello" in await exchange.words(at.call.heard_since(started_s))
    await exchange.nothing_left()


@pytest.mark.slow
async def test_a_caller_is_back_with_the_agent_when_asterisk_is_lost_while_it_rings(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.rings()
        exchange.ari.cut()
        await at.told("cannot reach")
        await leg.wait_ended(PATIENCE_S)
        at.no_dead_air()
    await exchange.nothing_left()


@pytest.mark.slow
async def test_asterisk_is_lost_for_a_while_and_somebody_answers_meanwhile(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.rings()
        exchange.ari.freeze()
        exchange.ari.cut()
        with contextlib.suppress(CallRefused):  # or a moment later: there is no application to take the call
            await leg.answer()
        await leg.wait_ended(PATIENCE_S)
        await asyncio.sleep(2.0)  # the outage goes on
        exchange.ari.thaw()
        await at.told("cannot reach")
        at.no_dead_air()
    await exchange.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize(("says", "accepts"), [("Yes, put them through.", True), ("No, not now.", False)])
async def test_decided_by_voice_when_told_and_not_by_a_yes_on_picking_up(
    exchange: Exchange, says: str, accepts: bool
) -> None:
    picking_up, words = await exchange.line("Yes? Hello?"), await exchange.line(says)
    async with scene(exchange) as at:
        leg = await at.rings()
        await leg.answer()
        await leg.play(picking_up).sent()
        await leg.wait_for_agent(2500, PATIENCE_S)
        await leg.wait_for_silence(700, PATIENCE_S)
        assert "bicycle" in await exchange.words(leg.recording.agent)
        await leg.play(words).sent()
        if accepts:
            assert await at.ended() == "transferred"
            await talk(at.call, leg)
            assert likest(words, at.call.heard_since(at.asked_s)) < 0.5, "the caller does not hear the decision"
            await at.call.hangup()
        else:
            await at.told("cannot take your call")
        at.no_dead_air()
        await leg.wait_ended(PATIENCE_S)
    await exchange.nothing_left()


async def test_put_through_without_asking_and_both_talk_when_the_engine_is_killed(exchange: Exchange) -> None:
    async with scene(exchange) as at:
        leg = await at.rings("put_through")
        assert await at.ended() == "transferred"
        await asyncio.sleep(2.0)  # the caller hears it ring
        await leg.answer()
        at.no_dead_air()
        await talk(at.call, leg)
        await exchange.kill_engine()
        await talk(at.call, leg)
        await at.call.hangup()
        await leg.wait_ended(PATIENCE_S)
    await exchange.empty()
