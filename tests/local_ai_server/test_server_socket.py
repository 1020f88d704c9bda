"""The server's port, over a real socket with fake workers behind it."""

import asyncio
import contextlib
import json
import socket
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from fake_services import FakeServices, make_session
from starlette.websockets import WebSocketState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from local_ai_server.app import build_app
from local_ai_server.connection import Connection, keep_alive
from local_ai_server.main import HttpServer, _listen, uvicorn_config
from local_ai_server.settings import Settings


@asynccontextmanager
async def serving(services, **variables):
    settings = Settings.model_validate(variables)
    listener = socket.create_server(("127.0.0.1", 0))
    config: uvicorn.Config = uvicorn_config(build_app(settings, services.switchboard), settings)
    server = HttpServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@pytest.fixture
def services():
    return FakeServices()


async def ask(ws, **fields):
    await ws.send(json.dumps(fields))
    return json.loads(await ws.recv())


@pytest.mark.parametrize("path", ["/", "/ws", ""])
async def test_both_paths_speak_the_protocol_uncompressed(services, path):
    async with serving(services) as where, connect(f"ws://{where}{path}") as ws:
        assert (await ask(ws, type="auth"))["status"] == "ok"
        assert "Sec-WebSocket-Extensions" not in ws.response.headers


async def test_a_browser_is_refused(services):
    async with serving(services) as where:
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://{where}/", origin="https://evil.example")
        assert caught.value.response.status_code == 403


async def test_a_wrong_token_is_told_and_closed(services):
    async with serving(services, LOCAL_WS_AUTH_TOKEN="s3cret") as where, connect(f"ws://{where}/") as ws:
        answer = await ask(ws, type="auth", auth_token="guess")
        assert (answer["status"], answer["message"]) == ("error", "invalid_auth_token")
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert ws.close_code == 1008


async def test_an_oversized_message_closes_with_1009_and_the_server_goes_on(services):
    async with serving(services, LOCAL_WS_MAX_MESSAGE_BYTES="2048") as where:
        async with connect(f"ws://{where}/") as ws:
            await ws.send("x" * 5000)
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            assert ws.close_code == 1009
        async with connect(f"ws://{where}/") as ws:
            assert (await ask(ws, type="ping"))["type"] == "pong"


async def test_a_version_2_exchange(services):
    async with serving(services) as where, connect(f"ws://{where}/") as ws:
        assert (await ask(ws, type="auth", auth_token="", call_id="c"))["status"] == "ok"
        assert (await ask(ws, type="set_mode", mode="llm", call_id="c"))["type"] == "mode_ready"
        answer = await ask(ws, type="llm_request", text="hi", call_id="c", request_id="r", mode="llm")
        assert (answer["type"], answer["text"], answer["request_id"]) == ("llm_response", "You said hi.", "r")
        assert (await ask(ws, type="tts_request", text="Hi.", call_id="c"))["byte_length"] == 2
        assert (await ask(ws, type="barge_in", call_id="c", request_id="b"))["type"] == "barge_in_ack"


async def test_end_closes_in_order(services):
    async with serving(services) as where, connect(f"ws://{where}/") as ws:
        assert (await ask(ws, type="end"))["type"] == "connection_closed"
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert ws.close_code == 1000


async def test_beyond_the_limit_a_session_is_told_the_figures(services):
    async with serving(services, LOCAL_WS_MAX_SESSIONS="1") as where, connect(f"ws://{where}/") as first:
        await ask(first, type="ping")
        async with connect(f"ws://{where}/") as second:
            told = json.loads(await second.recv())
            assert (told["code"], told["active"], told["max"]) == ("server_at_capacity", 1, 1)
            with pytest.raises(ConnectionClosed):
                await second.recv()
        assert (await ask(first, type="ping"))["type"] == "pong"


async def test_a_silent_version_3_client_is_closed_with_4000_and_a_version_2_client_is_not(services, monkeypatch):
    monkeypatch.setattr("local_ai_server.connection._AUTH_DEADLINE_S", 0.05)
    async with (
        serving(services, LOCAL_WS_IDLE_TIMEOUT="0.2") as where,
        connect(f"ws://{where}/") as old,
        connect(f"ws://{where}/") as new,
    ):
        await ask(old, type="auth")
        await ask(new, type="auth", protocol_version=3)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(new.recv(), 5)
        assert new.close_code == 4000
        assert (await ask(old, type="ping"))["type"] == "pong"


async def test_whoever_never_says_who_he_is_is_closed(services, monkeypatch):
    monkeypatch.setattr("local_ai_server.connection._AUTH_DEADLINE_S", 0.05)
    async with serving(services, LOCAL_WS_AUTH_TOKEN="s3cret") as where, connect(f"ws://{where}/") as ws:
        told = json.loads(await asyncio.wait_for(ws.recv(), 5))
        assert (told["type"], told["message"]) == ("auth_response", "authentication_required")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 5)
        assert ws.close_code == 1008


async def test_whoever_has_not_said_who_he_is_takes_no_session_s_place(services):
    variables = {"LOCAL_WS_AUTH_TOKEN": "s3cret", "LOCAL_WS_MAX_SESSIONS": "1"}
    async with (
        serving(services, **variables) as where,
        connect(f"ws://{where}/"),
        connect(f"ws://{where}/"),
        connect(f"ws://{where}/") as first,
        connect(f"ws://{where}/") as second,
    ):
        assert (await ask(first, type="auth", auth_token="s3cret"))["status"] == "ok"
        told = await ask(second, type="auth", auth_token="s3cret")
        assert (told["code"], told["active"], told["max"]) == ("server_at_capacity", 1, 1)
        with pytest.raises(ConnectionClosed):
            await second.recv()
        assert second.close_code == 1013
        assert (await ask(first, type="ping"))["type"] == "pong"


