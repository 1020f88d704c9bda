"""AudioSocket as a line kind: one listening TCP socket, to which Asterisk connects once for each call.

Whose connection it is says its first message, a UUID that was made up for that call and told to Asterisk alone. What
comes from elsewhere, says nothing for a few seconds, or names a call that nobody waits for, is closed and counted.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

import structlog

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import Channel
from ai_engine.media.audiosocket import HEADER_BYTES, UUID, AudioSocketError, AudioSocketParser, Message
from ai_engine.media.audiosocket_transport import FORMATS, AudioSocketTransport
from ai_engine.media.ip_address import as_seen, is_unspecified
from ai_engine.media.lines import MediaChannelRequest, MediaError
from ai_engine.media.pacer import MediaLoop
from voice_wire.audio import AudioFormat

_BACKLOG: Final = 128
_MOST_UNKNOWN: Final = 64
"""Connections that have not said yet whose they are; one more, and the oldest is closed."""
_IDENTIFY_S: Final = 3.0
_CONNECT_S: Final = 5.0
"""Asterisk connects before it answers the request for the channel; what comes later does not come."""
_ACCEPT_AGAIN_S: Final = 0.1

_log = structlog.get_logger(__name__)


class AudioSocketLine:
    """One call's: a UUID, and the connection that names it."""

    def __init__(self, transport: AudioSocketTransport, request: MediaChannelRequest, media: MediaLoop) -> None:
        self.transport = transport
        self.request = request
        self._media = media
        self._arrived = asyncio.Event()

    def arrived(self, connection: socket.socket) -> None:
        """The connection that named this call's UUID; sound goes out on it from now on."""
        if self._media.post(self._attach, connection):
            self._arrived.set()
        else:
            connection.close()

    async def connected(self, ari: AriClient, channel: Channel) -> None:
        """Asterisk's connection is there. Raises `MediaError` when it does not come."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._arrived.wait()
        except TimeoutError:
            raise MediaError(
                f"Asterisk made the channel and did not connect to AudioSocket at {self.request.external_host}: let "
                "media.audiosocket.advertise name an address of this machine that Asterisk reaches"
            ) from None

    def _attach(self, connection: socket.socket) -> None:
        self.transport.attach(connection)
        self._media.add(_Unserved(self.transport, self._media))


class _Unserved:
    """Ticks a line from its connection on until the call does."""

    def __init__(self, transport: AudioSocketTransport, media: MediaLoop) -> None:
        self._transport = transport
        self._media = media

    def tick(self, now: float) -> None:
        if not self._transport.keep_going(now):
            self._media.remove(self)

    def failed(self, error: Exception) -> None:
        """The call is told at its own first tick, if this was the connection's fault."""
        if not isinstance(error, MediaError):
            _log.error("audiosocket_failed", exc_info=error)


