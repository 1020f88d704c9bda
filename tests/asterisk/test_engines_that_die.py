"""Engine processes that share an Asterisk: callers find one, and those of a killed one hear speech again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from agent_fixture import eventually
from breakable import CuttableLine
from several_engines import has_calls, nothing_left, require_voice_activity

from tools.load_test.engines import ONE_OF_SEVERAL, WITHIN_S, EngineProcess, all_started, all_stopped
from tools.pbx_instance import Pbx, PbxUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from tools.call import SipCall, SipCaller

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]

MOST_OF_THE_SECOND = 5
MOST_OF_THE_THIRD = 2


class Site:
    """Three engines behind one Asterisk. The third takes few calls, and tells the others that there is no room."""

    def __init__(self, home: Path, pbx: Pbx, ari: CuttableLine) -> None:
        self.pbx = pbx
        self.ari = ari
        """The first engine's way to Asterisk."""
        small = {"calls": {"max_concurrent": MOST_OF_THE_THIRD, "when_full": "message", "max_messages": 1}}
        self.first = EngineProcess(home, pbx, 1, ari_port=ari.port)
        self.second = EngineProcess(home, pbx, 2, {"calls": {"max_concurrent": MOST_OF_THE_SECOND}})
        self.third = EngineProcess(home, pbx, 3, small)
        self.all = (self.first, self.second, self.third)

    async def calls(self) -> int:
        return sum([(await engine.health())["calls"] for engine in self.all if engine.running])

    async def idle(self) -> None:
        await eventually(self.calls, lambda count: count == 0, WITHIN_S)
        await nothing_left(self.pbx)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require_voice_activity()
    pbx = Pbx(tmp_path_factory.mktemp("pbx"))
    try:
        pbx.start()
    except PbxUnavailable as error:
        pytest.skip(f"no Asterisk can be had here: {error}")
    with CuttableLine(pbx.http_port) as ari:
        site = Site(tmp_path_factory.mktemp("engines"), pbx, ari)
        try:
            asyncio.run(all_started(*site.all))
            yield site
        finally:
            asyncio.run(all_stopped(*site.all))
            pbx.stop()


@pytest.fixture
async def site(running: Site) -> Site:
    """Every engine runs, whatever became of it in the test before, and nobody is on the line."""
    await all_started(*running.all)
    await running.idle()
    return running


async def greeted(stack: AsyncExitStack, caller: SipCaller, pbx: Pbx, *extensions: int) -> list[SipCall]:
    """Calls whose greeting was heard to its end."""
    calls = [await stack.enter_async_context(caller.dial(pbx.sip_uri(extension))) for extension in extensions]
    for call in calls:
        await call.wait_for_agent(timeout_s=WITHIN_S, since_s=call.dialled_s)
        await call.wait_for_silence(500, timeout_s=WITHIN_S)
    return calls


async def sentences(*processes: EngineProcess) -> list[str]:
    """What their agents have said."""
    return [line["text"] for process in processes for line in process.said("agent_turn")]


async def test_callers_of_a_killed_engine_are_taken_over_and_the_others_notice_nothing(
    site: Site, sip_caller: SipCaller
) -> None:
    dying, heirs = site.first, (site.second, site.third)
    async with AsyncExitStack() as stack:
        orphans = await greeted(stack, sip_caller, site.pbx, *[dying.extension] * 4)
        others = await greeted(stack, sip_caller, site.pbx, *(engine.extension for engine in heirs))
        before = [len(engine.said("asterisk.caller_of_dead_engine")) for engine in heirs]
        killed_s = time.monotonic()
        await dying.kill()
        for call in orphans:
            await call.wait_for_agent(timeout_s=WITHIN_S, since_s=killed_s)  # sorry, we were cut off
        rescued = [
            line
            for engine, count in zip(heirs, before, strict=True)
            for line in engine.said("asterisk.caller_of_dead_engine")[count:]
        ]
        print(f"adopted {[line['silent_s'] for line in rescued]} s after the last heartbeat, ", end="")
        print(f"all heard speech {time.monotonic() - killed_s:.2f} s after the kill")
        assert [line["how"] for line in rescued] == ["adopted"] * 4
        assert len({line["channel"] for line in rescued}) == 4, "each by one engine"
        assert await site.calls() == 6
        await eventually(lambda: sentences(*heirs), lambda said: sum("cut off" in text for text in said) == 4, WITHIN_S)
        for call in others:
            assert call.voiced_since(killed_s)[1] is None
        await dying.start()
        assert (await dying.health())["calls"] == 0
        assert not dying.said("call_refused")
        assert await site.calls() == 6, "the engine that is back has taken nobody back"
        for call in (*orphans, *others):
            await call.hangup()
    await site.idle()


