"""The smoke test passes against a right server, skips what is not meant to serve, and fails where one is wrong."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.asyncio.server import serve

import local_ai_server
from local_ai_server import smoke_test_ws
from model_worker.errors import WorkerDied
from tests.local_ai_server.clients.client_stand_ins import serving, speaking_services

FOLDER = Path(local_ai_server.__file__).parent
STEPS = ["auth", "set_mode", "status", "capabilities", "tts_request", "audio"]
STEPS += ["llm_request", "llm_tool_request", "barge_in", "unknown_message"]


def outcomes(out):
    return {name: outcome for outcome, name in re.findall(r"^(PASS|FAIL|SKIP)  (\w+) +\d+ ms  \S", out, re.MULTILINE)}


async def test_every_step_passes_against_a_right_server(run_client):
    async with serving(speaking_services()) as url:
        status, out, _ = await run_client(smoke_test_ws.main, "--url", url)
    assert outcomes(out) == dict.fromkeys(STEPS, "PASS")
    assert out.endswith("10 passed, 0 failed, 0 skipped\n")
    assert status == 0


async def test_a_server_without_llm_passes_and_the_reason_is_told(run_client):
    async with serving(speaking_services(without=("llm",))) as url:
        status, out, _ = await run_client(smoke_test_ws.main, "--url", url)
    assert outcomes(out) == dict.fromkeys(STEPS, "PASS") | {"llm_request": "SKIP", "llm_tool_request": "SKIP"}
    assert "no llm here" in out
    assert status == 0


async def test_without_a_voice_there_is_nothing_to_hear(run_client):
    async with serving(speaking_services(without=("tts",))) as url:
        status, out, _ = await run_client(smoke_test_ws.main, "--url", url)
    assert outcomes(out) == dict.fromkeys(STEPS, "PASS") | {"tts_request": "SKIP", "audio": "SKIP"}
    assert status == 0


async def test_speech_that_comes_back_as_other_words_fails(run_client):
    async with serving(speaking_services(hears="Something else was understood entirely.")) as url:
        status, out, _ = await run_client(smoke_test_ws.main, "--url", url)
    assert outcomes(out) == dict.fromkeys(STEPS, "PASS") | {"audio": "FAIL"}
    assert status == 1


async def test_a_model_that_breaks_fails_its_step_alone(run_client):
    services = speaking_services()
    services.tts.error = WorkerDied("it ended")
    async with serving(services) as url:
        status, out, _ = await run_client(smoke_test_ws.main, "--url", url)
    assert outcomes(out)["tts_request"] == "FAIL"
    assert outcomes(out)["llm_request"] == "PASS"
    assert status == 1


async def test_a_server_that_stays_silent_fails_each_step(run_client):
    """As older servers do with what they do not know."""

    async def silent(ws):
        await ws.recv()
        await ws.send('{"type": "auth_response", "status": "ok"}')
        async for _ in ws:
            pass

    async with serve(silent, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        status, out, _ = await run_client(smoke_test_ws.main, "--url", url, "--timeout", "0.1")
    assert outcomes(out)["unknown_message"] == "FAIL"
    assert "no answer within 0.1 s" in out
    assert status == 1


@pytest.mark.parametrize(
    ("cwd", "command"),
    [(FOLDER.parent, ["local_ai_server/smoke_test_ws.py"]), (FOLDER, ["smoke_test_ws.py"])],
)
async def test_it_runs_as_a_file_from_either_folder(cwd, command):
    run = await asyncio.to_thread(
        subprocess.run, [sys.executable, *command, "--help"], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "protocol version 2" in run.stdout
