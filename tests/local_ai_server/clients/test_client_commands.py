"""What all the clients' commands have in common: help, statuses, and errors that say the fix."""

import asyncio
import signal
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from local_ai_server import smoke_test_ws
from local_ai_server.clients import bench, conversation, live, tool_regression, warmup
from local_ai_server.clients.command import percentile, table
from tests.local_ai_server.clients.client_stand_ins import serving, speaking_services

COMMANDS = [smoke_test_ws, warmup, live, conversation, tool_regression, bench]
TOKEN = "s3cret-of-the-server"
GUESS = "gue55-of-the-client"


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.txt"
    path.write_text("Hello.\n")
    return path


def needed(command, script):
    return [script] if command is conversation else []


@pytest.mark.parametrize("command", COMMANDS)
async def test_help_says_where_the_token_comes_from_and_never_which_it_is(command, run_client, monkeypatch):
    monkeypatch.setenv("LOCAL_WS_AUTH_TOKEN", TOKEN)
    status, out, _ = await run_client(command.main, "--help")
    assert status == 0
    words = " ".join(out.split())
    assert all(option in words for option in ("--url", "--auth-token", "--verbose", "LOCAL_WS_AUTH_TOKEN", "(ps)"))
    assert TOKEN not in out


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_server_that_is_away_is_said_with_what_starts_it(command, run_client, script):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    status, _, errors = await run_client(
        command.main, "--url", f"ws://u:p4ss@127.0.0.1:{port}", *needed(command, script)
    )
    assert status == 1
    assert "python -m local_ai_server" in errors
    assert "--url or LOCAL_WS_URL" in errors
    assert "p4ss" not in errors


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_wrong_token_is_said_and_not_repeated(command, run_client, script):
    async with serving(speaking_services(), LOCAL_WS_AUTH_TOKEN=TOKEN) as url:
        arguments = ["--url", url, "--auth-token", GUESS, "--verbose", *needed(command, script)]
        status, out, errors = await run_client(command.main, *arguments)
    assert status == 1
    assert "the token is wrong; set LOCAL_WS_AUTH_TOKEN" in errors
    assert GUESS not in out + errors


@pytest.mark.parametrize("command", [warmup, live, conversation, tool_regression])
async def test_without_the_llm_the_server_s_reason_is_given(command, run_client, start_client, script):
    """The smoke test skips, the bench measures the rest: see their own tests."""
    async with serving(speaking_services(without=("llm",))) as url:
        status, out, errors = await run_client(command.main, "--url", url, *needed(command, script))
    assert "no llm here" in out + errors
    assert status == (0 if command is warmup else 1)


async def test_a_full_server_is_said_with_its_figures(run_client):
    async with serving(speaking_services(), LOCAL_WS_MAX_SESSIONS="1") as url, connect(url) as ws:
        await ws.send('{"type": "ping"}')
        await ws.recv()
        status, _, errors = await run_client(warmup.main, "--url", url)
    assert status == 1
    assert "1 of 1 sessions" in errors
    assert "LOCAL_WS_MAX_SESSIONS" in errors


async def test_what_is_no_server_of_ours_is_said(run_client):
    async def answer(reader, writer):
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with other:
        url = f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        status, _, errors = await run_client(warmup.main, "--url", url)
    assert status == 1
    assert "no local_ai_server at" in errors


@pytest.mark.parametrize("sent", [b"short", '{"type": "done"}', "[]"])
async def test_what_is_not_of_the_protocol_is_said_at_once(sent, run_client):
    async def wrong(ws):
        await ws.recv()
        await ws.send('{"type": "auth_response", "status": "ok", "protocol_version": 3}')
        await ws.recv()
        await ws.send(sent)
        await ws.wait_closed()

    async with serve(wrong, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        status, _, errors = await run_client(warmup.main, "--url", url)
    assert status == 1
    assert "not of the protocol" in errors


@pytest.mark.parametrize("url", ["http://127.0.0.1:8765", "127.0.0.1:8765", "ws://", "ws://host:port"])
async def test_what_is_no_address_is_a_wrong_use(url, run_client):
    status, _, errors = await run_client(warmup.main, "--url", url)
    assert status == 2
    assert "ws://127.0.0.1:8765" in errors


async def test_address_and_token_come_from_env_file_and_environment(run_client, nowhere, monkeypatch):
    async with serving(speaking_services(), LOCAL_WS_AUTH_TOKEN=TOKEN) as url:
        (nowhere / ".env").write_text(f"LOCAL_WS_AUTH_TOKEN={TOKEN}\nLOCAL_WS_URL=ws://nowhere.invalid\n")
        monkeypatch.setenv("LOCAL_WS_URL", f"{url},ws://another.invalid:8765")
        status, out, errors = await run_client(smoke_test_ws.main, "--verbose")
    assert status == 0, out
    assert TOKEN not in out + errors


async def test_ctrl_c_ends_a_command_without_a_trace(start_client):
    services = speaking_services()
    services.llm.held = True
    async with serving(services) as url, asyncio.timeout(60):
        process = await start_client("local_ai_server.clients.warmup", "--url", url, "--verbose")
        while b"llm_request" not in await process.stderr.readline():
            assert process.returncode is None
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert b"interrupted" in errors


def test_percentiles_lie_between_the_values():
    assert percentile([], 95) is None
    assert percentile([7.0], 95) == 7.0
    assert percentile([float(n) for n in range(101)], 95) == 95.0
    assert percentile([1.0, 3.0], 50) == 2.0


def test_a_table_has_figures_to_the_right():
    assert table([("what", "ms"), ("a", "1000"), ("bcdef", "5")]) == "what     ms\na      1000\nbcdef     5"
