"""Engines that share an Asterisk care for the callers of one that died.

When an engine's event socket ends, Asterisk keeps its callers in its Stasis application, and they hear nothing. Nothing
in ARI tells a live application from such a dead one (22.10: `GET /applications` lists both alike, a user event is
accepted for both), so engines send each other heartbeats through Asterisk, as user events. Where those of one have
stopped and its callers' RTP no longer flows, each caller is taken by the engine that `Peers.rank` names: moved to its
application, where a new call begins, or continued in the dialplan where it has no room.

What a moved channel leaves in the lists of its old application (22.10 forgets nothing by itself) is unsubscribed, so
that the dead engine's own restart finds no caller of others in it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from ai_engine.asterisk import channels as operations
from ai_engine.asterisk.ari import AriClient, segment
from ai_engine.asterisk.dispatch import CUT_OFF
from ai_engine.asterisk.errors import AriConflict, AriError, AriNotFound
from ai_engine.asterisk.events import Application, Bridge, Channel, UserEvent
from ai_engine.asterisk.ids import FAMILY, engine_prefix
from ai_engine.asterisk.peers import Peers
from ai_engine.asterisk.reconcile import Fallback, continue_caller, members_of_others

_log = structlog.get_logger(__name__)

HEARTBEAT_NAME: Final = "parley-alive"
BEAT_S: Final = 0.4
DEAD_AFTER_S: Final = 0.9
"""Two heartbeats were missed. Who is suspected wrongly loses nothing: his callers' RTP still flows."""
_LIST_EVERY_S: Final = 2.0
_RTP_PROBE_S: Final = 0.2
"""Ten packets of a live engine's."""
_NEXT_IN_LINE_S: Final = 1.0
"""How long the engine of the next rank waits for the one before it."""
_REQUEST_S: Final = 2.0
_ARRIVES_WITHIN_S: Final = 2.0
_AT_ONCE: Final = 16
_MOST_SUBSCRIPTIONS: Final = 8
"""A channel is subscribed to once for itself and once for each bridge it is in."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A caller whose engine died."""

    channel: Channel
    app: str
    """The dead engine's."""
    was_connected: bool
    """Whether he had been talking: otherwise nobody has answered yet."""


