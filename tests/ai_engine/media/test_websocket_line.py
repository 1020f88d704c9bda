"""How a call's websocket line is connected: what Asterisk is asked, told and shown, and each way that it says no."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import logging
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import Channel
from ai_engine.media import websocket_line
from ai_engine.media.line_registry import LINE_KINDS, LineParts
from ai_engine.media.lines import MediaError
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import RtpPorts
from ai_engine.media.websocket_connection import MediaServer, connect
from ai_engine.media.websocket_line import WebsocketLine, WebsocketLines
from ai_engine.settings import Settings

ID = "cbeeb432-9a6f-42c6-990f-18306a9adcc7"
PASSWORD = "verysecretpassword"
START = '{"event":"MEDIA_START","connection_id":"x","format":"ulaw","optimal_frame_size":160,"ptime":20}'
PLAIN_START = "MEDIA_START connection_id:x channel:y format:ulaw optimal_frame_size:160 ptime:20"

Behaviour = Callable[[ServerConnection], Awaitable[None]]


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


def channel(*, connection_id: str | None = ID) -> Channel:
    variables = {} if connection_id is None else {"MEDIA_WEBSOCKET_CONNECTION_ID": connection_id}
    return cast(Channel, SimpleNamespace(id="media-1", channelvars=variables))


class Ari:
    """Answers for one channel variable."""

    def __init__(self, value: str = "") -> None:
        self.value = value

    async def request(self, method: str, path: str, **rest: Any) -> dict[str, str]:
        assert (method, path) == ("GET", "/channels/media-1/variable")
        return {"value": self.value}


def ari(value: str = "") -> AriClient:
    return cast(AriClient, Ari(value))


async def started(connection: ServerConnection) -> None:
    await connection.send(START)
    await connection.wait_closed()


class Asterisk:
    """An HTTP server that serves /media/ID as `behaviour` says."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.server: Server | None = None
        self.behaviour: Behaviour = started
        self.status: HTTPStatus | None = None

    async def serve(self, tls: ssl.SSLContext | None = None) -> None:
        self.server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol("media")],
            process_request=self._answer,
            ssl=tls,
            compression=None,
        )

    @property
    def port(self) -> int:
        assert self.server is not None
        port: int = next(iter(self.server.sockets)).getsockname()[1]
        return port

    @property
    def open(self) -> int:
        assert self.server is not None
        return len(self.server.connections)

    def at(self, media: MediaLoop, **more: Any) -> WebsocketLine:
        server = MediaServer("127.0.0.1", self.port, username="parley", password=PASSWORD, **more)
        return WebsocketLines(server, media, downstream_ms=80).open("call-1", "ulaw")

    async def _serve(self, connection: ServerConnection) -> None:
        await self.behaviour(connection)

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return None if self.status is None else connection.respond(self.status, "no")


@pytest.fixture
async def asterisk() -> AsyncIterator[Asterisk]:
    asterisk = Asterisk()
    await asterisk.serve()
    yield asterisk
    assert asterisk.server is not None
    asterisk.server.close()
    await asterisk.server.wait_closed()


async def no_connections(asterisk: Asterisk) -> None:
    """Wait until the server's end has seen the close."""
    async with asyncio.timeout(30):
        while asterisk.open:
            await asyncio.sleep(0.01)


async def close(line: WebsocketLine, media: MediaLoop) -> None:
    await asyncio.wrap_future(media.submit(line.transport.close()))


async def on_media(media: MediaLoop, function: Callable[[], Any]) -> Any:
    async def call() -> Any:
        return function()

    return await asyncio.wrap_future(media.submit(call()))


def test_what_asterisk_is_asked_for(media: MediaLoop) -> None:
    line = WebsocketLines(MediaServer("pbx", 8088), media, downstream_ms=80).open("call-1", "slin16")
    request = line.request
    assert (request.external_host, request.media_format) == ("INCOMING", "slin16")
    assert (request.transport, request.encapsulation, request.connection_type) == ("websocket", "none", "server")
    assert line.transport.pcm_rate_hz == 16000


async def test_the_settings_name_the_server_and_how_much_it_has_in_hand(asterisk: Asterisk, media: MediaLoop) -> None:
    given = {"asterisk": {"port": asterisk.port}, "media": {"websocket": {"lead_ms": 100}, "transport": "websocket"}}
    ports = RtpPorts(42000, 42010, host="127.0.0.1")
    kind = LINE_KINDS["websocket"](LineParts(Settings.model_validate(given), media, ports, frozenset()))
    line = cast(WebsocketLine, kind.open("call-1", "ulaw"))
    await line.connected(ari(), channel())
    transport = line.transport
    await on_media(media, lambda: transport.play(1, b"\x10" * 8000, "beep", 1.0))
    await on_media(media, lambda: transport.transmit(1.02))
    assert transport.stats.frames_sent == 5
    await close(line, media)


