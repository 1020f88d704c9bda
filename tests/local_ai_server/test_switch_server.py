"""The real server with real weights, switched by one client while another talks."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from local_ai_server.catalog import ModelMissing, find_model
from model_worker.memory import rss_bytes
from tests.long_answer import LENGTH, long_answer
from voice_wire.messages import pack_frame, parse_frame

pytestmark = pytest.mark.models

BASE = {
    name: value for name, value in os.environ.items() if not name.startswith(("LOCAL_", "ENABLE_", "LLAMA_", "LLM_"))
}
PATIENCE_S = 90


def start(tmp_path, **variables):
    try:
        for name in ("whisper-tiny.en", "en_US-joe-medium", "SmolLM2-135M-Instruct-Q8_0"):
            find_model(name)
    except ModelMissing as missing:
        pytest.skip(str(missing))
    process = subprocess.Popen(
        [sys.executable, "-m", "local_ai_server", "--port", "0"],
        cwd=tmp_path,
        env=BASE | {"LOCAL_AI_MODE": "full"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if found := re.search(r"ready on ws://127\.0\.0\.1:(\d+)", line):
            process.port = int(found[1])
            return process
    raise AssertionError(process.communicate()[1])


def end(process):
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors, errors


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process = start(tmp_path_factory.mktemp("switch"), SERVICE_TIMEOUT="90", LOCAL_SWITCH_DRAIN="60")
    yield process
    end(process)


class Client:
    """A version-3 connection; `of` keeps what came for each request."""

    def __init__(self, ws):
        self._ws = ws

    async def send(self, **fields):
        await self._ws.send(json.dumps(fields))

    async def next(self):
        data = await asyncio.wait_for(self._ws.recv(), PATIENCE_S)
        return data if isinstance(data, bytes) else json.loads(data)

    async def until(self, *types, request_id=None):
        """Messages up to one of these types."""
        got = []
        while True:
            message = await self.next()
            got.append(message)
            if not isinstance(message, dict) or message["type"] not in types:
                continue
            if request_id is None or message.get("request_id") == request_id:
                return got

    async def switch(self, **fields):
        await self.send(type="switch_model", request_id="switch", **fields)
        return (await self.until("switch_response", "error"))[-1]

    async def status(self):
        await self.send(type="status")
        return (await self.until("status_response"))[-1]

    async def answer(self, request_id, max_tokens=8):
        await self.send(
            type="llm_request",
            request_id=request_id,
            messages=[{"role": "user", "content": "Say yes."}],
            sampling={"max_tokens": max_tokens},
            stream=True,
        )
        return (await self.until("done", "error", request_id=request_id))[-1]

    async def speak(self, request_id, text="The others are not disturbed."):
        await self.send(type="tts_request", request_id=request_id, text=text, stream=True)
        got = await self.until("done", "error", request_id=request_id)
        return b"".join(parse_frame(m).audio for m in got if isinstance(m, bytes)), got[-1]


def client_of(process):
    return connect(f"ws://127.0.0.1:{process.port}/", compression=None, max_size=None)


async def hello(ws):
    await ws.send(json.dumps({"type": "auth", "protocol_version": 3}))
    assert json.loads(await ws.recv())["status"] == "ok"
    return Client(ws)


@pytest.fixture
async def caller(server):
    async with client_of(server) as ws:
        yield await hello(ws)


@pytest.fixture
async def operator(server):
    async with client_of(server) as ws:
        yield await hello(ws)


def worker_pid(server, model):
    """The one worker of that class."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    found = [int(c) for c in children if model in Path(f"/proc/{c}/cmdline").read_text()]
    assert len(found) == 1, found
    return found[0]


async def test_an_answer_ends_whole_on_the_old_language_model_and_the_next_comes_from_the_new(server, caller, operator):
    old = worker_pid(server, "LlamaCpp")
    before = rss_bytes(old)
    await caller.send(**long_answer("a"))
    said = (await caller.until("llm_delta"))[-1]["text"]
    switched = await operator.switch(llm_config={"context_tokens": 1024}, drain_deadline_s=60)
    assert (switched["status"], switched["changed"]) == ("success", ["llm_config.context_tokens"]), switched
    first = await caller.until("done", "error", request_id="a")
    assert first[-1]["type"] == "done", first[-1]
    assert first[-1]["finish_reason"] == "stop"
    said += "".join(message["text"] for message in first if message["type"] == "llm_delta")
    assert len(json.loads(said)) == LENGTH
    assert (await caller.answer("b"))["type"] == "done"
    new = worker_pid(server, "LlamaCpp")
    assert new != old
    assert not Path(f"/proc/{old}").exists()
    assert before > 100_000_000
    assert switched["memory"]["old_rss_before"] > 100_000_000
    assert switched["memory"]["old_rss_after"] == 0
    stages = [stage["stage"] for stage in switched["stages"]]
    assert stages == ["loading", "warming", "routing", "draining", "stopping", "done"]
    status = (await operator.status())["models"]["llm"]
    assert (status["loaded"], status["config"]["context_tokens"]) == (True, 1024)


