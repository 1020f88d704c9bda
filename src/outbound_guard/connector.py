"""aiohttp's connections to one destination: the name is resolved here, and each address judged when it is used."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from outbound_guard.destination import Destination, DestinationRefused

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""(name, port) → addresses as text. Raises `OSError`."""


class GuardedResolver(AbstractResolver):
    """Resolves the destination's name, and only that; keeps the addresses that may be reached."""

    def __init__(self, destination: Destination, look_up: LookUp | None = None) -> None:
        self._destination = destination
        self._look_up = look_up or _look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `OSError`; `DestinationRefused` where no address is left."""
        destination = self._destination
        if (host.rstrip(".").lower(), port) != (destination.host, destination.port):
            raise DestinationRefused(f"{host}:{port} is not {destination.host}:{destination.port}")
        found: list[ResolveResult] = []
        refused: DestinationRefused | None = None
        for text in await self._look_up(host, port):
            try:
                destination.check(text)
            except DestinationRefused as error:
                refused = error
                continue
            kind = socket.AF_INET6 if ":" in text else socket.AF_INET
            found.append(
                ResolveResult(hostname=host, host=text, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            )
        if not found:
            raise refused or OSError(f"{host} has no address")
        return found

    async def close(self) -> None:
        """Nothing is held."""


def guarded_connector(
    destination: Destination, *, look_up: LookUp | None = None, limit: int = 20
) -> aiohttp.TCPConnector:
    """Connections to `destination` alone, `limit` at once. Belongs to the running loop."""

    def checked_socket(info: tuple[Any, ...]) -> socket.socket:
        """The last word: `info` is where the socket is connected to next."""
        family, kind, proto, _, where = info
        destination.check(str(where[0]))
        if where[1] != destination.port:
            raise DestinationRefused(f"port {where[1]} is not {destination.port}")
        return socket.socket(family, kind, proto)

    return aiohttp.TCPConnector(
        resolver=GuardedResolver(destination, look_up), use_dns_cache=False, socket_factory=checked_socket, limit=limit
    )


async def _look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
