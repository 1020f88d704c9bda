"""Connections that all calls share, to the servers that components ask: made when first needed, closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar, cast


class Closable(Protocol):
    async def close(self) -> None:
        """Closes all connections."""


T = TypeVar("T", bound=Closable)


class SharedClients:
    """The engine's, used on its control loop."""

    def __init__(self) -> None:
        self._clients: dict[Hashable, Closable] = {}

    def __repr__(self) -> str:
        return f"SharedClients({len(self._clients)})"  # keys hold secrets

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The one under `key`: whoever asks with the same key wants the same server in the same way."""
        if key not in self._clients:
            self._clients[key] = make()
        return cast("T", self._clients[key])

    async def close(self) -> None:
        """Close them all. Idempotent."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()
