"""A WebSocket as a session sees it: messages in, messages out in order, closed when idle or when nobody reads."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from contextlib import suppress
from typing import Final, Protocol

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from local_ai_server.session import CLOSE_IDLE, CLOSE_TRY_AGAIN_LATER
from voice_wire.messages import WireModel

log = structlog.get_logger(__name__)

_MAX_UNREAD_BYTES: Final = 32 * 1024 * 1024
"""A client that lets so much lie does not read."""
_AUTH_DEADLINE_S: Final = 10.0
_CLOSE_GRACE_S: Final = 5.0
"""A client that does not take what was sent before the close is left to itself."""


_DEAD_AFTER_S: Final = 60
_PROBE_AFTER_S: Final = 20
_PROBE_EVERY_S: Final = 10


def keep_alive(listener: socket.socket) -> None:
    """Connections accepted from `listener` end about a minute after their peer has vanished without a word.

    Version 2 has no idle limit, so nothing else would tell. Accepted sockets inherit these options (Linux).
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, (_DEAD_AFTER_S - _PROBE_AFTER_S) // _PROBE_EVERY_S)
    # While sent data is not acknowledged there are no probes; this bounds that, too.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _DEAD_AFTER_S)


class Served(Protocol):
    """A session, as its connection sees it."""

    ended: bool
    """It reads no more."""

    @property
    def call_id(self) -> str | None: ...

    @property
    def authenticated(self) -> bool: ...

    @property
    def closes_when_idle(self) -> bool:
        """It ends when its client says nothing for long."""
        ...

    async def take(self, data: str | bytes) -> None:
        """One frame. The next is read when it returns."""
        ...

    def turn_away(self, reason: str) -> None:
        """The client did not say in time who it is."""
        ...


class Connection:
    """The `Client` of one session. All that is sent goes through one queue, so its order is the order of `send`."""

    def __init__(self, websocket: WebSocket, *, idle_timeout_s: float) -> None:
        self._websocket = websocket
        self._idle_timeout_s = idle_timeout_s
        self._outgoing: deque[str | bytes] = deque()
        self._unread_bytes = 0
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._closed = asyncio.Event()
        self._heard_at = time.monotonic()

    def send(self, message: WireModel | bytes | str) -> None:
        if self._closing is not None:
            return
        data = message if isinstance(message, bytes | str) else message.to_json()
        self._unread_bytes += len(data)
        if self._unread_bytes > _MAX_UNREAD_BYTES:
            self._outgoing.clear()
            self.close(CLOSE_TRY_AGAIN_LATER, "the client does not read what it is sent")
            return
        self._outgoing.append(data)
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Closes after what was sent before."""
        if self._closing is None:
            self._closing = (code, reason)
            self._closed.set()
            self._wake.set()

    async def run(self, session: Served) -> None:
        """Serves the connection until either side closes it."""
        parts = [
            asyncio.create_task(part, name=name)
            for part, name in (
                (self._read(session), "read"),
                (self._write(), "write"),
                (self._watch(session), "watch"),
                (self._give_up(), "give up"),
            )
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            results = await asyncio.gather(*parts, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    log.error("connection_failed", call_id=session.call_id, exc_info=result)

    async def _read(self, session: Served) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                self._heard_at = time.monotonic()
                text = message.get("text")
                await session.take(text if text is not None else message["bytes"])
                if session.ended:
                    await asyncio.Event().wait()  # the writer closes, which ends us

    async def _write(self) -> None:
        # A client that is gone is the reader's to notice.
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                while self._outgoing:
                    data = self._outgoing.popleft()
                    self._unread_bytes -= len(data)
                    if isinstance(data, bytes):
                        await self._websocket.send_bytes(data)
                    else:
                        await self._websocket.send_text(data)
                if self._closing is not None:
                    if self._websocket.application_state is WebSocketState.CONNECTED:
                        await self._websocket.close(*self._closing)
                    return
                self._wake.clear()
                await self._wake.wait()
        await asyncio.Event().wait()

    async def _give_up(self) -> None:
        """Ends what a writer cannot end that waits for its client to read."""
        await self._closed.wait()
        await asyncio.sleep(_CLOSE_GRACE_S)

    async def _watch(self, session: Served) -> None:
        """Closes whoever does not say who it is, and whoever falls silent where that is not waited for."""
        await asyncio.sleep(_AUTH_DEADLINE_S)
        if not session.authenticated:
            session.turn_away("authentication_required")
        while self._idle_timeout_s > 0:
            idle_s = time.monotonic() - self._heard_at
            if session.closes_when_idle and idle_s >= self._idle_timeout_s:
                self.close(CLOSE_IDLE, "idle")
            await asyncio.sleep(max(0.05, min(self._idle_timeout_s - idle_s, self._idle_timeout_s)))
        await asyncio.Event().wait()
