"""After a reconnect: our leftovers go, callers never do, calls without a caller end."""

from itertools import product

import pytest
from ari_stand_in import APP, AriStandIn, bridge, channel
from structlog.testing import capture_logs

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.errors import AriUnreachable
from ai_engine.asterisk.events import Application, Bridge, Channel, parse_channel
from ai_engine.asterisk.reconcile import (
    Action,
    CallBroken,
    Continue,
    DestroyBridge,
    DestroyChannel,
    EndCall,
    Fallback,
    LiveCall,
    NewCall,
    continue_caller,
    plan,
    reconcile,
)

PREFIX = "parley-a-"
MEDIA, BRIDGE = "parley-a-1-media", "parley-a-1-bridge"
CALL = LiveCall("1", "c1", reserved_ids=frozenset({MEDIA, BRIDGE}), made_ids=frozenset({MEDIA, BRIDGE}))
STARTING = LiveCall("1", "c1", reserved_ids=frozenset({MEDIA, BRIDGE}))


def ch(channel_id: str, *, stasis: bool = True) -> Channel:
    return Channel(channel_id, f"PJSIP/{channel_id}", "Up", dialplan_app="Stasis" if stasis else "Echo")


def br(bridge_id: str, *channel_ids: str) -> Bridge:
    return Bridge(bridge_id, "mixing", channel_ids=channel_ids)


def app(*channel_ids: str) -> Application:
    return Application(APP, frozenset(channel_ids))


C1, ELSEWHERE = ch("c1"), ch("c1", stasis=False)

