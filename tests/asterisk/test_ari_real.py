"""The ARI client, dispatch, operations and reconciling on a real Asterisk with real SIP calls."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from ai_engine.asterisk import channels as operations
from ai_engine.asterisk import events as e
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.backoff import Backoff
from ai_engine.asterisk.dispatch import Dispatcher, Handler, Lane
from ai_engine.asterisk.errors import AriConflict, AriError, AriNotFound, AriUnauthorized
from ai_engine.asterisk.ids import OwnIds
from ai_engine.asterisk.reconcile import Action, DestroyBridge, DestroyChannel, EndCall, LiveCall, NewCall, reconcile
from tools.pbx_instance import Pbx

if TYPE_CHECKING:
    from tools.call import SipCaller

pytestmark = pytest.mark.asterisk

IDS = OwnIds("aritest")


class Front:
    """The least engine: takes each caller, notes events, reconciles after each connect."""

    def __init__(self, pbx: Pbx, *, app: str | None = None) -> None:
        self.ari = AriClient(
            pbx.ari_url, pbx.ari_user, pbx.ari_password, app or pbx.app, backoff=Backoff(0.05, 0.3), replaced_poll_s=0.2
        )
        self.dispatcher = Dispatcher(
            self._new, on_failure=self._failed, is_ours=IDS.is_ours, on_stray=lambda found: self.strays.append(found.id)
        )
        self.events: list[e.Event] = []
        self.lanes: dict[str, Lane] = {}
        self.strays: list[str] = []
        self.faults: list[Exception] = []
        self.live: list[LiveCall] = []
        self.plans: list[list[Action]] = []
        self.ended: list[str] = []
        self.downs = 0
        self.changed = asyncio.Event()

    def _new(self, start: e.StasisStart, lane: Lane) -> Handler:
        self.lanes[start.channel.id] = lane
        return self.note

    async def note(self, arrived: e.Event) -> None:
        self.events.append(arrived)
        self.changed.set()

    def _failed(self, key: str, fault: Exception) -> None:
        self.faults.append(fault)

    async def _end(self, call_id: str) -> None:
        self.ended.append(call_id)
        self.live = [call for call in self.live if call.call_id != call_id]

    async def _broken(self, call_id: str, missing_ids: frozenset[str]) -> None:
        await self._end(call_id)

    async def on_connected(self) -> None:
        actions = await reconcile(
            self.ari,
            live_calls=lambda: self.live,
            ours_prefix=IDS.prefix,
            new_call=self.dispatcher.announce,
            end_call=self._end,
            call_broken=self._broken,
        )
        self.plans.append(list(actions))
        self.changed.set()

    async def on_disconnected(self, reason: AriError) -> None:
        self.downs += 1
        self.changed.set()

    async def until(self, condition: Callable[[], object], *, timeout_s: float = 60) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def caller(self, number: int = 1) -> e.Channel:
        """The caller's channel of the newest of `number` calls."""
        await self.until(lambda: len(self.starts()) >= number)
        return self.starts()[number - 1].channel

    def starts(self) -> list[e.StasisStart]:
        return [x for x in self.events if isinstance(x, e.StasisStart) and not IDS.is_ours(x.channel.id)]

    def saw(self, kind: type[e.Event], channel_id: str) -> bool:
        return any(isinstance(x, kind) and x.channel_id == channel_id for x in self.events)


@contextlib.asynccontextmanager
async def fronted(pbx: Pbx, *, app: str | None = None) -> AsyncIterator[Front]:
    front = Front(pbx, app=app)
    async with front.ari:
        run = asyncio.create_task(front.ari.run(front.dispatcher.dispatch, front.on_connected, front.on_disconnected))
        try:
            await front.until(lambda: front.plans)
            yield front
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            await front.dispatcher.close()
    # A socket that is replaced in the very moment it closes takes its successor's app out of service (Asterisk 22.10).
    await asyncio.sleep(0.3)
    assert front.faults == []


