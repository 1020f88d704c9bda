"""HTTP connections on which nothing is asked: so many, for so long. Strangers hold them without a token, and each takes
one of the process's file descriptors, without which no call comes in."""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

DEADLINE_S: Final = 10.0
"""For a request's head to be complete, from the connection's begin or the last answer on."""
MAX_HALF_OPEN: Final = 256
"""Beyond it the one that has waited for longest goes: an honest client sends its request within milliseconds."""


class _Waiting:
    """The connections that ask nothing now, the oldest first, each with its deadline."""

    def __init__(self, *, most: int, deadline_s: float) -> None:
        self._most = most
        self._deadline_s = deadline_s
        self._deadlines: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    def add(self, transport: asyncio.Transport) -> None:
        """What comes in drops until the request is complete does not put it off."""
        if transport in self._deadlines:
            return
        while len(self._deadlines) >= self._most:
            self._give_up(next(iter(self._deadlines)))
        loop = asyncio.get_running_loop()
        self._deadlines[transport] = loop.call_later(self._deadline_s, self._give_up, transport)

    def remove(self, transport: asyncio.Transport) -> None:
        """Idempotent."""
        deadline = self._deadlines.pop(transport, None)
        if deadline is not None:
            deadline.cancel()

    def _give_up(self, transport: asyncio.Transport) -> None:
        self.remove(transport)
        transport.close()


def bounded_http() -> type[H11Protocol]:
    """uvicorn's protocol for one server."""
    waiting = _Waiting(most=MAX_HALF_OPEN, deadline_s=DEADLINE_S)

    class BoundedHttp(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            waiting.add(transport)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._look()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            waiting.remove(self.transport)

        def _look(self) -> None:
            is_asked = self.cycle is not None and not self.cycle.response_complete
            is_http = self.transport.get_protocol() is self  # and no WebSocket by now
            if is_http and not is_asked and not self.transport.is_closing():
                waiting.add(self.transport)
            else:
                waiting.remove(self.transport)

    return BoundedHttp