async def test_an_engine_that_has_only_lost_sight_of_asterisk_keeps_its_callers(
    site: Site, sip_caller: SipCaller
) -> None:
    heirs = (site.second, site.third)
    before = [len(engine.said("asterisk.caller_of_dead_engine")) for engine in heirs]
    async with AsyncExitStack() as stack:
        (call,) = await greeted(stack, sip_caller, site.pbx, site.first.extension)
        site.ari.freeze()
        try:
            for engine in heirs:
                await eventually(
                    engine.health, lambda health: not health["asterisk"]["peers"][site.first.app], WITHIN_S
                )
            await asyncio.sleep(3.0)  # several looks at it
        finally:
            site.ari.cut()
            site.ari.thaw()
        for engine in heirs:
            await eventually(engine.health, lambda health: health["asterisk"]["peers"].get(site.first.app), WITHIN_S)
        assert (await site.first.health())["calls"] == 1
        assert await site.calls() == 1
        assert [len(engine.said("asterisk.caller_of_dead_engine")) for engine in heirs] == before
        await call.hangup()
    await site.idle()


async def test_beyond_the_limit_a_few_hear_that_there_is_no_room_and_the_rest_goes_to_the_dialplan(
    site: Site, sip_caller: SipCaller
) -> None:
    third = site.third
    message, dialplan = (f'parley_calls_refused_total{{how="{how}",reason="full"}}' for how in ("message", "dialplan"))
    before = [await third.metric(line) for line in (message, dialplan)]
    async with AsyncExitStack() as stack:
        await greeted(stack, sip_caller, site.pbx, *[third.extension] * MOST_OF_THE_THIRD)
        uri = site.pbx.sip_uri(third.extension)  # both at once: the first must not have heard all before the second
        told, sent_on = await asyncio.gather(*(stack.enter_async_context(sip_caller.dial(uri)) for _ in range(2)))
        for call in (told, sent_on):  # one hears the context's sentence, the other the dialplan's recording
            await call.wait_for_agent(timeout_s=WITHIN_S, since_s=call.dialled_s)
            await call.wait_ended(WITHIN_S)
        assert (await third.health())["calls"] == MOST_OF_THE_THIRD
    after = [await third.metric(line) for line in (message, dialplan)]
    assert [now - was for now, was in zip(after, before, strict=True)] == [1.0, 1.0]
    await site.idle()


@pytest.mark.slow
async def test_an_engine_whose_name_another_takes_says_so_and_leaves_its_callers_to_that_one(
    site: Site, sip_caller: SipCaller, tmp_path: Path
) -> None:
    first, namesake = site.second, EngineProcess(tmp_path, site.pbx, 2)
    async with AsyncExitStack() as stack:
        (call,) = await greeted(stack, sip_caller, site.pbx, first.extension)
        taken_s = time.monotonic()
        await namesake.start()
        try:
            await eventually(namesake.health, lambda health: health["calls"] == 1, WITHIN_S)
            await has_calls(first, 0)
            assert "another engine took the Stasis application" in (await first.health())["reason"]
            assert (await first.health())["status"] == "degraded"
            await call.wait_for_agent(timeout_s=WITHIN_S, since_s=taken_s)
            await call.hangup()
            await has_calls(namesake, 0)
        finally:
            await namesake.stop()
    await eventually(first.health, lambda health: health["status"] == "ok", WITHIN_S)
    await site.idle()


@pytest.mark.slow
async def test_a_call_for_which_there_is_no_media_port_goes_to_the_dialplan(
    site: Site, sip_caller: SipCaller, tmp_path: Path
) -> None:
    engine = EngineProcess(tmp_path, site.pbx, 4, media_ports=4)  # every second one is left to RTCP
    try:
        await engine.start()
        async with AsyncExitStack() as stack:
            await greeted(stack, sip_caller, site.pbx, *[engine.extension] * 2)
            sent_on = await stack.enter_async_context(sip_caller.dial(site.pbx.sip_uri(engine.extension)))
            await sent_on.wait_for_agent(timeout_s=WITHIN_S, since_s=sent_on.dialled_s)
            await sent_on.wait_ended(WITHIN_S)
            assert (await engine.health())["calls"] == 2
        assert await engine.metric('parley_calls_refused_total{how="dialplan",reason="no_port"}') == 1.0
    finally:
        await engine.stop()
    await site.idle()


async def test_the_dialplan_finds_the_engine_that_is_there_and_has_room(site: Site, sip_caller: SipCaller) -> None:
    await site.first.stop()
    async with AsyncExitStack() as stack:
        await greeted(stack, sip_caller, site.pbx, *[site.second.extension] * MOST_OF_THE_SECOND)
        await greeted(stack, sip_caller, site.pbx, *[ONE_OF_SEVERAL] * MOST_OF_THE_THIRD)
        assert (await site.third.health())["calls"] == MOST_OF_THE_THIRD
    await site.idle()
