"""A running engine's live events, collected by whoever watches its calls from outside: benchmarks and scenarios."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp


class EngineEvents:
    """The engine's live events, kept as they come."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self._came = asyncio.Event()

    @asynccontextmanager
    async def watch(self, engine_url: str) -> AsyncIterator[EngineEvents]:
        """Collect while the block runs."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as client,
            client.get(f"{engine_url}/events") as response,
        ):
            await response.content.readline()
            reading = asyncio.create_task(self._read(response), name="engine-events")
            try:
                yield self
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    def add(self, event: dict[str, Any]) -> None:
        """One more has come."""
        self.seen.append(event)
        self._came.set()

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        async for line in response.content:
            if line.startswith(b"data: "):
                self.add(json.loads(line[6:]))

    async def find(self, fits: Callable[[dict[str, Any]], bool], *, start: int, timeout_s: float) -> dict[str, Any]:
        """The first that fits of those from number `start` on. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            at = start
            while True:
                while at < len(self.seen):
                    at += 1
                    if fits(self.seen[at - 1]):
                        return self.seen[at - 1]
                self._came.clear()
                await self._came.wait()
