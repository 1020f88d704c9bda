"""What happens in calls, as it happens, for whoever watches: the demo, the admin UI, tests.

Publishing never waits: a watcher that does not keep up loses its oldest events and is told how many.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

Event = dict[str, Any]
"""`type`, `at` (Unix seconds), `call_id` where it belongs to a call, and the facts of its type."""

BACKLOG = 500


class Watcher:
    """One reader's queue. Iterate it; it ends when the feed closes."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self.missed = 0

    def offer(self, event: Event) -> None:
        if len(self._events) >= BACKLOG:
            self._events.popleft()
            self.missed += 1
        self._events.append(event)
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._events:
                if self.missed:
                    missed, self.missed = self.missed, 0
                    yield {"type": "missed", "count": missed}
                yield self._events.popleft()
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()


class LiveEvents:
    """The feed. Used on the control loop only."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._watchers: set[Watcher] = set()
        self._wall_clock = wall_clock

    def publish(self, type: str, **facts: Any) -> None:
        if not self._watchers:
            return
        event = {"type": type, "at": round(self._wall_clock(), 3), **facts}
        for watcher in self._watchers:
            watcher.offer(event)

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End every watcher's iteration."""
        for watcher in self._watchers:
            watcher.close()