async def test_it_connects_and_shows_who_it_is_in_a_header_alone(
    asterisk: Asterisk, media: MediaLoop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("websockets.server").setLevel(logging.INFO)  # the stand-in's own log
        line = asterisk.at(media)
        await line.connected(ari(), channel())
    (request,) = asterisk.requests
    assert request.path == f"/media/{ID}"
    credentials = base64.b64encode(f"parley:{PASSWORD}".encode()).decode()
    assert request.headers["Authorization"] == f"Basic {credentials}"
    assert request.headers["Sec-WebSocket-Protocol"] == "media"
    assert "Sec-WebSocket-Extensions" not in request.headers
    assert PASSWORD not in caplog.text
    assert credentials not in caplog.text
    assert PASSWORD not in repr(MediaServer("a", 1, password=PASSWORD))
    assert asterisk.open == 1
    await close(line, media)
    await no_connections(asterisk)


async def test_an_id_that_the_answer_left_out_is_asked_for(asterisk: Asterisk, media: MediaLoop) -> None:
    line = asterisk.at(media)
    await line.connected(ari("other-id"), channel(connection_id=None))
    assert asterisk.requests[0].path == "/media/other-id"
    await close(line, media)


@pytest.mark.parametrize("start", [START, PLAIN_START])
async def test_it_speaks_the_form_that_asterisk_speaks(asterisk: Asterisk, media: MediaLoop, start: str) -> None:
    came: list[str | bytes] = []
    closed = asyncio.Event()

    async def behaviour(connection: ServerConnection) -> None:
        await connection.send(b"\xff" * 160)  # before MEDIA_START
        await connection.send(start)
        came.extend([message async for message in connection])
        closed.set()

    asterisk.behaviour = behaviour
    line = asterisk.at(media)
    await line.connected(ari(), channel())
    transport = line.transport
    await on_media(media, lambda: transport.play(1, b"\x10" * 800, "beep", 1.0))
    await on_media(media, lambda: transport.transmit(1.02))
    assert transport.line_quality().received == 1
    await close(line, media)
    await asyncio.wait_for(closed.wait(), 30)
    assert came[0] == ('{"command":"MARK_MEDIA","correlation_id":"1"}' if start is START else "MARK_MEDIA 1")
    assert came[1:] == [b"\x10" * 160] * 3


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (HTTPStatus.UNAUTHORIZED, "ASTERISK_ARI_PASSWORD"),
        (HTTPStatus.NOT_FOUND, r"chan_websocket\.so"),
        (HTTPStatus.CONFLICT, "HTTP 409"),
    ],
)
async def test_a_refusal_says_what_mends_it(
    asterisk: Asterisk, media: MediaLoop, status: HTTPStatus, says: str
) -> None:
    asterisk.status = status
    line = asterisk.at(media)
    with pytest.raises(MediaError, match=says):
        await line.connected(ari(), channel())
    await no_connections(asterisk)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("MEDIA_START optimal_frame_size:640 format:slin16", "slin16 in frames of 640 bytes, where ulaw has 160"),
        ("MEDIA_START optimal_frame_size:0 format:opus", "opus in frames of 0"),
    ],
)
async def test_another_format_than_asked_for_is_told(
    asterisk: Asterisk, media: MediaLoop, start: str, says: str
) -> None:
    async def behaviour(connection: ServerConnection) -> None:
        await connection.send(start)
        await connection.wait_closed()

    asterisk.behaviour = behaviour
    with pytest.raises(MediaError, match=says):
        await asterisk.at(media).connected(ari(), channel())
    await no_connections(asterisk)


async def test_closed_before_media_start(asterisk: Asterisk, media: MediaLoop) -> None:
    async def behaviour(connection: ServerConnection) -> None:
        await connection.close()

    asterisk.behaviour = behaviour
    with pytest.raises(MediaError, match="closed before MEDIA_START"):
        await asterisk.at(media).connected(ari(), channel())


