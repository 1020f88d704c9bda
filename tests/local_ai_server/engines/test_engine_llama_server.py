"""A real llama.cpp server as a managed engine: the wheel's, or llama-server where that is installed."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from engine_fixtures import alive, link_of, say, until

from local_ai_server.backends.llm.managed import LLAMA_SERVER_BACKEND
from local_ai_server.engines.supervised import _guardians
from model_worker.errors import WorkerError, WorkerUnavailable

pytestmark = pytest.mark.models
pytest.importorskip("xllamacpp")


def engine_pids() -> list[int]:
    """The guardian's and the engine's, of the workers that this process has."""
    mine = []
    for guardian, worker in _guardians():
        parent = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        if parent == os.getpid():
            children = Path(f"/proc/{guardian}/task/{guardian}/children").read_text().split()
            mine += [guardian, *map(int, children)]
    return mine


async def test_it_answers_is_started_again_when_killed_and_is_gone_when_stopped() -> None:
    link = link_of(
        LLAMA_SERVER_BACKEND, context_tokens=768, parallel=2, threads=1, kv_cache_dtype="q8_0", attention="on"
    )
    await link.start()
    try:
        assert len(await say(link, "Say hello.")) > 2
        first = engine_pids()
        assert len(first) == 2
        command = Path(f"/proc/{first[1]}/cmdline").read_bytes().decode().split("\0")
        port = int(command[command.index("--port") + 1])
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask_without_key(port)
        schema = {"type": "object", "properties": {"tool": {"enum": ["none", "hang_up"]}}, "required": ["tool"]}
        args = {
            "messages": [{"role": "user", "content": "Goodbye!"}],
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        async with link.call("generate", args) as stream:
            answer = "".join([header["text"] async for header, _ in stream])
        assert json.loads(answer)["tool"] in ("none", "hang_up")

        os.kill(first[1], signal.SIGKILL)
        while link.stats().restarts < 1:
            try:
                await say(link, "Are you there?")
            except WorkerError:
                continue
        assert len(await say(link, "Say hello.")) > 2
        second = engine_pids()
        assert not set(first) & set(second)
    finally:
        await link.stop()
    until(lambda: not alive(second))


async def test_a_file_that_is_cut_short_is_told_with_llama_cpps_words(tmp_path: Path) -> None:
    from local_ai_server.catalog import find_model

    cut = tmp_path / "cut.gguf"
    cut.write_bytes(find_model("SmolLM2-135M-Instruct-Q8_0").read_bytes()[: 40 << 20])
    link = link_of(LLAMA_SERVER_BACKEND, model_path=cut, context_tokens=256, parallel=1)
    with pytest.raises(WorkerUnavailable, match=r"llama-server ended with exit status 1 before(?s:.*)(load|init)"):
        await link.start()
    assert engine_pids() == []


def ask_without_key(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):  # it listens, and on loopback
        pass
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", data=body)
    with urllib.request.urlopen(request):
        pass
