"""A WebSocket to Asterisk's `/media/…` that is read and written when the pacer ticks, and never waits.

The protocol is that of the `websockets` library without its I/O: waking the loop for each of fifty messages a second
costs more than all the rest. The kernel's buffers bound what waits to be read. Of what Asterisk does not take, whoever
sends sound keeps the most back (`unsent_bytes`); answers to pings pile up to a limit, and then the connection is lost.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

_READ_BYTES: Final = 4096
_MOST_BYTES: Final = 16 * _READ_BYTES
"""Per tick: two seconds of slin16, so that a flood cannot keep the loop busy."""
_MOST_READS: Final = 512
"""Per tick, for the same reason: where it is encrypted a read gives one record, which may hold half a message."""
_MOST_FRAMES: Final = 1000
"""Per tick; empty ones would take a second to parse in what the reads alone allow."""
_MOST_UNSENT_BYTES: Final = 65536
"""Far more than one who sends sound leaves unsent: what has piled up are answers to pings, and nobody reads them."""
_MOST_MESSAGE_BYTES: Final = 65536
"""Asterisk's own limit is 65,500."""
_UNACKNOWLEDGED_MS: Final = 10_000
"""A peer that has not acknowledged anything for so long is gone, though nobody has said so."""
_PROBE_S: Final = 5
"""Where nothing goes either way (the agent listens, the caller has vanished with Asterisk) it is asked so often."""

_quiet = logging.getLogger(__name__)
_quiet.setLevel(logging.INFO)  # at DEBUG the library would write the Authorization header into the log


@dataclass(frozen=True, slots=True)
class MediaServer:
    """Asterisk's HTTP server, and who we are there."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """None: not encrypted. Made once, for all calls: to read the certificates takes 20 ms and more."""
    username: str = ""
    password: str = field(default="", repr=False)

    def url(self, connection_id: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}/media/{connection_id}"


class WebsocketRefused(Exception):
    """The server answered, and not with a WebSocket. `status` is that of HTTP, 0 where there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class WebsocketConnection:
    """An open one; not thread-safe. `close` gives the socket back."""

    def __init__(self, sock: socket.socket, protocol: ClientProtocol) -> None:
        self._socket = sock
        self._protocol = protocol
        self._unsent = bytearray()
        self._fragments: list[bytes] = []
        self._fragment_opcode = Opcode.BINARY
        self._lost: str | None = None
        self._closed = False
        self._encrypted = isinstance(sock, ssl.SSLSocket)

    @property
    def lost(self) -> str | None:
        """Why nothing comes or goes any more; None as long as it is open. There is no reconnecting: see `connect`."""
        return self._lost

    @property
    def unsent_bytes(self) -> int:
        """What the peer has not taken yet."""
        return len(self._unsent)

    async def readable(self) -> None:
        """Wait until something has come. For a connection that nobody ticks yet."""
        await _ready(self._socket)

    def receive(self) -> list[bytes | str]:
        """Whole messages that have come: sound as bytes, control as text."""
        if self._lost is not None:
            return []
        messages: list[bytes | str] = []
        n_frames = self._gather(messages)  # what came with the answer to the handshake
        n_bytes = 0
        try:
            for _ in range(_MOST_READS):
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    self._protocol.receive_eof()
                    self._lose("Asterisk closed the connection")
                    break
                self._protocol.receive_data(data)
                n_frames += self._gather(messages)
                if n_frames > _MOST_FRAMES:
                    self._lose(f"more than {_MOST_FRAMES} messages came at once")
                    break
                n_bytes += len(data)
                if n_bytes >= _MOST_BYTES or (len(data) < _READ_BYTES and not self._encrypted):
                    break
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._lose(str(error) or type(error).__name__)
        if self._lost is None and self._protocol.state is not State.OPEN:
            self._lose(f"Asterisk closed the connection with code {self._protocol.close_code}")
        self.flush()  # pongs and the answer to a close
        return messages

    def send(self, message: bytes | str) -> None:
        """Queue a message; `flush` sends it. Without effect when the connection is lost."""
        if self._protocol.state is not State.OPEN or self._lost is not None:
            return
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)

    def flush(self) -> None:
        """Write as much as the socket takes."""
        for data in self._protocol.data_to_send():
            self._unsent += data
        if self._closed or not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent)
            del self._unsent[:sent]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._lose(str(error) or type(error).__name__)
        if len(self._unsent) > _MOST_UNSENT_BYTES:
            self._lose("Asterisk does not read what it is sent")

    def close(self) -> None:
        """Take leave if the socket takes it at once, and close. Asterisk then hangs the channel up. Idempotent."""
        if self._closed:
            return
        if self._lost is None and self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self.flush()
        self._closed = True
        self._lost = self._lost or "closed by us"
        self._unsent.clear()
        self._socket.close()

    def _lose(self, reason: str) -> None:
        self._lost = self._lost or reason
        self._unsent.clear()

    def _gather(self, messages: list[bytes | str]) -> int:
        """Add the messages that are whole by now; returns how many frames have come."""
        events = self._protocol.events_received()
        for event in events:
            if not isinstance(event, Frame):
                continue  # the answer to the handshake
            opcode, data = event.opcode, bytes(event.data)
            if opcode in (Opcode.TEXT, Opcode.BINARY):
                self._fragment_opcode = opcode
                self._fragments.clear()
            elif opcode is not Opcode.CONT:
                continue
            self._fragments.append(data)
            if event.fin:
                whole = data if len(self._fragments) == 1 else b"".join(self._fragments)
                self._fragments.clear()
                messages.append(whole.decode(errors="replace") if self._fragment_opcode is Opcode.TEXT else whole)
        return len(events)