@pytest.fixture
async def front(pbx: Pbx) -> AsyncIterator[Front]:
    async with fronted(pbx) as made:
        yield made


@pytest.fixture
def media_port() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening.getsockname()[1]


async def originate(front: Front, extension: str = "777") -> None:
    """A caller without a telephone: a Local channel whose other half listens to itself."""
    params = {"endpoint": f"Local/{extension}@parley-phones", "context": "parley-phones", "extension": "600"}
    await front.ari.request("POST", "/channels", params={**params, "priority": 1})


async def connect_media(front: Front, caller_id: str, call_id: str, port: int) -> LiveCall:
    """Bridge the caller with an ExternalMedia channel, as a call does."""
    media_id, bridge_id = IDS.media(call_id), IDS.bridge(call_id)
    for resource_id in (media_id, bridge_id):
        front.lanes[caller_id].adopt(resource_id)
    await operations.answer(front.ari, caller_id)
    await operations.create_bridge(front.ari, bridge_id)
    media = await operations.external_media(
        front.ari, channel_id=media_id, external_host=f"127.0.0.1:{port}", media_format="ulaw"
    )
    assert media.id == media_id
    await front.until(lambda: front.saw(e.StasisStart, media_id))  # the POST's answer alone is too early: 422
    await operations.add_to_bridge(front.ari, bridge_id, caller_id, media_id)
    made = frozenset({media_id, bridge_id})
    return LiveCall(call_id, caller_id, made, made)


async def nothing_left(front: Front, pbx: Pbx) -> None:
    """Asterisk's own word that no channel and no bridge is left."""
    shown = ""
    for _ in range(600):
        if not await operations.list_channels(front.ari) and not await operations.list_bridges(front.ari):
            shown = await asyncio.to_thread(pbx.cli, "core show channels")
            if "0 active channels" in shown:
                return
        await asyncio.sleep(0.1)
    pytest.fail(f"left behind: {shown or await operations.list_channels(front.ari)}")


async def only_bridge(front: Front, bridge_id: str) -> None:
    """Wait until no other bridge is left: Asterisk answers a DELETE first and empties the bridge afterwards."""
    async with asyncio.timeout(60):
        while [found.id for found in await operations.list_bridges(front.ari)] != [bridge_id]:
            await asyncio.sleep(0.05)


