"""The ordered stream of a provider's events, and the one place where stale ones are dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ai_engine.providers.provider import ProviderEvent


@dataclass(slots=True, eq=False)
class Validity:
    """Whether events of one piece of work still count; shared by the work and its queued events."""

    over: bool = field(default=False)


class EventStream:
    """Events in the order they were put. Those whose work is over by the time they would be read are left out."""

    def __init__(self) -> None:
        self._queued: deque[tuple[ProviderEvent, Validity | None]] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, event: ProviderEvent, validity: Validity | None = None) -> None:
        """Queue `event`; ignored after `close`. Without `validity` it counts whatever happens."""
        if not self._closed and not (validity is not None and validity.over):
            self._queued.append((event, validity))
            self._changed.set()

    def close(self) -> None:
        """End the stream at once; what is still queued is dropped."""
        self._closed = True
        self._queued.clear()
        self._changed.set()

    async def read(self) -> AsyncIterator[ProviderEvent]:
        """The events, until `close`. For one reader."""
        while True:
            while self._queued:
                event, validity = self._queued.popleft()
                if validity is None or not validity.over:
                    yield event
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()