async def test_media_start_that_never_comes(
    asterisk: Asterisk, media: MediaLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def behaviour(connection: ServerConnection) -> None:
        await connection.wait_closed()

    asterisk.behaviour = behaviour
    monkeypatch.setattr(websocket_line, "_CONNECT_S", 0.2)
    with pytest.raises(MediaError, match=r"within 0\.2 s"):
        await asterisk.at(media).connected(ari(), channel())
    await no_connections(asterisk)


async def test_nobody_listens(media: MediaLoop) -> None:
    with socket.socket() as deaf:  # bound, and not listening: nobody else can take the port
        deaf.bind(("127.0.0.1", 0))
        server = MediaServer("127.0.0.1", deaf.getsockname()[1])
        with pytest.raises(MediaError, match="cannot be reached"):
            await WebsocketLines(server, media, downstream_ms=80).open("call-1", "ulaw").connected(ari(), channel())


async def test_asterisk_names_no_id(media: MediaLoop) -> None:
    line = WebsocketLines(MediaServer("127.0.0.1", 1), media, downstream_ms=80).open("call-1", "ulaw")
    with pytest.raises(MediaError, match=r"no connection id .*chan_websocket\.so"):
        await line.connected(ari(), channel(connection_id=None))


async def test_a_server_that_is_no_web_server(media: MediaLoop) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail ready\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    line = WebsocketLines(MediaServer("127.0.0.1", port), media, downstream_ms=80).open("call-1", "ulaw")
    with pytest.raises(MediaError, match="refused the media connection"):
        await line.connected(ari(), channel())
    server.close()
    await server.wait_closed()


async def test_a_call_that_ends_while_it_connects_gives_the_socket_back(asterisk: Asterisk, media: MediaLoop) -> None:
    asked = asyncio.Event()

    async def behaviour(connection: ServerConnection) -> None:
        asked.set()
        await connection.wait_closed()

    asterisk.behaviour = behaviour
    line = asterisk.at(media)
    connecting = asyncio.create_task(line.connected(ari(), channel()))
    await asyncio.wait_for(asked.wait(), 30)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await no_connections(asterisk)
    await close(line, media)
    gc.collect()  # a socket that was left open would warn, and a warning is an error


async def test_a_call_that_has_ended_closes_what_comes_late(asterisk: Asterisk, media: MediaLoop) -> None:
    line = asterisk.at(media)
    await close(line, media)
    await line.connected(ari(), channel())
    await no_connections(asterisk)


def not_for_each_call() -> ssl.SSLContext:
    pytest.fail("certificates are read again, which keeps the loop for 20 ms and more")


async def test_a_peer_that_vanishes_while_nobody_speaks_is_missed_in_ten_seconds(
    asterisk: Asterisk, media: MediaLoop
) -> None:
    """The kernel does it, when it is asked to: of itself it would begin to wonder after two hours."""
    connection = await connect(MediaServer("127.0.0.1", asterisk.port), ID)
    idle_s, again_s, gone_after_ms = (
        connection._socket.getsockopt(socket.IPPROTO_TCP, which)
        for which in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)
    )
    assert connection._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert gone_after_ms == 10_000
    assert 1000 * (idle_s + again_s) <= gone_after_ms
    connection.close()
    await no_connections(asterisk)


async def test_a_server_that_talks_and_never_says_media_start(asterisk: Asterisk, media: MediaLoop) -> None:
    async def behaviour(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.send(b"\xff" * 160)

    asterisk.behaviour = behaviour
    with pytest.raises(MediaError, match=r"messages came (before MEDIA_START|at once)"):
        await asterisk.at(media).connected(ari(), channel())
    await no_connections(asterisk)


async def test_a_connection_that_is_made_when_the_media_loop_has_ended_is_closed(asterisk: Asterisk) -> None:
    line = asterisk.at(MediaLoop())  # as little there as one that has ended
    await line.connected(ari(), channel())
    await no_connections(asterisk)


async def test_encrypted(media: MediaLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    asterisk = Asterisk()
    await asterisk.serve(tls)
    assert asterisk.server is not None
    with pytest.raises(MediaError, match="CERTIFICATE_VERIFY_FAILED"):
        await asterisk.at(media, tls=ssl.create_default_context()).connected(ari(), channel())
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context()
    monkeypatch.setattr(ssl, "create_default_context", not_for_each_call)
    line = asterisk.at(media, tls=context)
    await line.connected(ari(), channel())
    (client,) = asterisk.server.connections
    await client.send(b"\xff" * 160)
    transport = line.transport
    async with asyncio.timeout(30):
        while transport.line_quality().received == 0:
            await on_media(media, lambda: transport.receive(1.0))
            await asyncio.sleep(0.01)
    await close(line, media)
    await no_connections(asterisk)
    asterisk.server.close()
    await asterisk.server.wait_closed()


def test_an_address_of_ip_version_6_is_written_in_brackets() -> None:
    assert MediaServer("::1", 8088).url("x") == "ws://[::1]:8088/media/x"
    assert MediaServer("pbx", 8089, tls=ssl.create_default_context()).url("x") == "wss://pbx:8089/media/x"
