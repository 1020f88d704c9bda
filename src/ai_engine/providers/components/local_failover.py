"""Asks the call's components again on another server when the one that worked for them has failed.

What of an answer was given before that is not given twice: the rules are those of chains of components.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, TypeVar

from ai_engine.providers.circuit_breaker import CircuitBreaker
from ai_engine.providers.components.chain import Chain, Member
from ai_engine.providers.components.component import Component, ComponentFailed, ComponentName
from ai_engine.providers.components.local_socket import LocalSocket

C = TypeVar("C", bound=Component)

PATIENCE_S: Final = 6.0
"""How long a server that answers pings may keep an answer back while another one may give it. One that does not answer
pings is left sooner."""
_UNTIL_IT_FAILS_S: Final = 3600.0
"""While there is no other: the socket has a limit of its own, and another one may be back by then."""


class OverServers(Chain[C]):
    """A chain of one component, which speaks to wherever the call's socket is connected at the time."""

    def __init__(
        self, component: ComponentName, asked: C, socket: LocalSocket, *, tries: int, patience_s: float = PATIENCE_S
    ) -> None:
        super().__init__(component, [Member("local", asked, CircuitBreaker(), patience_s)], clock=time.monotonic)
        self._socket = socket
        self._tries = tries
        self._failure = ComponentFailed(component, "nothing was asked")

    def to_ask(self) -> Iterator[tuple[Member[C], float | None]]:
        """The component, once for each server at the most. Raises what it failed with if no other server would mend
        that."""
        (member,) = self.members
        socket = self._socket
        for tries_left in range(self._tries - 1, -1, -1):
            connection = socket.connections + (not socket.up)
            patience_s = member.patience_s if socket.others else _UNTIL_IT_FAILS_S
            yield member, patience_s if tries_left else None
            failure = self._failure
            moved = socket.up and socket.connections != connection  # an answer may be read long after it broke off
            if not failure.retryable or not (moved or socket.others):
                raise failure
            if failure.component != "connection":
                socket.give_up(connection, str(failure))

    def failed(self, member: Member[C], error: Exception) -> None:
        """`to_ask` goes on right after it."""
        if isinstance(error, ComponentFailed):
            self._failure = error
        else:
            message = f"local_ai_server gave nothing within {member.patience_s:g} s"
            self._failure = ComponentFailed(self._component, message, retryable=True)

    async def start(self) -> None:
        """Connects. Raises `ComponentFailed`."""
        await self.members[0].component.start()