async def test_a_wrong_password_says_what_to_correct(pbx: Pbx) -> None:
    async with AriClient(pbx.ari_url, pbx.ari_user, "wrong-one", pbx.app) as ari:
        with pytest.raises(AriUnauthorized, match=r"ASTERISK_ARI_PASSWORD.*ari\.conf") as caught:
            await ari.ping()
        assert "wrong-one" not in str(caught.value)
        down = asyncio.Event()

        async def sleep(seconds: float) -> None:
            down.set()
            await asyncio.Event().wait()

    async with AriClient(pbx.ari_url, pbx.ari_user, "wrong-one", pbx.app, sleep=sleep) as ari:
        run = asyncio.create_task(ari.run(lambda event: None))
        await asyncio.wait_for(down.wait(), 60)
        assert isinstance(ari.last_error, AriUnauthorized)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_a_sip_call_is_bridged_to_media_of_our_own_and_leaves_nothing(
    front: Front, pbx: Pbx, sip_caller: SipCaller, media_port: int
) -> None:
    async with sip_caller.dial(pbx.sip_uri(721), wait=False) as call:
        caller = await front.caller()
        assert caller.state == "Ring"
        assert (caller.exten, caller.in_stasis) == ("721", True)
        assert caller.protocol_id  # the SIP Call-ID
        assert await operations.get_variables(front.ari, caller.id) == {"AI_CONTEXT": "ctx721"}
        live = await connect_media(front, caller.id, "call-1", media_port)
        await call.wait_established(60)
        media_id, bridge_id = IDS.media("call-1"), IDS.bridge("call-1")
        await front.until(lambda: front.saw(e.ChannelEnteredBridge, media_id))
        assert front.saw(e.StasisStart, media_id)  # in our lane, neither lost nor taken for a caller
        assert len(front.lanes) == 1
        channel = await operations.get_channel(front.ari, media_id)
        address, port = await operations.rtp_address(front.ari, channel)
        assert address == "127.0.0.1"
        assert pbx.rtp_ports[0] <= port <= pbx.rtp_ports[1] + 1
        (bridge,) = await operations.list_bridges(front.ari)
        assert (bridge.id, set(bridge.channel_ids)) == (bridge_id, {caller.id, media_id})
        await call.send_dtmf("5")
        await front.until(lambda: front.saw(e.ChannelDtmfReceived, caller.id))
        assert await operations.rtp_statistics(front.ari, caller.id) is not None
        assert live.reserved_ids == {media_id, bridge_id}
        await call.hangup()
        await front.until(lambda: front.saw(e.StasisEnd, caller.id))
    assert await operations.hangup(front.ari, media_id) is True
    assert await operations.destroy_bridge(front.ari, bridge_id) is True
    await front.until(lambda: front.saw(e.ChannelDestroyed, media_id))
    await front.until(lambda: any(isinstance(x, e.BridgeDestroyed) for x in front.events))
    front.lanes[caller.id].release()
    await nothing_left(front, pbx)
    assert await operations.hangup(front.ari, media_id) is False
    assert await operations.destroy_bridge(front.ari, bridge_id) is False
    assert front.strays == []


async def test_many_calls_set_up_at_once_lose_no_start_of_their_media(front: Front, pbx: Pbx, media_port: int) -> None:
    for _ in range(10):
        await originate(front)
    await front.until(lambda: len(front.starts()) == 10)
    callers = [start.channel.id for start in front.starts()]
    async with asyncio.TaskGroup() as group:
        for number, caller_id in enumerate(callers):
            group.create_task(connect_media(front, caller_id, f"m{number}", media_port))
    await front.until(lambda: all(front.saw(e.StasisStart, IDS.media(f"m{n}")) for n in range(10)))
    assert len(front.lanes) == 10
    async with asyncio.TaskGroup() as group:
        for number, caller_id in enumerate(callers):
            group.create_task(operations.hangup(front.ari, caller_id))
            group.create_task(operations.hangup(front.ari, IDS.media(f"m{number}")))
            group.create_task(operations.destroy_bridge(front.ari, IDS.bridge(f"m{number}")))
    await nothing_left(front, pbx)


async def test_a_caller_is_handed_back_to_the_dialplan(front: Front, pbx: Pbx) -> None:
    await originate(front)
    caller = await front.caller()
    await operations.answer(front.ari, caller.id)
    await operations.continue_in_dialplan(front.ari, caller.id, context="parley-phones", extension="600", priority=1)
    await front.until(lambda: front.saw(e.StasisEnd, caller.id))
    assert (await operations.get_channel(front.ari, caller.id)).exten == "600"
    with pytest.raises(AriConflict, match="not in Stasis"):
        await operations.continue_in_dialplan(front.ari, caller.id)
    await operations.hangup(front.ari, caller.id)
    await nothing_left(front, pbx)


async def test_ids_in_use_and_unknown_things_are_told_apart(front: Front, pbx: Pbx, media_port: int) -> None:
    bridge_id = IDS.bridge("twice")
    await operations.create_bridge(front.ari, bridge_id)
    with pytest.raises(AriConflict):
        await operations.create_bridge(front.ari, bridge_id)
    assert await operations.remove_from_bridge(front.ari, bridge_id, "gone") is False
    assert await operations.destroy_bridge(front.ari, bridge_id) is True
    with pytest.raises(AriNotFound):
        await operations.get_variables(front.ari, "gone")
    with pytest.raises(AriError) as caught:
        await operations.external_media(
            front.ari, channel_id=IDS.media("x"), external_host=f"127.0.0.1:{media_port}", media_format="nonsense"
        )
    assert caught.value.status == 500
    await nothing_left(front, pbx)


