"""Tools of real MCP servers, written with the SDK: over stdio and HTTP, and what becomes of them when they die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ai_engine.config_file import ConfigError
from ai_engine.tools.mcp_server import McpServer, make_mcp_server
from ai_engine.tools.registry import ToolServices
from ai_engine.tools.tool import ToolFailed, ToolSource

pytest.importorskip("mcp")

SMALL = str(Path(__file__).with_name("small_mcp_server.py"))
LIMIT_S = 60


def options(**more: Any) -> dict[str, Any]:
    return {"command": [sys.executable, SMALL], "start_timeout_s": 60, **more}


@contextlib.asynccontextmanager
async def started(server: McpServer) -> AsyncIterator[McpServer]:
    server._first_pause_s = 0.02
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_server_over_stdio_gives_its_tools_and_runs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRELATED", "not for servers")
    services = ToolServices(environment={"TOOL_CRM_KEY": "s3cret"})
    server = make_mcp_server("crm", options(environment={"CRM_KEY": "TOOL_CRM_KEY"}), services)
    assert isinstance(server, ToolSource)
    async with started(server):
        specs = {tool.spec.name: tool.spec for tool in server.tools()}
        assert set(specs) == {"crm_add", "crm_broken", "crm_secret", "crm_die_now", "crm_stuck"}
        assert specs["crm_add"].description == "Adds two numbers."
        assert specs["crm_add"].parameters["required"] == ["a", "b"]
        added = await server.call("add", {"a": 1, "b": 2})
        assert (added.text, added.ok) == ("3", True)
        failed = await server.call("broken", {})
        assert not failed.ok
        assert failed.text.startswith("It failed: ")
        assert (await server.call("secret", {})).text == "s3cret nothing"
        unknown = await asyncio.gather(server.call("no_such_tool", {}), return_exceptions=True)
        assert isinstance(unknown[0], ToolFailed) or not unknown[0].ok  # type: ignore[union-attr]
    assert not server.connected


async def test_a_server_that_dies_is_started_again() -> None:
    async with started(make_mcp_server("crm", options(only=["add", "die.now"]), ToolServices())) as server:
        assert [tool.spec.name for tool in server.tools()] == ["crm_add", "crm_die_now"]
        for _ in range(2):
            with pytest.raises(ToolFailed, match="has gone"):
                await server.call("die.now", {})
            await until(lambda: server.connected)
            assert (await server.call("add", {"a": 2, "b": 2})).text == "4"


async def test_a_server_that_dies_while_nobody_asks_is_missed() -> None:
    server = make_mcp_server("crm", options(), ToolServices())
    server._listed_every_s = 0.05
    async with started(server):
        first = server._client
        before = {pid for pid in children() if SMALL in command_of(pid)}
        assert len(before) == 1
        os.kill(before.pop(), 9)
        await until(lambda: server._client is not None and server._client is not first)
        assert (await server.call("add", {"a": 2, "b": 3})).text == "5"


async def test_a_call_that_takes_too_long_can_be_given_up_and_leaves_no_process() -> None:
    async with started(make_mcp_server("crm", options(), ToolServices())) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await server.call("stuck", {})
        assert (await server.call("add", {"a": 1, "b": 1})).text == "2"
    await until(lambda: not [pid for pid in children() if SMALL in command_of(pid)])


@pytest.mark.parametrize("command", [["/no/such/program"], [sys.executable, "-c", "print('hello')"]])
async def test_a_server_that_does_not_come_gives_no_tools_and_keeps_nobody(command: list[str]) -> None:
    server = make_mcp_server("crm", {"command": command, "start_timeout_s": 0.3}, ToolServices())
    async with started(server):
        assert server.tools() == ()
        with pytest.raises(ToolFailed, match="cannot be reached"):
            await server.call("add", {})


async def test_a_server_over_http_is_asked_with_its_key_and_found_again_after_a_restart() -> None:
    services = ToolServices(environment={"TOOL_CRM_KEY": "s3cret"})
    async with HttpServer() as http:
        server = make_mcp_server(
            "web",
            {"url": f"http://127.0.0.1:{http.port}/mcp", "keys": {"X-Key": "k {TOOL_CRM_KEY}"}, "start_timeout_s": 60},
            services,
        )
        server._listed_every_s = 0.05
        async with started(server):
            assert [tool.spec.name for tool in server.tools()] == ["web_double"]
            assert (await server.call("double", {"a": 4})).text == "8"
            assert http.keys == {"k s3cret"}
            await http.stop()
            await until(lambda: not server.connected)
            with pytest.raises(ToolFailed, match="cannot be reached"):
                await server.call("double", {"a": 4})
            await http.start()
            await until(lambda: server.connected)
            assert (await server.call("double", {"a": 5})).text == "10"


WRONG = {
    "either a `command` or a `url`": {},
    "either a `command` or": {"command": ["x"], "url": "https://a.example/mcp"},
    "write it as https": {"url": "ftp://a.example"},
    "secrets go under": {"url": "https://u:p@a.example/mcp"},
    "TOOL_MISSING, which is not set": {"command": ["x"], "environment": {"A": "TOOL_MISSING"}},
    "never the secret itself": {"url": "https://a.example/mcp", "keys": {"Authorization": "Bearer abc"}},
    "are for a `url`": {"command": ["x"], "keys": {"A": "{TOOL_X}"}},
    "are for a `command`": {"url": "https://a.example/mcp", "folder": "/tmp"},
    "did you mean `command`": {"comand": ["x"]},
}


@pytest.mark.parametrize("complaint", WRONG)
def test_what_is_wrong_in_the_configuration_is_said(complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make_mcp_server("crm", WRONG[complaint], ToolServices())


def children() -> list[int]:
    """Processes whose parent is this one."""
    pids: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ends just now
            pids += map(int, (task / "children").read_text().split())
    return pids


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


class HttpServer:
    """An MCP server over streamable HTTP on a port of its own, which it keeps over a restart."""

    def __init__(self) -> None:
        self.port = 0
        self.keys: set[str] = set()

    async def start(self) -> None:
        import uvicorn
        from mcp.server.mcpserver import MCPServer

        small = MCPServer("web")

        @small.tool()
        def double(a: int) -> str:
            """Twice as much."""
            return f"{2 * a}"

        app = small.streamable_http_app()

        async def noting_keys(scope: Any, receive: Any, send: Any) -> None:
            for name, value in scope.get("headers", ()):
                if name == b"x-key":
                    self.keys.add(value.decode())
            await app(scope, receive, send)

        config = uvicorn.Config(noting_keys, host="127.0.0.1", port=self.port, log_level="critical", ws="none",
                                timeout_graceful_shutdown=1)  # fmt: skip
        self._server = uvicorn.Server(config)
        self._task = asyncio.create_task(self._server.serve())
        await until(lambda: self._server.started)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._task

    async def __aenter__(self) -> HttpServer:
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()