async def test_many_who_say_nothing_cannot_keep_others_out(services, monkeypatch):
    monkeypatch.setattr("local_ai_server.places.MAX_UNKNOWN", 2)
    async with serving(services, LOCAL_WS_AUTH_TOKEN="s3cret") as where, contextlib.AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(connect(f"ws://{where}/")) for _ in range(3)]
        assert json.loads(await silent[0].recv())["message"] == "authentication_required"
        assert (await ask(silent[2], type="auth", auth_token="s3cret"))["status"] == "ok"


async def test_zero_sessions_means_no_limit(services):
    async with serving(services, LOCAL_WS_MAX_SESSIONS="0") as where, contextlib.AsyncExitStack() as stack:
        many = [await stack.enter_async_context(connect(f"ws://{where}/")) for _ in range(70)]
        assert (await ask(many[-1], type="ping"))["type"] == "pong"


def test_a_peer_that_vanishes_is_noticed_by_the_kernel():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        keep_alive(listener)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle_s, every_s, times = (
                accepted.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
            assert idle_s + every_s * times <= 60
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


async def test_the_server_listens_with_it():
    with _listen(Settings.model_validate({"LOCAL_WS_PORT": "0"})) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_a_client_that_vanishes_takes_its_work_with_it(services):
    services.llm.held = True
    async with serving(services) as where:
        ws = await connect(f"ws://{where}/")
        await ask(ws, type="auth", protocol_version=3)
        await ws.send(
            json.dumps({"type": "llm_request", "request_id": "a", "messages": [{"role": "user", "content": "x"}]})
        )
        while not services.llm.calls:
            await asyncio.sleep(0.01)
        services.llm.held = False
        ws.transport.abort()
        async with asyncio.timeout(2):
            while not services.llm.calls[0].cancelled:
                await asyncio.sleep(0.01)


async def test_a_client_that_does_not_read_loses_its_place(services, monkeypatch):
    monkeypatch.setattr("local_ai_server.connection._MAX_UNREAD_BYTES", 50_000)
    monkeypatch.setattr("local_ai_server.connection._CLOSE_GRACE_S", 0.05)
    variables = {"LOCAL_WS_MAX_SESSIONS": "1", "LOCAL_WS_MAX_MESSAGES": "0"}
    async with serving(services, **variables) as where, httpx.AsyncClient() as http:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", int(where.partition(":")[2])))
        async with connect(f"ws://{where}/", sock=deaf, close_timeout=0.1) as ws:
            ws.transport.pause_reading()
            async with asyncio.timeout(60):  # how much fits into the connection is the kernel's affair
                while "local_ai_sessions 0.0" not in (await http.get(f"http://{where}/metrics")).text:
                    with contextlib.suppress(ConnectionClosed, TimeoutError):
                        async with asyncio.timeout(1):  # once it is closing nobody takes what we send
                            for _ in range(1000):
                                await ws.send('{"type": "status"}')
            async with connect(f"ws://{where}/") as other:
                assert (await ask(other, type="ping"))["type"] == "pong"
            ws.transport.abort()


class Flood:
    """A WebSocket on which the next message is always there already, `n` times."""

    application_state = WebSocketState.CONNECTED

    def __init__(self, n):
        self.left = n

    async def receive(self):
        self.left -= 1
        return (
            {"type": "websocket.receive", "text": '{"type": "ping"}'} if self.left else {"type": "websocket.disconnect"}
        )

    async def send_text(self, text):
        pass


async def test_a_flood_from_one_client_leaves_the_others_their_turns(services):
    flood = Flood(500)
    connection = Connection(flood, idle_timeout_s=0)
    session = make_session(services, connection)
    serving_it = asyncio.create_task(connection.run(session))
    turns = 0
    while not serving_it.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 500
    await session.close()


async def test_health_readiness_and_metrics_are_true(services):
    async with serving(services) as where, httpx.AsyncClient(base_url=f"http://{where}") as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert (await http.get("/readyz")).status_code == 200
        services.llm.state, services.llm.reason = "restarting", "it was killed"
        response = await http.get("/readyz")
        assert response.status_code == 503
        assert response.json()["not_ready"] == {"llm": "it was killed"}
        async with connect(f"ws://{where}/") as ws:
            await ask(ws, type="tts_request", text="Hi.", request_id="r")
            await ask(ws, type="nonsense")
            figures = (await http.get("/metrics")).text
        assert "local_ai_sessions 1.0" in figures
        assert 'local_ai_requests_total{operation="tts",outcome="done"} 1.0' in figures
        assert 'local_ai_refused_messages_total{code="unknown_type"} 1.0' in figures
        assert 'local_ai_worker_ready{backend="llama_cpp",kind="llm"} 0.0' in figures
        assert "call_id" not in figures


async def test_zero_bytes_means_messages_of_any_size(services):
    async with serving(services, LOCAL_WS_MAX_MESSAGE_BYTES="0") as where, connect(f"ws://{where}/") as ws:
        answer = await ask(ws, type="ping", padding="x" * 6_000_000, request_id="p")
        assert (answer["type"], answer["request_id"]) == ("pong", "p")


async def test_a_workers_last_words_are_not_told_to_everybody(services):
    services.llm.state = "restarting"
    services.llm.reason = "its restart failed: it ended (SIGKILL)\n  Traceback\n  my name is Ann"
    async with serving(services) as where, httpx.AsyncClient(base_url=f"http://{where}") as http:
        assert (await http.get("/readyz")).json()["not_ready"] == {"llm": "its restart failed: it ended (SIGKILL)"}
        async with connect(f"ws://{where}/") as ws:
            assert "Ann" not in str(await ask(ws, type="status"))
