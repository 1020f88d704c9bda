"""What transfers rest on in a real Asterisk: a colleague is rung, decides by a key, and talks on without the engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ai_engine.asterisk import channels, legs
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import (
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelHangupRequest,
    Event,
    StasisEnd,
    StasisStart,
)
from ai_engine.asterisk.ids import OwnIds
from ai_engine.asterisk.reconcile import plan
from ai_engine.tools.call_control import JOIN_CONTEXT, JOIN_EXTENSION, PEER_EXTENSION
from tools.pbx_instance import Pbx

pytestmark = pytest.mark.asterisk

IDS = OwnIds("transfertest")
PATIENCE_S = 20.0


class Front:
    """An engine that only listens."""

    def __init__(self, ari: AriClient) -> None:
        self.ari = ari
        self.events: list[Event] = []
        self._changed = asyncio.Event()

    def hear(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    def saw(self, kind: type[Event], channel_id: str) -> Event | None:
        return next(
            (found for found in self.events if isinstance(found, kind) and found.channel_id == channel_id), None
        )

    async def until(self, kind: type[Event], channel_id: str) -> Event:
        async with asyncio.timeout(PATIENCE_S):
            while (found := self.saw(kind, channel_id)) is None:
                self._changed.clear()
                await self._changed.wait()
        return found

    async def caller(self) -> str:
        """The channel of a caller without a telephone: a Local channel whose other half listens to itself."""
        params = {"endpoint": "Local/777@parley-phones", "context": "parley-phones", "extension": "600"}
        await self.ari.request("POST", "/channels", params={**params, "priority": 1})
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for found in self.events:
                    if isinstance(found, StasisStart) and not IDS.is_ours(found.channel.id):
                        await channels.answer(self.ari, found.channel.id)
                        return found.channel.id
                self._changed.clear()
                await self._changed.wait()

    async def ring(self, extension: str, call_id: str, *, timeout_s: float = 30.0) -> str:
        leg_id = IDS.leg(call_id, "leg")
        endpoint = f"Local/{extension}@parley-phones/n"
        await legs.originate(self.ari, endpoint, channel_id=leg_id, app_args="leg", timeout_s=timeout_s)
        return leg_id


@contextlib.asynccontextmanager
async def fronted(pbx: Pbx) -> AsyncIterator[Front]:
    ari = AriClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, pbx.app)
    front, connected = Front(ari), asyncio.Event()

    async def on_connected() -> None:
        connected.set()

    async with ari:
        run = asyncio.create_task(ari.run(front.hear, on_connected))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await connected.wait()
            yield front
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
    await asyncio.sleep(0.3)  # a socket that is replaced in the moment it closes takes its successor out of service


@pytest.fixture
async def front(pbx: Pbx) -> AsyncIterator[Front]:
    async with fronted(pbx) as made:
        yield made


async def eventually(read: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await read():
            await asyncio.sleep(0.1)


async def test_two_who_were_joined_talk_on_without_the_engine(pbx: Pbx) -> None:
    async with fronted(pbx) as front:
        caller = await front.caller()
        assert await legs.dialplan_has(front.ari, caller, JOIN_EXTENSION, JOIN_CONTEXT)
        assert await legs.dialplan_has(front.ari, caller, "nobody", JOIN_CONTEXT) is False
        assert await legs.has_module(front.ari, "res_musiconhold.so")
        await legs.start_music(front.ari, caller)
        leg = await front.ring("611", "1")
        started = await front.until(StasisStart, leg)
        assert isinstance(started, StasisStart)
        name = started.channel.name
        pressed = await front.until(ChannelDtmfReceived, leg)
        assert isinstance(pressed, ChannelDtmfReceived)
        assert pressed.digit == "1"
        await channels.set_variable(front.ari, caller, "PARLEY_PEER", name)
        assert await legs.stop_music(front.ari, caller)
        await channels.continue_in_dialplan(front.ari, leg, context=JOIN_CONTEXT, extension=PEER_EXTENSION, priority=1)
        await channels.continue_in_dialplan(
            front.ari, caller, context=JOIN_CONTEXT, extension=JOIN_EXTENSION, priority=1
        )
        await front.until(StasisEnd, caller)
        await front.until(StasisEnd, leg)
        assert front.saw(ChannelHangupRequest, leg) is None
        assert len([e for e in front.events if isinstance(e, StasisStart)]) == 2, "no new call"

        async def they_talk() -> bool:
            bridges = await channels.list_bridges(front.ari)
            return [{caller, leg}] == [set(bridge.channel_ids) for bridge in bridges]

        await eventually(they_talk)
    async with fronted(pbx) as after:  # the engine has gone and come again
        found, bridges = await channels.list_channels(after.ari), await channels.list_bridges(after.ari)
        app = await channels.get_application(after.ari, after.ari.app)
        assert plan(found, bridges, [], IDS.prefix, app) == []
        assert [len(bridge.channel_ids) for bridge in bridges] == [2]
        await channels.hangup(after.ari, caller)

        async def nobody_is_left() -> bool:
            return not await channels.list_channels(after.ari)

        await eventually(nobody_is_left)


@pytest.mark.parametrize(("extension", "timeout_s"), [("613", 30.0), ("614", 2.0), ("nobody", 30.0)])
async def test_a_telephone_that_is_not_answered_says_why(front: Front, extension: str, timeout_s: float) -> None:
    leg = await front.ring(extension, extension, timeout_s=timeout_s)
    destroyed = await front.until(ChannelDestroyed, leg)
    assert isinstance(destroyed, ChannelDestroyed)
    assert front.saw(StasisStart, leg) is None


async def test_a_colleague_who_hangs_up_is_told_as_such(front: Front) -> None:
    leg = await front.ring("615", "2")
    await front.until(StasisStart, leg)
    await front.until(ChannelDestroyed, leg)
    kinds = [type(e).__name__ for e in front.events if e.channel_id == leg]
    assert kinds.index("ChannelHangupRequest") < kinds.index("StasisEnd")


async def test_how_telephones_are(front: Front) -> None:
    caller = await front.caller()
    assert await legs.device_status(front.ari, "PJSIP/6001") == "unreachable"
    assert await legs.extension_status(front.ari, caller, "600", "parley-phones") == "unknown"
    await channels.hangup(front.ari, caller)
