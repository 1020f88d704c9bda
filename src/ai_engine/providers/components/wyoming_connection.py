"""One connection to a Wyoming server, and the options that all its components have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ai_engine.providers.components.component import ComponentFailed, ComponentName
from ai_engine.providers.components.wyoming_events import Event, EventDecoder, WyomingError

_CONNECT_S: Final = 3.0
_READ_BYTES: Final = 64 * 1024


def _tcp_url(url: str) -> str:
    parts = urlsplit(url.strip())
    port = parts.port  # raises ValueError for what is no port
    if parts.scheme != "tcp" or not parts.hostname or not port or parts.path.strip("/") or parts.username:
        raise ValueError("write it as tcp://host:port")
    return url.strip().rstrip("/")


class WyomingOptions(BaseModel):
    """Where the server is and how long it is waited for. The protocol knows no keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(_tcp_url)]
    """As in tcp://127.0.0.1:10300."""
    timeout_s: float = Field(default=8.0, gt=0, le=120)
    """Longest silence of the server while it is waited for."""


class WyomingConnection:
    """Writes and reads events. All methods raise `ComponentFailed`."""

    def __init__(
        self,
        component: ComponentName,
        options: WyomingOptions,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._component = component
        self._options = options
        self._reader = reader
        self._writer = writer
        self._decoder = EventDecoder()
        self._events: list[Event] = []

    def send(self, kind: str, data: dict[str, Any] | None = None, payload: bytes = b"") -> None:
        """Never waits: what a turn holds is little. That the connection is lost is told by `receive`."""
        if not self._writer.is_closing():
            self._writer.write(bytes(Event(kind, data or {}, payload)))

    async def receive(self) -> Event:
        """The next event, however long it takes. An `error` event is raised."""
        while not self._events:
            try:
                data = await self._reader.read(_READ_BYTES)
                self._events += self._decoder.feed(data)
            except OSError as error:
                raise self._lost(str(error) or type(error).__name__) from None
            except WyomingError as error:
                message = f"{self._options.url} sent what is no Wyoming event ({error}); correct `url`"
                raise ComponentFailed(self._component, message) from None
            if not data:
                raise self._lost("it hung up")
        event = self._events.pop(0)
        if event.kind == "error":
            said = " ".join(str(event.data.get("text", "")).split())[:300]
            raise ComponentFailed(self._component, f"{self._options.url} failed: {said}; see its log", retryable=True)
        return event

    async def receive_in_time(self) -> Event:
        """The next event, within `timeout_s`."""
        try:
            async with asyncio.timeout(self._options.timeout_s):
                return await self.receive()
        except TimeoutError:
            raise silent(self._component, self._options) from None

    def _lost(self, reason: str) -> ComponentFailed:
        message = f"the connection to {self._options.url} was lost: {reason}; see its log"
        return ComponentFailed(self._component, message, retryable=True)


def silent(component: ComponentName, options: WyomingOptions) -> ComponentFailed:
    message = f"{options.url} was silent for {options.timeout_s:g} s; see its load, or raise `timeout_s`"
    return ComponentFailed(component, message)


@asynccontextmanager
async def connected(component: ComponentName, options: WyomingOptions) -> AsyncIterator[WyomingConnection]:
    """A connection; leaving closes it at once, which also ends the server's work. Raises `ComponentFailed`."""
    parts = urlsplit(options.url)
    try:
        async with asyncio.timeout(min(_CONNECT_S, options.timeout_s)):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except (OSError, TimeoutError) as error:
        reason = str(error) or "it does not answer"
        message = f"no connection to {options.url}: {reason}; start the server there, or correct `url`"
        raise ComponentFailed(component, message, retryable=True) from None
    try:
        yield WyomingConnection(component, options, reader, writer)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
