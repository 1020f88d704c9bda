"""Events of one call in order, of different calls side by side.

A *lane* is a queue and the one task that empties it. Every id that belongs to a call (its caller's channel, the media
channel and bridge made for it) is adopted by the call's lane before the request that makes it, so that no event is
lost to a race between the request's answer and the WebSocket.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from ai_engine.asterisk.events import Channel, Event, StasisEnd, StasisStart

_log = structlog.get_logger(__name__)

Handler = Callable[[Event], Awaitable[None]]

CUT_OFF = "parley-cut-off"
"""Among a StasisStart's `args`: the caller had been talking, with an engine or a life of this one that is gone."""


class Lane:
    """The events of one call, handled one after another by one task.

    Made by `Dispatcher`. The next event waits until the handler of the one before has returned: start long work
    elsewhere. After `release` nothing more is delivered; what waited is dropped.
    """

    def __init__(self, key: str, routes: dict[str, "Lane"]) -> None:
        self.key = key
        self._routes = routes
        self._ids: set[str] = set()
        self._left: set[str] = set()  # adopted channels that have gone out of the application
        self._waiting: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._released = False

    @property
    def released(self) -> bool:
        """Whether the lane has ended."""
        return self._released

    def adopt(self, resource_id: str) -> None:
        """Have the events of a channel, or of a bridge, come here. Call it before the request that makes it.

        Raises ValueError when a live lane has the id already.
        """
        if self._released:
            raise ValueError(f"lane {self.key!r} is released")
        owner = self._routes.get(resource_id)
        if owner is not None and owner is not self:
            raise ValueError(f"{resource_id!r} belongs to lane {owner.key!r}")
        self._routes[resource_id] = self
        self._ids.add(resource_id)

    def disown(self, resource_id: str) -> None:
        """Stop receiving an id's events, for a request that failed or a channel handed to somebody else."""
        if self._routes.get(resource_id) is self:
            del self._routes[resource_id]
        self._ids.discard(resource_id)
        self._left.discard(resource_id)

    def release(self) -> None:
        """End the lane: all its ids are unknown from now on, its task ends after the handler in progress."""
        self._released = True
        for resource_id in tuple(self._ids):
            self.disown(resource_id)
        self._waiting.clear()
        self._arrived.set()

    def _put(self, event: Event) -> None:
        self._waiting.append(event)
        self._arrived.set()

    async def _serve(self, handler: Handler) -> None:
        while not self._released:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await handler(self._waiting.popleft())


class Dispatcher:
    """Gives every event to the lane that has adopted its channel or bridge.

    `on_new_channel(start, lane)` is called for a channel nobody knows, with a lane that has adopted it; it returns the
    handler (which then gets `start` as its first event) or None to leave the channel alone. It must not block.
    `on_failure(key, exception)` hears of a handler, or an `on_new_channel`, that raised: that lane is released and the
    others go on. `is_ours(id)` tells channels of our own making, which are never callers: when one arrives after its
    lane was released (its POST was in flight) `on_stray` gets it, to be destroyed.
    """

    def __init__(
        self,
        on_new_channel: Callable[[StasisStart, Lane], Handler | None],
        *,
        on_failure: Callable[[str, Exception], None],
        is_ours: Callable[[str], bool],
        on_stray: Callable[[Channel], None],
    ) -> None:
        self._on_new_channel = on_new_channel
        self._on_failure = on_failure
        self._is_ours = is_ours
        self._on_stray = on_stray
        self._routes: dict[str, Lane] = {}
        self._tasks: dict[asyncio.Task[None], Lane] = {}
        self._closed = False

    @property
    def lanes(self) -> int:
        """How many lane tasks are alive."""
        return len(self._tasks)

    def knows(self, resource_id: str) -> bool:
        """Whether a live lane has adopted the id."""
        return resource_id in self._routes

    def open(self, key: str, handler: Handler) -> Lane:
        """Start a lane for what we originate ourselves; adopt the ids before the request. `key` names it in reports."""
        if self._closed:
            raise ValueError("the dispatcher is closed")
        lane = Lane(key, self._routes)
        self._start(lane, handler)
        return lane

    def dispatch(self, event: Event) -> None:
        """Put one event where it belongs. Never blocks, never raises: fit for `AriClient.run`."""
        if self._closed:
            return
        lane = self._route(event)
        if isinstance(event, StasisStart):
            if lane is not None and event.channel.id in lane._left:
                # It left (StasisEnd) and came back before its old call was done with it: a new call.
                lane.disown(event.channel.id)
                lane = None
            if lane is None:
                self._welcome(event)
                return
        if lane is None:
            return
        if isinstance(event, StasisEnd):
            lane._left.add(event.channel.id)
        lane._put(event)

    def announce(self, channel: Channel, *, cut_off: bool = False) -> None:
        """Treat a channel found in our application after a reconnect as if its StasisStart had just arrived."""
        if not self.knows(channel.id):
            self.dispatch(StasisStart(channel, (CUT_OFF,) if cut_off else ()))

    async def close(self) -> None:
        """Cancel every handler in progress and wait for the end of all lanes."""
        self._closed = True
        tasks = tuple(self._tasks.items())
        for task, lane in tasks:
            lane.release()
            task.cancel()
        await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)

    def _route(self, event: Event) -> Lane | None:
        for resource_id in (event.channel_id, event.bridge_id):
            if resource_id is not None and (lane := self._routes.get(resource_id)) is not None:
                return lane
        return None

    def _welcome(self, start: StasisStart) -> None:
        channel_id = start.channel.id
        if self._is_ours(channel_id):
            self._on_stray(start.channel)
            return
        lane = Lane(channel_id, self._routes)
        lane.adopt(channel_id)
        try:
            handler = self._on_new_channel(start, lane)
        except Exception as exc:  # noqa: BLE001 - the event loop of all calls stands behind us; the fault is reported
            lane.release()
            self._on_failure(channel_id, exc)
            return
        if handler is None:
            lane.release()
            return
        lane._put(start)
        self._start(lane, handler)

    def _start(self, lane: Lane, handler: Handler) -> None:
        task = asyncio.create_task(self._own(lane, handler), name=f"lane-{lane.key}")
        self._tasks[task] = lane
        task.add_done_callback(self._ended)

    async def _own(self, lane: Lane, handler: Handler) -> None:
        try:
            await lane._serve(handler)
        except Exception as exc:  # noqa: BLE001 - root of the lane's task: it ends this lane and is reported
            _log.exception("asterisk.lane_failed", lane=lane.key)
            lane.release()
            self._on_failure(lane.key, exc)

    def _ended(self, task: asyncio.Task[None]) -> None:
        lane = self._tasks.pop(task)
        lane.release()