async def test_a_dead_engines_successor_clears_its_leftovers_and_keeps_its_caller(pbx: Pbx, media_port: int) -> None:
    async with fronted(pbx) as dead:
        await originate(dead)
        caller = await dead.caller()
        await connect_media(dead, caller.id, "old", media_port)
        await operations.create_bridge(dead.ari, "conference")  # not ours: must stay
    async with fronted(pbx) as survivor:
        plan = survivor.plans[0]
        assert plan[:2] == [DestroyChannel(IDS.media("old")), DestroyBridge(IDS.bridge("old"))]
        assert [action.channel.id for action in plan[2:] if isinstance(action, NewCall)] == [caller.id]
        await survivor.until(survivor.starts)
        await only_bridge(survivor, "conference")
        assert (await operations.get_channel(survivor.ari, caller.id)).state == "Up"
        await connect_media(survivor, caller.id, "new", media_port)
        await operations.hangup(survivor.ari, caller.id)
        await operations.hangup(survivor.ari, IDS.media("new"))
        await operations.destroy_bridge(survivor.ari, IDS.bridge("new"))
        await operations.destroy_bridge(survivor.ari, "conference")
        await nothing_left(survivor, pbx)


async def test_a_live_call_survives_a_lost_event_socket(front: Front, pbx: Pbx, media_port: int) -> None:
    await originate(front)
    caller = await front.caller()
    front.live = [await connect_media(front, caller.id, "kept", media_port)]
    # Break the transport under the client, as a network does; Asterisk keeps its channels.
    session = front.ari._session
    assert session is not None
    assert session.connector is not None
    front.ari._session = None
    await session.close()
    await front.until(lambda: len(front.plans) == 2)
    assert front.downs == 1
    assert front.plans[1] == []
    assert front.ended == []
    await operations.hangup(front.ari, caller.id)
    await front.until(lambda: front.saw(e.ChannelDestroyed, caller.id) or front.saw(e.StasisEnd, caller.id))
    await operations.hangup(front.ari, IDS.media("kept"))
    await operations.destroy_bridge(front.ari, IDS.bridge("kept"))
    await nothing_left(front, pbx)


async def test_another_engine_under_our_name_is_not_fought(pbx: Pbx) -> None:
    async with fronted(pbx, app="contested") as first:
        async with fronted(pbx, app="contested") as second:
            await first.until(lambda: first.downs == 1)
            await asyncio.sleep(1.0)  # several polls: it waits
            assert second.ari.connected
            assert not first.ari.connected
        await first.until(lambda: len(first.plans) == 2)  # the name is free again
        assert first.ari.connected


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "crashed"])
async def test_asterisk_restarted_under_a_call_ends_it_and_takes_the_next(
    front: Front, pbx: Pbx, media_port: int, kill: bool
) -> None:
    await originate(front)
    caller = await front.caller()
    front.live = [await connect_media(front, caller.id, "cut", media_port)]
    await asyncio.to_thread(pbx.restart, kill=kill)
    await front.until(lambda: len(front.plans) >= 2 and front.ari.connected, timeout_s=60)
    assert [plan for plan in front.plans[1:] if plan] == [[EndCall("cut")]]
    assert front.ended == ["cut"]
    front.lanes[caller.id].release()
    await originate(front)
    following = await front.caller(2)
    await connect_media(front, following.id, "next", media_port)
    await operations.hangup(front.ari, following.id)
    await operations.hangup(front.ari, IDS.media("next"))
    await operations.destroy_bridge(front.ari, IDS.bridge("next"))
    await nothing_left(front, pbx)
