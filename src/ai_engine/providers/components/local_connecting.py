"""The way into a local_ai_server: which one, connecting, the token, and what the server says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from ai_engine.providers.components.component import ComponentFailed
from ai_engine.providers.server_fleet import Server, ServerFleet
from voice_wire.messages import Auth, AuthResponse, Error, ProtocolError, ServerMessage, parse_server_message

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
_PATIENCE_WITH_OTHERS_S: Final = 1.5
"""For a connection while there is another server to try."""


class NotConnected(ComponentFailed):
    """`how`: it cannot be reached, has no place for one more, or will refuse us until somebody changes something."""

    def __init__(self, message: str, *, how: Literal["down", "full", "unusable"], capacity: int | None = None) -> None:
        super().__init__("connection", message, retryable=how != "unusable")
        self.how = how
        self.capacity = capacity
        """Sessions a full one takes, where it says so."""


async def connect_to_one(
    fleet: ServerFleet, *, token: str, call_id: str, timeout_s: float
) -> tuple[Server, ClientConnection, AuthResponse]:
    """A connection to the server that the fleet chooses, or to the next one that takes us: authenticated, of protocol
    version 3. Whoever ends it tells the fleet (`leave`). Raises `ComponentFailed` where none takes us."""
    failures: dict[Server, NotConnected] = {}
    while (server := fleet.place(failures)) is not None:
        others = len(failures) + 1 < len(fleet.servers)
        patience_s = min(timeout_s, _PATIENCE_WITH_OTHERS_S) if others else timeout_s
        try:
            connection, welcome = await _connect_to(server, token=token, call_id=call_id, timeout_s=patience_s)
        except NotConnected as failure:
            failures[server] = failure
            _not_taken(fleet, server, failure)
        except asyncio.CancelledError:
            fleet.leave(server)
            raise
        else:
            fleet.works(server)
            return server, connection, welcome
    raise _none_serves(list(failures.values()))


def _not_taken(fleet: ServerFleet, server: Server, failure: NotConnected) -> None:
    fleet.leave(server)
    if failure.how == "down":
        fleet.doubted(server, str(failure))
    elif failure.how == "full":
        fleet.full(server, str(failure), failure.capacity)
    else:
        fleet.unusable(server, str(failure))


def known_message(text: str) -> ServerMessage | None:
    """None for one of a type that a newer server has. Raises `ProtocolError`."""
    try:
        return parse_server_message(text)
    except ProtocolError as error:
        if error.code == "unknown_type":
            return None
        raise


def _none_serves(failures: Sequence[NotConnected]) -> ComponentFailed:
    """What a call is told that no server took: the failure, or each of them."""
    if len(failures) == 1:
        return failures[0]
    said = "; ".join(str(failure) for failure in failures)
    retryable = any(failure.retryable for failure in failures)
    return ComponentFailed("connection", f"no local_ai_server of LOCAL_WS_URL serves: {said}", retryable=retryable)


async def _connect_to(
    server: Server, *, token: str, call_id: str, timeout_s: float
) -> tuple[ClientConnection, AuthResponse]:
    """An authenticated connection of protocol version 3 and the server's welcome. Raises `NotConnected`."""
    where = server.label
    connection = None
    try:
        async with asyncio.timeout(timeout_s):
            connection = await connect(
                server.address, compression=None, max_size=MAX_MESSAGE_BYTES, ping_interval=None, proxy=None,
                close_timeout=1,
            )  # fmt: skip
            welcome = await _authenticate(
                connection, where, Auth(auth_token=token, call_id=call_id, protocol_version=3)
            )
    except TimeoutError:
        if connection is not None:
            connection.transport.abort()  # a goodbye would not be answered either
        raise NotConnected(f"local_ai_server at {where} does not answer; see its log", how="down") from None
    except NotConnected as failure:
        raise await _abandon(connection, failure) from None
    except ProtocolError as error:
        message = f"what answers at {where} is not local_ai_server: {error}"
        raise await _abandon(connection, NotConnected(message, how="unusable")) from None
    except InvalidURI:
        message = f"LOCAL_WS_URL {where!r} is not a WebSocket address: write ws://host:port"
        raise NotConnected(message, how="unusable") from None
    except ConnectionClosed as error:
        raise NotConnected(f"local_ai_server at {where} closed the connection: {error}", how="down") from None
    except (OSError, InvalidHandshake) as error:
        message = (
            f"no local_ai_server at {where} ({error}); start it with `python -m local_ai_server` "
            "or set LOCAL_WS_URL to where it is"
        )
        raise NotConnected(message, how="down") from None
    except asyncio.CancelledError:
        if connection is not None:
            connection.transport.abort()
        raise
    return connection, welcome


async def _authenticate(connection: ClientConnection, where: str, auth: Auth) -> AuthResponse:
    await connection.send(auth.to_json())
    answer = known_message(await connection.recv(decode=True))
    if isinstance(answer, Error):
        full = answer.code in ("server_at_capacity", "rate_limited")
        message = f"local_ai_server at {where}: {answer.message}"
        raise NotConnected(message, how="full" if full else "unusable", capacity=answer.max)
    if not isinstance(answer, AuthResponse):
        raise NotConnected(f"what answers at {where} is not local_ai_server", how="unusable")
    if answer.status != "ok":
        raise NotConnected(
            f"local_ai_server at {where} refused us ({answer.message}): LOCAL_WS_AUTH_TOKEN must be the same on both "
            "sides",
            how="unusable",
        )
    if answer.protocol_version != 3:
        message = f"local_ai_server at {where} is too old: it does not speak protocol version 3"
        raise NotConnected(message, how="unusable")
    return answer


async def _abandon(connection: ClientConnection | None, failure: NotConnected) -> NotConnected:
    if connection is not None:
        await connection.close()
    return failure