class AudioSocketLines:
    """The `LineKind` of AudioSocket. Lives on the control loop."""

    def __init__(
        self,
        media: MediaLoop,
        *,
        bind: str,
        port: int,
        advertise: str | None,
        allowed_sources: Collection[str],
        downstream_ms: float,
        comfort_noise_dbfs: float | None = None,
        identify_s: float = _IDENTIFY_S,
    ) -> None:
        """`advertise` is the address Asterisk connects to, if not the bound one; `allowed_sources` are Asterisk's own.

        Port 0 is any free one. `identify_s` is how long a connection may take to say whose it is.
        """
        self.formats: Mapping[str, AudioFormat] = {name: wire for name, (_, wire) in FORMATS.items()}
        self.refused: Counter[str] = Counter()
        """Connections that were closed, by reason: address, unknown, silent, malformed, crowd, not accepted."""
        self._media = media
        self._bind, self._port, self._advertise = bind, port, advertise or bind
        self._allowed = frozenset(as_seen(source, socket.AF_INET) for source in allowed_sources)
        self._downstream_ms = downstream_ms
        self._comfort_noise_dbfs = comfort_noise_dbfs
        self._identify_s = identify_s
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._unknown: dict[asyncio.Task[bool], socket.socket] = {}
        self._expected: dict[bytes, AudioSocketLine] = {}

    @property
    def port(self) -> int:
        """The port it listens on. Raises `MediaError` before `start`."""
        if self._listener is None:
            raise MediaError("AudioSocket is not started")
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def unknown(self) -> int:
        """Connections that have not said yet whose they are."""
        return len(self._unknown)

    @property
    def waiting(self) -> int:
        """Calls whose connection has not come yet."""
        return len(self._expected)

    async def start(self) -> None:
        """Listen. Raises `MediaError` when the address cannot be had."""
        if self._listener is not None:
            return
        if is_unspecified(self._advertise):
            raise MediaError(
                f"media.audiosocket.bind is {self._bind}: set media.audiosocket.advertise to the address that "
                "Asterisk connects to"
            )
        try:
            listener = self._listen()
        except OSError as error:
            raise MediaError(
                f"cannot listen for AudioSocket on {self._bind}:{self._port} (media.audiosocket): {error.strerror}"
            ) from error
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener), name="audiosocket-accept")

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in self._bind else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind((self._bind, self._port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    async def stop(self) -> None:
        """Listen no more, and close what has not said whose it is. Idempotent."""
        accepting, self._accepting = self._accepting, None
        if accepting is not None:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
        unknown = tuple(self._unknown)
        for task in unknown:
            task.cancel()
        await asyncio.gather(*unknown, return_exceptions=True)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        if self.refused:
            _log.info("audiosocket_refused_in_all", **self.refused)

    def open(self, call_id: str, media_format: str) -> AudioSocketLine:
        """A call's line, in one of `formats`. Raises `MediaError` for another, and before `start`."""
        if media_format not in self.formats:
            why = ": Asterisk sends ulaw as if it were slin, and plays noise" if media_format == "ulaw" else ""
            raise MediaError(f"AudioSocket does not carry {media_format}{why}; use {', '.join(self.formats)}")
        identity = uuid.uuid4()

        def closed() -> None:
            self._expected.pop(identity.bytes, None)

        transport = AudioSocketTransport(
            media_format,
            downstream_ms=self._downstream_ms,
            comfort_noise_dbfs=self._comfort_noise_dbfs,
            on_close=closed,
        )
        host = f"[{self._advertise}]" if ":" in self._advertise else self._advertise
        request = MediaChannelRequest(
            f"{host}:{self.port}", media_format, transport="tcp", encapsulation="audiosocket", data=str(identity)
        )
        line = AudioSocketLine(transport, request, self._media)
        self._expected[identity.bytes] = line
        return line

    # --- whose connection it is ---------------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:  # no descriptor left, or it is gone again
                self._refuse("not accepted", str(error.strerror))
                await asyncio.sleep(_ACCEPT_AGAIN_S)
                continue
            if as_seen(address[0], socket.AF_INET) not in self._allowed:
                connection.close()
                self._refuse("address", address[0])
                continue
            if len(self._unknown) >= _MOST_UNKNOWN:
                # Each once: it takes the loop longer to close one than to accept the next.
                oldest = next((task for task in self._unknown if not task.cancelling()), None)
                if oldest is not None:
                    oldest.cancel()
                self._refuse("crowd", address[0])
            task = asyncio.create_task(self._identify(connection, address[0]), name="audiosocket-identify")
            self._unknown[task] = connection
            task.add_done_callback(self._identified)
            await asyncio.sleep(0)  # a flood of connections must not keep the loop

    def _identified(self, task: asyncio.Task[bool]) -> None:
        """Close the connection if nobody took it; also that of a task which was cancelled before its first step."""
        connection = self._unknown.pop(task)
        if task.cancelled() or not task.result():
            connection.close()

    async def _identify(self, connection: socket.socket, address: str) -> bool:
        """Read the first message and hand the connection to the call that waits for it; False if there is none."""
        try:
            async with asyncio.timeout(self._identify_s):
                first = await _first_message(connection)
        except (TimeoutError, OSError):
            self._refuse("silent", address)
            return False
        except AudioSocketError:
            self._refuse("malformed", address)
            return False
        line = self._expected.pop(first.payload, None)
        if line is None:
            self._refuse("unknown", address)
            return False
        line.arrived(connection)
        return True

    def _refuse(self, reason: str, about: str) -> None:
        """Count it; log the first, the second, the fourth … so that a flood does not fill the log."""
        self.refused[reason] += 1
        count = self.refused[reason]
        if count & (count - 1) == 0:
            _log.warning("audiosocket_refused", reason=reason, about=about, count=count)


async def _first_message(connection: socket.socket) -> Message:
    """The UUID's, and not a byte more: what follows is the transport's. Raises `AudioSocketError` and `OSError`."""
    loop, parser = asyncio.get_running_loop(), AudioSocketParser()
    missing = HEADER_BYTES + 16
    while True:
        data = await loop.sock_recv(connection, missing)
        if not data:
            raise ConnectionResetError("closed before it said whose it is")
        missing -= len(data)
        if messages := parser.feed(data):
            if messages[0].kind != UUID:
                raise AudioSocketError(f"begins with kind 0x{messages[0].kind:02x} instead of a UUID")
            return messages[0]
        if not missing:
            raise AudioSocketError("begins with something longer than a UUID")
