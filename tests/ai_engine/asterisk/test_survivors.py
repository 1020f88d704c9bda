"""What an engine does for the callers of another, on virtual time against a stand-in for Asterisk."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from ari_stand_in import APP, PASSWORD, USER, AriStandIn, bridge, channel

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import UserEvent
from ai_engine.asterisk.peers import Peers
from ai_engine.asterisk.reconcile import Fallback
from ai_engine.asterisk.survivors import DEAD_AFTER_S, HEARTBEAT_NAME, Survivors

DEAD = "parley-dead"
MEDIA, BRIDGE = "parley-parley_dead-1-media", "parley-parley_dead-1-bridge"


class ConnectedAri(AriClient):
    """As if its event socket were up."""

    is_connected = True

    @property
    def connected(self) -> bool:
        return self.is_connected


class Engine:
    """A `Survivors` whose clock runs as fast as it sleeps. `beats` are the engines heard at each moment."""

    def __init__(self, server: AriStandIn, *patterns: str, room: int = 5) -> None:
        self.now = 100.0
        self.ari = ConnectedAri(server.url, USER, PASSWORD, APP)
        self.own_beats_come = True
        self.beats: dict[str, int] = {}
        self.rescued: list[str] = []
        self.room = room
        self.on_sleep: Callable[[], None] = lambda: None
        self.survivors = Survivors(
            self.ari,
            Peers(APP, patterns, dead_after_s=DEAD_AFTER_S),
            room=lambda: self.room,
            fallback=Fallback("fallback", "s", 1),
            on_rescued=self.rescued.append,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    def hear(self, app: str, room: int) -> None:
        self.survivors.heard(UserEvent(HEARTBEAT_NAME, {"app": app, "room": str(room)}))

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.own_beats_come:
            self.hear(APP, self.room)
        for app, room in self.beats.items():
            self.hear(app, room)
        self.on_sleep()
        current = asyncio.current_task()
        rescues = [task for task in asyncio.all_tasks() if task.get_name().startswith("rescue-")]
        if rescues and current not in rescues:  # requests take real time: none passes of ours meanwhile
            await asyncio.wait(rescues)
        await asyncio.sleep(0.001)

    async def run(self, *, until: Callable[[], object] | None = None, seconds: float = 5.0) -> None:
        """Go on until the condition holds, or for so long of its own time."""
        async with self.ari:
            task = asyncio.create_task(self.survivors.run())
            try:
                async with asyncio.timeout(30):
                    end = self.now + seconds
                    while not until() if until is not None else self.now < end:
                        assert not task.done(), task.exception()
                        await asyncio.sleep(0.001)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def with_dead_engine(server: AriStandIn, *callers: str, subscriptions: int = 2) -> None:
    """Callers in a dead engine's application, the first of them in its bridge with its media channel."""
    for caller in callers:
        server.channels[caller] = channel(caller, app=DEAD)
    server.channels[MEDIA] = channel(MEDIA, app=DEAD)
    server.bridges[BRIDGE] = bridge(BRIDGE, *callers[:1], MEDIA)
    server.bridges["conference"] = bridge("conference")
    server.channels["stranger"] = channel("stranger", app="other")
    server.other_apps[DEAD] = [*(list(callers) * subscriptions), MEDIA]


def moved(server: AriStandIn) -> dict[str, dict[str, str]]:
    return {
        path.split("/")[2]: query for verb, path, query in server.requests if verb == "POST" and path.endswith("/move")
    }


def touched(server: AriStandIn) -> list[str]:
    """Everything that was changed in Asterisk."""
    return [f"{verb} {path}" for verb, path, _ in server.requests if verb != "GET" and not path.startswith("/events/")]


def rtp(server: AriStandIn, callers: Iterable[str], *, flows: bool) -> None:
    server.sent_packets = dict.fromkeys(callers, (100, 10 if flows else 0))


async def test_callers_of_a_dead_engine_come_to_us_and_nothing_of_it_stays(server: AriStandIn) -> None:
    with_dead_engine(server, "c1", "c2")
    rtp(server, ["c1"], flows=False)
    engine = Engine(server, DEAD)
    await engine.run(
        until=lambda: server.other_apps[DEAD] == [MEDIA] and not {MEDIA, BRIDGE} & {*server.channels, *server.bridges}
    )
    assert moved(server) == {"c1": {"app": APP, "appArgs": "parley-cut-off"}, "c2": {"app": APP}}
    assert set(server.channels) == {"c1", "c2", "stranger"}
    assert set(server.bridges) == {"conference"}
    assert engine.rescued == ["adopted", "adopted"]


async def test_an_engine_is_given_up_within_two_seconds_after_its_last_heartbeat(server: AriStandIn) -> None:
    with_dead_engine(server, "c1")
    engine = Engine(server, "parley-*")
    engine.beats = {DEAD: 3}
    await engine.run(seconds=4.0)
    assert engine.survivors.states() == {DEAD: True}
    assert touched(server) == []
    last = engine.now
    engine.beats = {}
    await engine.run(until=lambda: engine.rescued)
    assert DEAD_AFTER_S < engine.now - last < 2.0


async def test_an_engine_whose_sound_still_flows_has_only_lost_asterisk(server: AriStandIn) -> None:
    with_dead_engine(server, "c1", "c2")
    rtp(server, ["c1"], flows=True)
    rtp_of_c2 = {"c2": (50, 0)}
    server.sent_packets |= rtp_of_c2
    engine = Engine(server, DEAD)
    await engine.run(until=lambda: engine.rescued)
    await engine.run(seconds=3.0)
    assert set(moved(server)) == {"c2"}
    assert BRIDGE in server.bridges, "the bridge of a caller who is being served"
    assert MEDIA in server.channels


