"""Looks at each of several local AI servers every few seconds: a GET of its readiness page, without the token."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import Final

import aiohttp
import structlog

from ai_engine.asterisk.backoff import Backoff
from ai_engine.providers.server_fleet import Server, ServerFleet
from ai_engine.server_addresses import readiness_page

log = structlog.get_logger(__name__)

PROBE_EVERY_S: Final = 3.0
PROBE_TIMEOUT_S: Final = 3.0
_PROXY_SAYS_DOWN: Final = frozenset({502, 504})
_WHILE_DOWN: Final = Backoff(base_s=1.0, cap_s=8.0)


class ServerProbes:
    """Probes from `start` until `close`. Of a single server nothing is asked: it is tried in any case."""

    def __init__(self, fleet: ServerFleet, *, every_s: float = PROBE_EVERY_S) -> None:
        self.fleet = fleet
        self._every_s = every_s
        self._hurry = {server: asyncio.Event() for server in fleet.servers}
        self._tasks: list[asyncio.Task[None]] = []
        fleet.on_doubt(lambda server: self._hurry[server].set())

    def start(self) -> None:
        """Idempotent."""
        if self.fleet.several and not self._tasks:
            self._tasks = [
                asyncio.create_task(self._watch(server), name=f"probe {server.label}") for server in self.fleet.servers
            ]

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, server: Server) -> None:
        failures = 0
        hurry = self._hurry[server]
        # A new connection each time: one that is kept would not show that nobody accepts any more.
        connector = aiohttp.TCPConnector(force_close=True, limit=1)
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
            while True:
                hurry.clear()
                reason = await self._probe(client, server)
                if reason:
                    self.fleet.down(server, reason)
                failures = failures + 1 if reason else 0
                pause_s = _WHILE_DOWN.ceiling_s(failures - 1) if failures else self._every_s
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s * random.uniform(0.6, 1.0)):
                        await hurry.wait()

    async def _probe(self, client: aiohttp.ClientSession, server: Server) -> str:
        """Why it is down; empty where it is not. Any answer but these shows that somebody is there who may serve."""
        begun_s = time.monotonic()
        try:
            async with client.get(readiness_page(server.address), allow_redirects=False) as answer:
                if answer.status == 503:
                    return "it says that it is not ready; see its /readyz for the reason"
                if answer.status in _PROXY_SAYS_DOWN:
                    return f"the proxy before it says that nobody is there (status {answer.status})"
        except TimeoutError:
            return f"no answer within {PROBE_TIMEOUT_S:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"cannot be reached ({error})"
        self.fleet.works(server, time.monotonic() - begun_s)
        return ""