TABLE: dict[str, tuple[list[Channel], list[Bridge], list[LiveCall], Application, list[Action]]] = {
    "nothing anywhere": ([], [], [], app(), []),
    "all as it should be": ([C1, ch(MEDIA)], [br(BRIDGE)], [CALL], app("c1", MEDIA), []),
    "a call still being set up": ([C1], [], [STARTING], app("c1"), []),
    "a call half set up": ([C1], [br(BRIDGE)], [STARTING], app("c1"), []),
    "Asterisk restarted": ([], [], [CALL], app(), [EndCall("1")]),
    "the caller hung up unseen": (
        [ch(MEDIA)],
        [br(BRIDGE)],
        [CALL],
        app(MEDIA),
        [EndCall("1")],
    ),
    "a transfer that is over: two people talk in the dialplan's bridge": (
        [ch("c9", stasis=False), ch("parley-a-9-callee1", stasis=False)],
        [br("basic-1", "c9", "parley-a-9-callee1")],
        [],
        app(),
        [],
    ),
    "a colleague who was rung for a transfer, and whose engine died": (
        [ch("parley-a-9-callee1")],
        [br("parley-a-9-callee1-bridge", "parley-a-9-callee1")],
        [],
        app("parley-a-9-callee1"),
        [DestroyChannel("parley-a-9-callee1"), DestroyBridge("parley-a-9-callee1-bridge")],
    ),
    "the caller was sent elsewhere unseen": ([ELSEWHERE, ch(MEDIA)], [br(BRIDGE)], [CALL], app(MEDIA), [EndCall("1")]),
    "the caller was moved to another application": ([C1], [br(BRIDGE)], [CALL], app(), [EndCall("1")]),
    "the media channel died unseen": ([C1], [br(BRIDGE)], [CALL], app("c1"), [CallBroken("1", frozenset({MEDIA}))]),
    "the bridge died unseen": ([C1, ch(MEDIA)], [], [CALL], app("c1"), [CallBroken("1", frozenset({BRIDGE}))]),
    "both died unseen": ([C1], [], [CALL], app("c1"), [CallBroken("1", frozenset({MEDIA, BRIDGE}))]),
    "leftovers of an earlier life with the caller still there": (
        [C1, ch(MEDIA)],
        [br(BRIDGE, "c1", MEDIA)],
        [],
        app("c1", MEDIA),
        [DestroyChannel(MEDIA), DestroyBridge(BRIDGE), NewCall(C1, cut_off=True)],
    ),
    "leftovers that are in nobody's application": (
        [ch(MEDIA, stasis=False)],
        [br(BRIDGE)],
        [],
        app(),
        [DestroyChannel(MEDIA), DestroyBridge(BRIDGE)],
    ),
    "a caller came while we were away": ([C1], [], [], app("c1"), [NewCall(C1)]),
    "a caller in another application": ([C1], [], [], app("c2"), []),
    "a media channel of an engine under another instance id": (
        [ch("parley-b-1-media")],
        [],
        [],
        app("parley-b-1-media"),
        [],
    ),
    "a channel we only subscribed to": ([ELSEWHERE], [], [], app("c1"), []),
    "things of another engine": (
        [ch("parley-b-1-media"), ch("parley-a_b-1-media")],
        [br("parley-b-1-bridge"), br("conference")],
        [],
        app(),
        [],
    ),
    "one call fine, one gone, one new": (
        [C1, ch("c3"), ch(MEDIA), ch("parley-a-2-media")],
        [br(BRIDGE)],
        [CALL, LiveCall("2", "c2", frozenset({"parley-a-2-media"}), frozenset({"parley-a-2-media"}))],
        app("c1", "c3", MEDIA),
        [EndCall("2"), NewCall(ch("c3"))],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_plan_for(name: str) -> None:
    channels, bridges, calls, held, expected = TABLE[name]
    assert plan(channels, bridges, calls, PREFIX, held) == expected


def test_an_engine_that_stops_sends_new_callers_on() -> None:
    assert plan([C1], [], [], PREFIX, app("c1"), accept_new=False) == [Continue(C1)]


def test_a_call_that_began_or_ended_meanwhile_is_left_alone() -> None:
    assert plan([], [], [CALL], PREFIX, app(), settled=()) == []
    assert plan([C1, ch(MEDIA)], [br(BRIDGE)], [CALL], PREFIX, app("c1"), settled=()) == []


def test_in_every_combination_callers_live_and_only_our_orphans_die() -> None:
    """Every state of one caller, its media, its bridge and its call, beside a bystander of each kind."""
    bystander, foreign = ch("x9", stasis=False), ch("parley-b-1-media")
    callers = (None, C1, ELSEWHERE)
    calls = (None, STARTING, CALL)
    for caller, media, has_bridge, call, in_app, accept in product(
        callers, (None, ch(MEDIA)), (False, True), calls, (False, True), (False, True)
    ):
        channels = [found for found in (caller, media, bystander, foreign) if found is not None]
        bridges = [br("conference"), *([br(BRIDGE)] if has_bridge else [])]
        held = app("c1", MEDIA) if in_app else app(MEDIA)
        actions = plan(channels, bridges, [call] if call else [], PREFIX, held, accept_new=accept)
        destroyed = {a.channel_id for a in actions if isinstance(a, DestroyChannel)}
        broken_up = {a.bridge_id for a in actions if isinstance(a, DestroyBridge)}
        assert destroyed == ({MEDIA} if media and call is None else set())
        assert broken_up == ({BRIDGE} if has_bridge and call is None else set())
        ours_to_serve = caller is C1 and in_app
        welcomed = [a.channel.id for a in actions if isinstance(a, NewCall)]
        sent_on = [a.channel.id for a in actions if isinstance(a, Continue)]
        expected = ["c1"] if ours_to_serve and call is None else []
        assert (welcomed, sent_on) == ((expected, []) if accept else ([], expected))
        assert (EndCall("1") in actions) == (call is not None and not ours_to_serve)
        lacking = call is CALL and ours_to_serve and not (media and has_bridge)
        assert any(isinstance(a, CallBroken) for a in actions) == lacking


class Engine:
    def __init__(self) -> None:
        self.calls: list[LiveCall] = []
        self.new: list[str] = []
        self.cut_off: set[str] = set()
        self.ended: list[str] = []
        self.broken: list[tuple[str, frozenset[str]]] = []

    async def reconcile(self, ari: AriClient, *, accept_new: bool = True) -> list[Action]:
        return list(
            await reconcile(
                ari,
                live_calls=lambda: self.calls,
                ours_prefix=PREFIX,
                new_call=self._new_call,
                end_call=self._end,
                call_broken=self._broken,
                accept_new=accept_new,
                fallback=Fallback("closed", "s", 1),
            )
        )

    def _new_call(self, found: Channel, *, cut_off: bool) -> None:
        self.new.append(found.id)
        self.cut_off.update({found.id} if cut_off else ())

    async def _end(self, call_id: str) -> None:
        self.ended.append(call_id)

    async def _broken(self, call_id: str, missing_ids: frozenset[str]) -> None:
        self.broken.append((call_id, missing_ids))


async def test_reconciling_carries_the_plan_out(server: AriStandIn, ari: AriClient) -> None:
    engine = Engine()
    engine.calls = [LiveCall("2", "c2"), LiveCall("3", "c3", made_ids=frozenset({"parley-a-3-media"}))]
    server.app_taken_by_other = True
    server.channels = {found: channel(found) for found in ("c1", "c3", MEDIA, "parley-b-1-media")}
    server.bridges = {BRIDGE: bridge(BRIDGE, "c1", MEDIA), "conference": bridge("conference")}
    await engine.reconcile(ari)
    assert (engine.new, engine.cut_off, engine.ended) == (["c1"], {"c1"}, ["2"])
    assert engine.broken == [("3", frozenset({"parley-a-3-media"}))]
    assert set(server.channels) == {"c1", "c3", "parley-b-1-media"}
    assert set(server.bridges) == {"conference"}


async def test_a_stopping_engine_continues_callers_at_the_fallback(server: AriStandIn, ari: AriClient) -> None:
    server.app_taken_by_other = True
    server.channels = {"c1": channel("c1")}
    await Engine().reconcile(ari, accept_new=False)
    assert (
        "POST",
        "/channels/c1/continue",
        {"context": "closed", "extension": "s", "priority": "1"},
    ) in server.requests


async def test_one_failed_action_does_not_stop_the_rest(server: AriStandIn, ari: AriClient) -> None:
    from aiohttp import web

    engine = Engine()
    server.app_taken_by_other = True
    server.channels = {MEDIA: channel(MEDIA), "c1": channel("c1")}
    server.canned["DELETE", f"/channels/{MEDIA}"] = web.json_response({"message": "oops"}, status=500)
    with capture_logs() as logs:
        await engine.reconcile(ari)
    assert engine.new == ["c1"]
    assert any(entry["event"] == "asterisk.reconcile_action_failed" for entry in logs)


async def test_no_call_ends_because_our_own_connection_did(server: AriStandIn, ari: AriClient) -> None:
    engine = Engine()
    engine.calls = [CALL]
    with pytest.raises(AriUnreachable):  # the application is unknown: nobody is connected
        await engine.reconcile(ari)
    assert engine.ended == []


async def test_continuing_a_caller_who_is_gone_is_no_fault(server: AriStandIn, ari: AriClient) -> None:
    server.channels = {"c1": channel("c1")}
    assert await continue_caller(ari, "c1", Fallback()) is True
    assert await continue_caller(ari, "c2", Fallback()) is False


def test_the_stand_in_writes_channels_as_the_parser_reads_them() -> None:
    assert parse_channel(channel("c1")).in_stasis