async def test_hold_music_is_no_sign_of_life(server: AriStandIn) -> None:
    """Asterisk plays it to a caller whose engine died while a colleague was asked to take him."""
    with_dead_engine(server, "c1")
    server.bridges[BRIDGE] = bridge(BRIDGE, MEDIA)
    server.channels["parley-parley_dead-2-callee1-leg"] = channel("parley-parley_dead-2-callee1-leg", app=DEAD)
    rtp(server, ["c1"], flows=True)
    engine = Engine(server, DEAD)
    await engine.run(until=lambda: engine.rescued and set(server.channels) == {"c1", "stranger"})
    assert engine.rescued == ["adopted"]


async def test_a_leg_that_was_transferred_talks_on_when_its_engine_dies(server: AriStandIn) -> None:
    with_dead_engine(server, "c1")
    leg = "parley-parley_dead-2-callee1-leg"
    server.channels[leg] = channel(leg, app=None)
    server.bridges["basic"] = bridge("basic", leg, "stranger")
    engine = Engine(server, DEAD)
    await engine.run(until=lambda: MEDIA not in server.channels and BRIDGE not in server.bridges)
    assert leg in server.channels


async def test_without_room_a_caller_goes_to_the_dialplan(server: AriStandIn) -> None:
    with_dead_engine(server, "c1")
    engine = Engine(server, DEAD, room=0)
    await engine.run(until=lambda: engine.rescued)
    assert engine.rescued == ["sent_on"]
    query = next(query for verb, path, query in server.requests if path == "/channels/c1/continue")
    assert query == {"context": "fallback", "extension": "s", "priority": "1"}


async def test_as_many_are_taken_as_there_is_room_and_the_rest_is_left_to_who_has_some(server: AriStandIn) -> None:
    callers = [f"c{n}" for n in range(6)]
    with_dead_engine(server, *callers)
    engine = Engine(server, "parley-*", room=2)
    engine.beats = {"parley-third": 9}
    server.other_apps["parley-third"] = []
    engine.on_sleep = lambda: setattr(engine, "room", 2 - len(engine.rescued))
    await engine.run(seconds=1.9)  # so soon nobody need fear that the third sleeps
    assert 0 < len(engine.rescued) <= 2
    assert not any("/continue" in what for what in touched(server))


async def test_two_survivors_take_each_caller_once(server: AriStandIn) -> None:
    callers = [f"c{n}" for n in range(20)]
    with_dead_engine(server, *callers)
    server.other_apps["parley-third"] = []
    engine = Engine(server, "parley*", room=50)
    engine.beats = {"parley-third": 50}
    other = Peers("parley-third", ("parley*",), dead_after_s=DEAD_AFTER_S)
    other.listed([APP, DEAD], 0.0)
    other.heard(APP, 50, 0.0)
    theirs = {caller for caller in callers if other.rank(caller, 50, 0.5) == 0}
    await engine.run(until=lambda: len(engine.rescued) >= len(callers) - len(theirs))
    assert set(moved(server)) == set(callers) - theirs


async def test_a_stranger_whose_name_fits_the_pattern_keeps_his_callers(server: AriStandIn) -> None:
    server.channels["c1"] = channel("c1", app="parley-shop")
    server.other_apps["parley-shop"] = ["c1"]
    engine = Engine(server, "parley-*")
    await engine.run(seconds=6.0)
    assert touched(server) == []


@pytest.mark.parametrize("what", ["our own heartbeats do not come back", "our socket is away"])
async def test_who_hears_nothing_himself_takes_nobody_for_dead(server: AriStandIn, what: str) -> None:
    with_dead_engine(server, "c1")
    engine = Engine(server, DEAD)
    engine.own_beats_come = False
    engine.ari.is_connected = what != "our socket is away"
    await engine.run(seconds=6.0)
    assert touched(server) == []


async def test_an_engine_that_returns_while_it_is_looked_at_keeps_its_callers(server: AriStandIn) -> None:
    with_dead_engine(server, "c1")
    rtp(server, ["c1"], flows=False)
    engine = Engine(server, DEAD)

    def came_back() -> None:
        if "GET /channels/c1/rtp_statistics" in [f"{verb} {path}" for verb, path, _ in server.requests]:
            engine.beats = {DEAD: 3}

    engine.on_sleep = came_back
    await engine.run(until=lambda: engine.beats)
    await engine.run(seconds=3.0)
    assert touched(server) == []


async def test_who_looks_after_us_gets_a_sign_of_life_though_we_look_after_nobody(server: AriStandIn) -> None:
    server.other_apps["watcher"] = []
    engine = Engine(server, room=7)
    engine.hear("watcher", 1)
    await engine.run(until=lambda: server.user_events)
    assert server.user_events == [(HEARTBEAT_NAME, "watcher", {"app": APP, "room": "7"})]
    assert server.asked("GET") == []


async def test_a_caller_who_is_gone_when_his_turn_comes_needs_nothing(server: AriStandIn) -> None:
    with_dead_engine(server, "c1")
    answers: dict[str, Any] = {"c1": server.channels["c1"]}
    engine = Engine(server, DEAD)

    def leaves() -> None:
        if "/channels" in server.asked("GET"):
            server.channels.pop("c1", None)

    engine.on_sleep = leaves
    rtp(server, answers, flows=False)
    await engine.run(until=lambda: BRIDGE not in server.bridges)
    assert engine.rescued == []
