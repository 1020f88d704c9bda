"""A command's connection to the server: the socket, who we are, and words for what goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from voice_wire.messages import (
    Auth,
    AuthResponse,
    ClientMessage,
    Error,
    ProtocolError,
    ServerMessage,
    WireModel,
    parse_server_message,
)

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""Version 2 sends the whole audio of a text in one message."""
_CONNECT_S: Final = 10.0
_CLOSED: Final = {
    1008: "it refused us: LOCAL_WS_AUTH_TOKEN (or --auth-token) must be the server's",
    1009: "a message was larger than its LOCAL_WS_MAX_MESSAGE_BYTES",
    1013: "all its LOCAL_WS_MAX_SESSIONS are taken: try again later, or raise that limit",
    4000: "nothing was sent for its LOCAL_WS_IDLE_TIMEOUT",
}


class ClientError(Exception):
    """Ends a command with status 1. The message says what to do, `code` what it is counted as."""

    def __init__(self, message: str, *, code: str = "connection") -> None:
        super().__init__(message)
        self.code = code


class UsageError(ClientError):
    """Ends a command with status 2: what it was given cannot be."""


class RequestFailed(ClientError):
    """The server's `error` message."""

    def __init__(self, error: Error) -> None:
        fix = f" (try again in {error.retry_after:g} s)" if error.retry_after is not None else ""
        super().__init__(f"{error.code}: {error.message}{fix}", code=error.code)
        self.request_id = error.request_id


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is, and how patient to be with it."""

    url: str
    token: str = field(default="", repr=False)
    patience_s: float = 60.0
    """Longest silence on a request."""
    trace: Callable[[str], None] | None = None
    """Told of each message, without the token."""

    @property
    def shown_url(self) -> str:
        """Without what may be secret in it."""
        parts = urlsplit(self.url)
        where = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{where}{parts.path}"


class Connection:
    """An authenticated socket. `open_connection` makes it."""

    def __init__(self, socket: ClientConnection, server: Server) -> None:
        self._socket = socket
        self._server = server
        self._began = time.monotonic()

    async def send(self, message: ClientMessage | str | bytes) -> None:
        """Raises `ClientError` when the connection is gone."""
        data = message.to_json() if isinstance(message, WireModel) else message
        self._tell(">", f"auth (version {message.protocol_version})" if isinstance(message, Auth) else data)
        try:
            await self._socket.send(data)
        except ConnectionClosed as closed:
            raise self._lost(closed) from None

    async def receive(self) -> ServerMessage | bytes:
        """The next message; of types that this client does not know it says nothing. Raises `ClientError`."""
        while True:
            try:
                data = await self._socket.recv()
            except ConnectionClosed as closed:
                raise self._lost(closed) from None
            self._tell("<", data)
            if isinstance(data, bytes):
                return data
            try:
                return parse_server_message(data)
            except ProtocolError as error:
                if error.code != "unknown_type":
                    raise ClientError(f"{self._server.shown_url} sent what is not of the protocol: {error}") from None

    async def close(self) -> None:
        """Idempotent."""
        await self._socket.close()

    def _lost(self, closed: ConnectionClosed) -> ClientError:
        code = closed.rcvd.code if closed.rcvd else 1006
        reason = _CLOSED.get(code, f"code {code}; its log says why")
        return ClientError(f"local_ai_server at {self._server.shown_url} closed the connection: {reason}")

    def _tell(self, way: str, data: str | bytes) -> None:
        if self._server.trace is not None:
            shown = f"{len(data)} bytes of audio" if isinstance(data, bytes) else data
            shown = shown if len(shown) <= 300 else f"{shown[:300]}… ({len(shown)} characters)"
            self._server.trace(f"{time.monotonic() - self._began:8.3f} {way} {shown}")


@asynccontextmanager
async def open_connection(
    server: Server, *, version: int, call_id: str
) -> AsyncIterator[tuple[Connection, AuthResponse]]:
    """An authenticated connection that speaks protocol version 2 or 3. Raises `ClientError`."""
    where = server.shown_url
    try:
        async with asyncio.timeout(_CONNECT_S):
            socket = await connect(
                server.url,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                ping_interval=None,
                proxy=None,
                close_timeout=1,
            )
    except (OSError, InvalidHandshake) as error:  # TimeoutError is an OSError
        raise ClientError(
            f"no local_ai_server at {where} ({error or 'it does not answer'}): start it with "
            "`python -m local_ai_server`, or name its address with --url or LOCAL_WS_URL"
        ) from None
    connection = Connection(socket, server)
    try:
        try:
            async with asyncio.timeout(_CONNECT_S):
                welcome = await _authenticate(connection, server, version=version, call_id=call_id)
        except TimeoutError:
            raise ClientError(f"what listens at {where} does not answer `auth`: is it local_ai_server?") from None
        yield connection, welcome
    finally:
        await connection.close()


async def _authenticate(connection: Connection, server: Server, *, version: int, call_id: str) -> AuthResponse:
    auth = {"auth_token": server.token, "call_id": call_id, "protocol_version": version}
    with suppress(ClientError):  # a server that is full has said so and closed: `receive` gives its reason
        await connection.send(Auth.model_validate(auth))
    answer = await connection.receive()
    if isinstance(answer, Error):
        if answer.code == "server_at_capacity":
            raise ClientError(
                f"local_ai_server is at capacity ({answer.active} of {answer.max} sessions): try again later, or raise "
                "its LOCAL_WS_MAX_SESSIONS",
                code=answer.code,
            )
        raise RequestFailed(answer)
    if not isinstance(answer, AuthResponse):
        raise ClientError(f"what answers at {server.shown_url} is not local_ai_server")
    if answer.status != "ok":
        what = "the token is wrong" if server.token else "it wants a token"
        raise ClientError(
            f"local_ai_server refused us ({answer.message}): {what}; set LOCAL_WS_AUTH_TOKEN to the one in the "
            "server's .env, or give --auth-token"
        )
    if version == 3 and answer.protocol_version != 3:
        raise ClientError(f"the server at {server.shown_url} does not speak protocol version 3; smoke_test_ws does 2")
    return answer