async def test_speech_under_way_is_spoken_to_its_end_by_the_old_voice(server, caller, operator):
    old = worker_pid(server, "Piper")
    text = "This is a long sentence that takes a while to say. " * 12
    await caller.send(type="tts_request", request_id="a", text=text, stream=True)
    await caller.until("tts_start")
    switched = await operator.switch(tts_config={"speed": 2.0}, drain_deadline_s=60)
    assert switched["status"] == "success", switched
    got = await caller.until("done", "error", request_id="a")
    assert got[-1]["type"] == "done"
    audio, done = await caller.speak("b", "This is a long sentence that takes a while to say. ")
    assert done["type"] == "done"
    assert got[-1]["audio_ms"] / 12 > 1.4 * len(audio) / 8  # the first was spoken at the old speed
    assert worker_pid(server, "Piper") != old
    assert not Path(f"/proc/{old}").exists()


async def test_an_utterance_that_began_before_the_switch_is_heard(server, caller, operator):
    audio, _ = await caller.speak("say", "What time do you open on Saturday?")
    old = worker_pid(server, "FasterWhisper")
    await caller.send(type="stt_start", stream_id=1, encoding="mulaw", sample_rate_hz=8000)
    await caller._ws.send(pack_frame(1, 0, audio[: len(audio) // 2]))
    switched = await operator.switch(stt_config={"context_s": 20})
    assert switched["status"] == "success", switched
    await caller._ws.send(pack_frame(1, 1, audio[len(audio) // 2 :]))
    await caller.send(type="stt_finalize", stream_id=1, request_id="hear")
    got = await caller.until("done", "error", request_id="hear")
    text = next(m for m in got if isinstance(m, dict) and m["type"] == "stt_result")["text"].lower()
    assert {"open", "saturday"} <= set(re.findall(r"\w+", text))
    assert worker_pid(server, "FasterWhisper") != old


async def test_everybody_hears_of_a_switch(caller, operator):
    assert (await operator.switch(tts_config={"speed": 1.1}))["status"] == "success"
    news = (await caller.until("backend_changed"))[-1]
    assert (news["backend_type"], news["backend"], news["stt_backend"]) == ("tts", "piper", "faster_whisper")


async def test_what_cannot_be_changes_nothing(server, caller, operator, tmp_path):
    before = [worker_pid(server, name) for name in ("LlamaCpp", "Piper", "FasterWhisper")]
    rubbish = tmp_path / "bad.gguf"
    rubbish.write_text("no model")
    for fields, code in (
        ({"llm_model_path": str(rubbish)}, "invalid_message"),  # not in a model folder
        ({"tts_backend": "mouth"}, "unknown_backend"),
        ({"tts_config": {"loud": True}}, "invalid_message"),
        ({"llm_config": {"context_tokens": 5}}, "invalid_message"),
    ):
        answer = await operator.switch(**fields)
        assert (answer["status"], answer["code"]) == ("error", code), answer
    assert (await operator.switch(dry_run=True, tts_config={"speed": 1.7}))["status"] == "success"
    assert [worker_pid(server, name) for name in ("LlamaCpp", "Piper", "FasterWhisper")] == before


async def test_a_model_that_is_none_leaves_the_old_one_serving_either_way(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "bad.onnx").write_text("no model")
    (folder / "bad.onnx.json").write_text("{}")
    process = start(tmp_path, ENABLE_STT="no", ENABLE_LLM="no", LOCAL_MODEL_ROOTS=str(folder), SERVICE_TIMEOUT="90")
    try:
        async with client_of(process) as ws:
            client = await hello(ws)
            old = worker_pid(process, "Piper")
            answer = await client.switch(tts_model_path=str(folder / "bad.onnx"))
            assert (answer["status"], answer["code"]) == ("error", "switch_failed"), answer
            assert worker_pid(process, "Piper") == old
            answer = await client.switch(tts_model_path=str(folder / "bad.onnx"), stop_then_start=True)
            assert (answer["status"], answer["code"]) == ("error", "switch_failed"), answer
            assert "the old model serves again" in answer["message"]
            assert not Path(f"/proc/{old}").exists()
            assert worker_pid(process, "Piper") != old
            audio, _ = await client.speak("a")
            assert len(audio) > 4000
    finally:
        end(process)


async def test_requests_wait_while_the_old_worker_makes_room(server, caller, operator):
    switching = asyncio.create_task(operator.switch(tts_config={"speed": 0.9}, stop_then_start=True))
    ends = []
    while not switching.done():
        ends.append((await caller.speak(f"r{len(ends)}", "Yes."))[1]["type"])
    assert (await switching)["status"] == "success"
    assert ends
    assert set(ends) == {"done"}


async def test_the_end_of_the_server_during_a_switch_leaves_no_process(tmp_path):
    process = start(tmp_path, ENABLE_STT="no", ENABLE_LLM="no")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    async with client_of(process) as ws:
        client = await hello(ws)
        await client.send(type="switch_model", request_id="s", tts_config={"speed": 1.5})
        await client.until("switch_progress")
        deadline = time.monotonic() + PATIENCE_S
        while len(workers := children.read_text().split()) < 2 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert len(workers) == 2
        end(process)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


async def test_minimal_mode_loads_the_language_model_when_it_is_asked_for(tmp_path):
    process = start(tmp_path, ENABLE_STT="no", ENABLE_TTS="no", LOCAL_AI_MODE="minimal", SERVICE_TIMEOUT="90")
    try:
        async with client_of(process) as ws:
            client = await hello(ws)
            refused = await client.answer("a")
            assert (refused["type"], refused["code"]) == ("error", "llm_not_loaded")
            assert "reload_llm" in refused["message"]
            await client.send(type="reload_llm", request_id="r")
            answer = (await client.until("reload_response", "error"))[-1]
            assert answer.get("status") == "success", answer
            assert (await client.answer("b"))["type"] == "done"
    finally:
        end(process)
