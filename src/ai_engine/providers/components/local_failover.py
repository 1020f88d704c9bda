"""Asks the call's components again on another server when the one that worked for them has failed.

What of an answer was given before that is not given twice: the rules are those of chains of components.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, TypeVar

import structlog

from ai_engine.providers.circuit_breaker import CircuitBreaker
from ai_engine.providers.components.chain import Chain, Member
from ai_engine.providers.components.component import Component, ComponentFailed, ComponentName
from ai_engine.providers.components.local_socket import LocalSocket

log = structlog.get_logger(__name__)

C = TypeVar("C", bound=Component)

PATIENCE_S: Final = 6.0
"""How long a server that answers pings may keep an answer back while another one may give it. One that does not answer
pings is left sooner."""


class OverServers(Chain[C]):
    """A chain of one component, which speaks to wherever the call's socket is connected at the time."""

    def __init__(
        self, component: ComponentName, asked: C, socket: LocalSocket, *, tries: int, patience_s: float = PATIENCE_S
    ) -> None:
        super().__init__(component, [Member("local", asked, CircuitBreaker(), patience_s)], clock=time.monotonic)
        self._socket = socket
        self._tries = tries
        self._error: Exception = ComponentFailed(component, "nothing was asked")

    def to_ask(self) -> Iterator[tuple[Member[C], float | None]]:
        """The component, once for each server at the most. Raises what it failed with if no other server would mend
        that."""
        (member,) = self.members
        for tries_left in range(self._tries - 1, -1, -1):
            connection = self._socket.connections + (not self._socket.up)
            yield member, member.patience_s if tries_left and self._socket.others else None
            error = self._error
            if not self._socket.others or (isinstance(error, ComponentFailed) and not error.retryable):
                raise error
            if not isinstance(error, ComponentFailed) or error.component != "connection":
                self._socket.give_up(connection, str(error) or f"no output within {member.patience_s:g} s")

    def failed(self, member: Member[C], error: Exception) -> None:
        """`to_ask` goes on right after it."""
        self._error = error

    async def start(self) -> None:
        """Connects. Raises `ComponentFailed`."""
        await self.members[0].component.start()
