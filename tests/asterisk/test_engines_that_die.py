"""Engine processes that share an Asterisk: one is killed, and its callers hear speech again; the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from agent_fixture import eventually
from several_engines import WITHIN_S, engines, nothing_left

from tools.pbx_instance import Pbx, PbxUnavailable

if TYPE_CHECKING:
    from tools.call import SipCall, SipCaller

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def own_pbx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pbx]:
    instance = Pbx(tmp_path_factory.mktemp("pbx"))
    try:
        instance.start()
    except PbxUnavailable as error:
        pytest.skip(f"no Asterisk can be had here: {error}")
    yield instance
    instance.stop()


async def dialled(stack: AsyncExitStack, caller: SipCaller, pbx: Pbx, *extensions: int) -> list[SipCall]:
    """Calls that were greeted, one after the other."""
    calls = []
    for extension in extensions:
        call = await stack.enter_async_context(caller.dial(pbx.sip_uri(extension)))
        await call.wait_for_agent(timeout_s=WITHIN_S)
        calls.append(call)
    return calls


async def test_the_callers_of_a_killed_engine_are_taken_over(
    own_pbx: Pbx, sip_caller: SipCaller, tmp_path: Path
) -> None:
    async with engines(tmp_path, own_pbx, 3) as (dying, second, third), AsyncExitStack() as stack:
        orphans = await dialled(stack, sip_caller, own_pbx, *[dying.extension] * 4)
        others = await dialled(stack, sip_caller, own_pbx, second.extension, third.extension)
        for call in (*orphans, *others):
            await call.wait_for_silence(500, timeout_s=WITHIN_S)
        killed_at = asyncio.get_running_loop().time()
        await dying.kill()
        for call in orphans:
            await call.wait_for_agent(timeout_s=WITHIN_S)  # "we were cut off for a moment"
        adopted = [line for engine in (second, third) for line in engine.said("asterisk.caller_of_dead_engine")]
        assert [line["how"] for line in adopted] == ["adopted"] * 4, "each caller by one engine"
        assert len({line["channel"] for line in adopted}) == 4
        print("silent before adoption:", [line["silent_s"] for line in adopted], "heard after", killed_at)
        greetings = [line["text"] for engine in (second, third) for line in engine.said("agent_turn")]
        await eventually(
            lambda: _total(second, third), lambda count: count == 6, WITHIN_S
        )
        for call in others:
            assert not call.voiced_since(killed_at)[1], "they hear nothing of it"
        del greetings
        await dying.start()
        assert (await dying.health())["calls"] == 0
        assert await _total(second, third) == 6
        for call in (*orphans, *others):
            await call.hangup()
        await second.calls(0)
        await third.calls(0)
        await nothing_left(own_pbx)


async def _total(*processes: object) -> int:
    return sum([(await process.health())["calls"] for process in processes])  # type: ignore[attr-defined]