class Survivors:
    """One engine's part. `run` is a task beside `AriClient.run`; `heard` gets its user events.

    An engine whose configuration names no others answers heartbeats all the same, so that those who name it know.
    """

    def __init__(
        self,
        ari: AriClient,
        peers: Peers,
        *,
        room: Callable[[], int],
        fallback: Fallback,
        on_rescued: Callable[[str], None] = lambda _how: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`room` tells how many more calls this engine would take now, 0 when it takes none.

        `on_rescued` hears what became of each caller: ``adopted`` or ``sent_on``.
        """
        self.peers = peers
        self._ari = ari
        self._room = room
        self._fallback = fallback
        self._on_rescued = on_rescued
        self._clock = clock
        self._sleep = sleep
        self._to_answer: set[str] = set()
        self._own_beat_at = clock()
        self._listed_at = -_LIST_EVERY_S
        self._moving: dict[str, float] = {}
        """Callers on their way to us, who need room as calls do, and when we asked for them."""
        self._rescues: dict[str, asyncio.Task[None]] = {}

    def heard(self, event: UserEvent) -> None:
        """A user event of our application."""
        if event.name != HEARTBEAT_NAME:
            return
        sender, room, now = event.variables.get("app", ""), event.variables.get("room", ""), self._clock()
        if sender == self._ari.app:
            self._own_beat_at = now
        elif self.peers.includes(sender):
            self.peers.heard(sender, int(room) if room.isdecimal() else 0, now)
        elif sender:
            self._to_answer.add(sender)  # somebody who looks after us: he waits for a sign of life

    def states(self) -> dict[str, bool]:
        """Every other engine's application that there is, and whether its heartbeats come."""
        now = self._clock()
        return {app: self.peers.alive(app, now) for app in self.peers.apps}

    def arrived(self, channel_id: str) -> None:
        """A caller is in our application: his call is counted by `room` from now on."""
        self._moving.pop(channel_id, None)

    async def say_alive(self) -> None:
        """Tell the others at once, before our own callers are cared for: they may be about to take them."""
        self._listed_at = -_LIST_EVERY_S
        await self._beat()

    async def run(self) -> None:
        """Send heartbeats and look after silent engines, for ever."""
        try:
            last = self._clock()
            while True:
                now = self._clock()
                if self._ari.connected:
                    # A machine that stood still, or a socket that was away, has no opinion about others.
                    if now - last > 2 * BEAT_S or now - self._own_beat_at > DEAD_AFTER_S:
                        self.peers.excuse(now)
                    await self._beat()
                    self._look_after(self._clock())
                else:
                    self._own_beat_at = now - 2 * DEAD_AFTER_S
                last = now
                await self._sleep(max(0.0, BEAT_S - (self._clock() - now)))
        finally:
            rescues = tuple(self._rescues.values())
            for rescue in rescues:
                rescue.cancel()
            await asyncio.gather(*rescues, return_exceptions=True)

    # --- heartbeats ---------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        targets, self._to_answer = self._to_answer, set()
        if self.peers.watching:
            if self._clock() - self._listed_at >= _LIST_EVERY_S:
                await self._list()
            targets |= {self._ari.app, *self.peers.apps}
        if targets:
            body = {"variables": {"app": self._ari.app, "room": str(max(0, self._free()))}}
            await asyncio.gather(*(self._send(app, body) for app in targets))

    async def _send(self, app: str, body: Mapping[str, object]) -> None:
        path = f"/events/user/{segment(HEARTBEAT_NAME)}"
        try:
            await self._ari.request("POST", path, params={"application": app}, body=body, timeout_s=_REQUEST_S)
        except AriNotFound:
            self._listed_at = -_LIST_EVERY_S  # it has left, properly or with nobody in it
        except AriError as error:
            _log.debug("asterisk.heartbeat_failed", app=app, error=str(error))

    async def _list(self) -> None:
        try:
            apps = await operations.list_applications(self._ari)
        except AriError as error:
            _log.debug("asterisk.applications_unknown", error=str(error))
            return
        self._listed_at = self._clock()
        self.peers.listed((app.name for app in apps), self._listed_at)

    def _free(self) -> int:
        latest = self._clock() - _ARRIVES_WITHIN_S
        self._moving = {caller: since for caller, since in self._moving.items() if since > latest}
        return self._room() - len(self._moving)

    # --- the silent ---------------------------------------------------------------------------------------------------

    def _look_after(self, now: float) -> None:
        if now - self._own_beat_at > DEAD_AFTER_S:
            return  # our own heartbeats do not come back either
        for app in self.peers.silent(now):
            if app not in self._rescues:
                task = asyncio.create_task(self._rescue(app), name=f"rescue-{app}")
                self._rescues[app] = task
                task.add_done_callback(partial(self._rescued, app))

    def _rescued(self, app: str, task: asyncio.Task[None]) -> None:
        del self._rescues[app]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("asterisk.rescue_failed", app=app, exc_info=error)

    async def _rescue(self, app: str) -> None:
        """One look at an engine that is silent; the next heartbeat makes another where something is left to do."""
        try:
            found = await operations.get_application(self._ari, app)
            if not found.channel_ids and not found.bridge_ids:
                return
            channels = await operations.list_channels(self._ari)
            bridges = await operations.list_bridges(self._ari)
            await self._care_for(found, channels, bridges)
        except AriNotFound:
            return
        except AriError as error:
            _log.warning("asterisk.rescue_incomplete", app=app, error=str(error))

    async def _care_for(self, app: Application, channels: Collection[Channel], bridges: Collection[Bridge]) -> None:
        prefix = engine_prefix(app.name)
        own_bridges = {bridge.id for bridge in bridges if bridge.id.startswith(prefix)}
        made = own_bridges | {channel.id for channel in channels if channel.id.startswith(prefix)}
        made -= members_of_others(bridges)
        if not made and not self.peers.trusted(app.name):
            return  # a name that fits our pattern and is none of an engine's
        callers = [c for c in channels if c.id in app.channel_ids and c.in_stasis and not c.id.startswith(FAMILY)]
        bridge_of = {member: bridge for bridge in bridges for member in bridge.channel_ids if bridge.id in own_bridges}
        # Who is in no bridge may hear hold music, which is Asterisk's and no sign of an engine's life.
        flowing = await self._flowing([caller for caller in callers if caller.id in bridge_of])
        now = self._clock()
        if self.peers.alive(app.name, now):
            return
        silent_s = self.peers.silent_s(app.name, now)

        def ours(key: str) -> bool:
            rank = self.peers.rank(key, self._free(), now)
            return silent_s > self.peers.dead_after_s + rank * _NEXT_IN_LINE_S

        orphans = [Orphan(c, app.name, c.id in bridge_of) for c in callers if c.id not in flowing and ours(c.id)]
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(orphan: Orphan) -> bool:
            async with places:
                return not self.peers.alive(app.name, self._clock()) and await self._take(orphan, silent_s)

        done = await asyncio.gather(*(one(orphan) for orphan in orphans))
        cared_for = {orphan.channel.id for orphan, was_taken in zip(orphans, done, strict=True) if was_taken}
        # A caller's bridge tells whoever takes him that he had been talking: it goes with him.
        kept, ripe = set[str](), set[str]()
        for caller in callers:
            if (bridge := bridge_of.get(caller.id)) is not None:
                (ripe if caller.id in cared_for else kept).update((bridge.id, *bridge.channel_ids))
        for thing in sorted(made - kept):
            if (thing in ripe or ours(thing)) and not self.peers.alive(app.name, self._clock()):
                await self._destroy(thing, is_bridge=thing in own_bridges)

    async def _flowing(self, callers: Collection[Channel]) -> set[str]:
        """The callers to whom sound is still sent: their engine lives and has only lost sight of Asterisk."""
        before = await self._sent_packets(callers)
        if not before:
            return set()
        await self._sleep(_RTP_PROBE_S)
        after = await self._sent_packets([caller for caller in callers if caller.id in before])
        return {caller for caller, packets in after.items() if packets > before[caller]}

    async def _sent_packets(self, callers: Collection[Channel]) -> dict[str, int]:
        places = asyncio.Semaphore(_AT_ONCE)

        async def ask(caller: Channel) -> tuple[str, int | None]:
            async with places:
                try:
                    statistics = await operations.rtp_statistics(self._ari, caller.id)
                except AriNotFound:
                    return caller.id, None
            return caller.id, None if statistics is None else statistics.sent_packets

        answers = await asyncio.gather(*(ask(caller) for caller in callers))
        return {caller: packets for caller, packets in answers if packets is not None}

    async def _take(self, orphan: Orphan, silent_s: float) -> bool:
        """Move the caller to us, or send him on where nobody has room. False: he is left to an engine that has some.

        Who is gone needs nothing.
        """
        caller, how = orphan.channel, "adopted" if self._free() > 0 else "sent_on"
        if how == "sent_on" and self.peers.some_room(self._clock()):
            return False  # as soon as our next heartbeat says that we have none, he is another's
        try:
            if how == "adopted":
                self._moving[caller.id] = self._clock()
                args = (CUT_OFF,) if orphan.was_connected else ()
                await operations.move(self._ari, caller.id, self._ari.app, app_args=args)
            elif not await continue_caller(self._ari, caller.id, self._fallback):
                return True
        except (AriNotFound, AriConflict):
            self._moving.pop(caller.id, None)
            return True
        except BaseException:
            self._moving.pop(caller.id, None)
            raise
        _log.warning(
            "asterisk.caller_of_dead_engine", how=how, channel=caller.name, app=orphan.app, silent_s=round(silent_s, 2)
        )
        self._on_rescued(how)
        await self._forget(orphan)
        return True

    async def _forget(self, orphan: Orphan) -> None:
        """Strike the caller from the dead engine's application."""
        for _ in range(_MOST_SUBSCRIPTIONS):
            try:
                left = await operations.unsubscribe_channel(self._ari, orphan.app, orphan.channel.id)
            except AriError:  # 404, 409, 422: application, subscription or channel is gone
                return
            if orphan.channel.id not in left.channel_ids:
                return

    async def _destroy(self, resource_id: str, *, is_bridge: bool) -> None:
        try:
            if is_bridge:
                await operations.destroy_bridge(self._ari, resource_id)
            else:
                await operations.hangup(self._ari, resource_id)
        except AriError as error:
            _log.warning("asterisk.leftover_stays", id=resource_id, error=str(error))