async def connect(server: MediaServer, connection_id: str) -> WebsocketConnection:
    """Connect to the channel that has `connection_id`; it can be done once for each channel.

    Raises `OSError` when the server cannot be reached and `WebsocketRefused` when it says no. May be cancelled.
    """
    protocol = ClientProtocol(
        parse_uri(server.url(connection_id)),
        subprotocols=[Subprotocol("media")],
        extensions=None,  # no compression: it costs more than it saves on 160 bytes
        max_size=_MOST_MESSAGE_BYTES,
        logger=_quiet,
    )
    sock = await _open_socket(server)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        request = protocol.connect()
        if server.username:
            credentials = base64.b64encode(f"{server.username}:{server.password}".encode()).decode()
            request.headers["Authorization"] = f"Basic {credentials}"
        protocol.send_request(request)
        await _send(sock, b"".join(protocol.data_to_send()))
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            data = await _receive(sock)
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
        if protocol.handshake_exc is not None:
            raise _refusal(protocol.handshake_exc)
        undo.pop_all()
    return WebsocketConnection(sock, protocol)


def _refusal(error: Exception) -> WebsocketRefused:
    if isinstance(error, InvalidStatus):
        return WebsocketRefused(f"HTTP {error.response.status_code}", error.response.status_code)
    if isinstance(error, InvalidHandshake):
        return WebsocketRefused(str(error) or type(error).__name__)
    return WebsocketRefused(f"no answer to the handshake: {error}")


async def _open_socket(server: MediaServer) -> socket.socket:
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    failure: OSError = OSError(f"{server.host} has no address")
    for family, kind, number, _, address in addresses:
        sock = socket.socket(family, kind, number)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_S)
            await loop.sock_connect(sock, address)
            return sock if server.tls is None else await _encrypted(sock, server.tls, server.host)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise failure


async def _encrypted(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    encrypted = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    with contextlib.ExitStack() as undo:
        undo.callback(encrypted.close)
        shaken = False
        while not shaken:
            try:
                encrypted.do_handshake()
                shaken = True
            except ssl.SSLWantReadError:
                await _ready(encrypted)
            except ssl.SSLWantWriteError:
                await _ready(encrypted, to_write=True)
        undo.pop_all()
    return encrypted


async def _send(sock: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            await _ready(sock, to_write=True)
        except ssl.SSLWantReadError:
            await _ready(sock)


async def _receive(sock: socket.socket) -> bytes:
    while True:
        try:
            return sock.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            await _ready(sock)
        except ssl.SSLWantWriteError:
            await _ready(sock, to_write=True)


async def _ready(sock: socket.socket, *, to_write: bool = False) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if to_write else (loop.add_reader, loop.remove_reader)
    add(sock, _settle, ready)
    try:
        await ready
    finally:
        remove(sock)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
