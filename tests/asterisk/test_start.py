"""Starts that cannot succeed: each says in a sentence what to do, exits with a code of its own, and leaves nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from agent_fixture import CONTEXTS, PATIENCE_S, eventually, require_models

from tools.free_ports import free_tcp_port
from tools.stack import PROJECT, Stack

pytestmark = [pytest.mark.models, pytest.mark.timeout(240)]

NOBODY = {"ASTERISK_HOST": "127.0.0.1", "ASTERISK_ARI_PASSWORD": "some", "LOCAL_WS_AUTH_TOKEN": "token-of-the-tests"}


def server(*, token: str = "token", **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LOCAL_AI_MODE": "full", "LOCAL_WS_AUTH_TOKEN": token, **variables}
    argv = [sys.executable, "-m", "local_ai_server"]
    return subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def engine_alone(home: Path, **variables: str) -> Stack:
    """An engine without its server, and an Asterisk port where nobody listens."""
    asterisk = {**NOBODY, "ASTERISK_ARI_PORT": str(free_tcp_port()), **variables}
    return Stack(home, asterisk, contexts=CONTEXTS, with_server=False)


async def reason(stack: Stack) -> str:
    try:
        async with aiohttp.ClientSession() as client, client.get(f"{stack.engine_url}/ready") as response:
            page: dict[str, Any] = await response.json()
            return str(page["reason"])
    except OSError:
        return ""


def test_a_server_without_models_says_how_to_get_them(tmp_path: Path) -> None:
    result = server(PARLEY_MODELS_DIR=str(tmp_path), LOCAL_WS_PORT=str(free_tcp_port()))
    assert result.returncode == 1
    assert "is not installed" in result.stderr
    assert "local_ai_server.embedded install" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_whose_port_is_taken_says_so(taken: int) -> None:
    require_models()
    result = server(LOCAL_WS_PORT=str(taken))
    assert result.returncode == 1
    assert str(taken) in result.stderr
    assert "LOCAL_WS_PORT" in result.stderr
    assert "Traceback" not in result.stderr


async def test_an_engine_whose_port_is_taken_says_so(tmp_path: Path, taken: int) -> None:
    require_models()
    stack = engine_alone(tmp_path)
    stack.ports.engine = taken
    stack.write_config()
    stack.engine.start()
    assert await stack.engine.ended(PATIENCE_S)
    assert stack.engine.returncode == 1
    printed = stack.engine.tail()
    assert str(taken) in printed
    assert "ENGINE_HTTP_PORT" in printed
    assert "Traceback" not in printed


async def test_an_engine_without_asterisk_says_so_and_keeps_trying(tmp_path: Path) -> None:
    require_models()
    stack = engine_alone(tmp_path)
    stack.write_config()
    stack.engine.start()
    try:
        await eventually(lambda: reason(stack), lambda text: "Asterisk cannot be reached" in text)
        assert stack.engine.running
    finally:
        assert await stack.engine.stop(PATIENCE_S) == 0


@pytest.mark.asterisk
async def test_an_engine_with_a_wrong_password_names_the_setting(tmp_path: Path, pbx: Any) -> None:
    require_models()
    variables = {"ASTERISK_ARI_PORT": str(pbx.http_port), "ASTERISK_ARI_USERNAME": pbx.ari_user}
    stack = engine_alone(tmp_path, **variables, ASTERISK_ARI_APP="nobody", ASTERISK_ARI_PASSWORD="wrong-one")
    stack.write_config()
    stack.engine.start()
    try:
        said = await eventually(lambda: reason(stack), lambda text: "ASTERISK_ARI_PASSWORD" in text)
        assert "wrong-one" not in said + stack.engine.log.read_text()
    finally:
        assert await stack.engine.stop(PATIENCE_S) == 0


async def test_an_engine_without_models_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_MODELS_DIR", str(tmp_path / "nothing"))
    stack = engine_alone(tmp_path)
    stack.write_config()
    stack.engine.start()
    assert await stack.engine.ended(PATIENCE_S)
    assert stack.engine.returncode == 1
    assert "local_ai_server.embedded install" in stack.engine.tail()
    assert "Traceback" not in stack.engine.tail()


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("asterisk:\n  hots: x\n", "ai-agent.yaml:2: unknown key `asterisk.hots`; did you mean `host`?"),
        ("calls:\n  default_context: nobody\n", "calls.default_context"),
        ("contexts_folder: /nowhere/at/all\n", "no context here"),
        ("providers:\n  local:\n    kind: locl\n", "did you mean 'local'?"),
    ],
)
def test_a_mistake_in_the_configuration_ends_the_start(tmp_path: Path, yaml: str, says: str) -> None:
    (tmp_path / "ai-agent.yaml").write_text(yaml)
    argv = [sys.executable, "-m", "ai_engine", "--config", str(tmp_path / "ai-agent.yaml"), "--env-file", os.devnull]
    env = {**os.environ, "ENGINE_HTTP_PORT": str(free_tcp_port())}
    result = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert result.returncode == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr


async def test_an_engine_with_the_wrong_token_names_the_variable(tmp_path: Path) -> None:
    require_models()
    stack = engine_alone(tmp_path, LOCAL_WS_AUTH_TOKEN="not-the-token")
    parts_off = {"ENABLE_LLM": "false", "ENABLE_STT": "false"}  # quicker to start; the door is the same
    keeper = Stack(
        tmp_path / "server",
        {**NOBODY, **parts_off, "LOCAL_WS_AUTH_TOKEN": "the-token"},
        ports=stack.ports,
        contexts=CONTEXTS,
    )
    keeper.server.start()
    try:
        await keeper.server.ready(f"{keeper.server_url}/healthz", PATIENCE_S)
        stack.write_config()
        stack.engine.start()

        async def context() -> str:
            try:
                async with aiohttp.ClientSession() as client, client.get(f"{stack.engine_url}/health") as response:
                    return str((await response.json())["contexts"]["default"])
            except OSError:
                return ""

        await eventually(context, lambda text: "LOCAL_WS_AUTH_TOKEN" in text)
        assert "not-the-token" not in stack.engine.log.read_text()
    finally:
        await stack.engine.stop(PATIENCE_S)
        await keeper.server.stop(5.0)
