"""The whole server with real weights: as a process, over its socket, killed and stopped."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

import local_ai_server
from local_ai_server.catalog import ModelMissing, find_model
from tests.long_answer import long_answer
from voice_wire.messages import pack_frame, parse_frame

FOLDER = Path(local_ai_server.__file__).parent
BASE = {name: value for name, value in os.environ.items() if not name.startswith(("LOCAL_", "ENABLE_", "LLAMA_"))}
TOKEN = "test-token"


def spawn(*arguments, cwd, command=("-m", "local_ai_server"), **variables):
    return subprocess.Popen(
        [sys.executable, *command, *arguments],
        cwd=cwd,
        env=BASE | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_ready(process, within_s=60):
    """The port in the ready line."""
    deadline = time.monotonic() + within_s
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"ready on ws://127\.0\.0\.1:(\d+) after [\d.]+ s", line):
            return int(found[1])
        assert time.monotonic() < deadline
    raise AssertionError(process.communicate()[1])


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def worker_pid(process, model):
    for child in children(process.pid):
        if model in Path(f"/proc/{child}/cmdline").read_text():
            return child
    raise AssertionError(f"no worker runs {model}")


def need_models():
    try:
        for name in ("whisper-tiny.en", "en_US-joe-medium", "SmolLM2-135M-Instruct-Q8_0"):
            find_model(name)
    except ModelMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    need_models()
    process = spawn(
        "--port", "0", cwd=tmp_path_factory.mktemp("server"), LOCAL_AI_MODE="full", LOCAL_WS_AUTH_TOKEN=TOKEN
    )
    try:
        process.port = wait_ready(process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)


class Talk:
    """A version-3 client."""

    def __init__(self, ws):
        self.ws = ws

    async def ask(self, until=None, **fields):
        """Sends, and reads to the request's end: (seconds after the question, message) of each answer."""
        await self.ws.send(json.dumps(fields))
        return await self.read(until or fields["request_id"])

    async def read(self, request_id):
        began, answers = time.perf_counter(), []
        while True:
            data = await asyncio.wait_for(self.ws.recv(), 30)
            message = data if isinstance(data, bytes) else json.loads(data)
            answers.append((time.perf_counter() - began, message))
            if (
                isinstance(message, dict)
                and message["type"] in ("done", "error")
                and message["request_id"] == request_id
            ):
                return answers

    async def speak(self, text, request_id="say", **fields):
        answers = await self.ask(type="tts_request", request_id=request_id, text=text, stream=True, **fields)
        return b"".join(parse_frame(m).audio for _, m in answers if isinstance(m, bytes)), answers


@pytest.fixture
async def talk(server):
    async with connect(f"ws://127.0.0.1:{server.port}/", compression=None, max_size=None) as ws:
        await ws.send(json.dumps({"type": "auth", "token": TOKEN, "protocol_version": 3}))
        assert json.loads(await ws.recv())["status"] == "ok"
        yield Talk(ws)


async def hear(talk, audio, stream_id=1, encoding="mulaw", rate_hz=8000):
    start = {"type": "stt_start", "stream_id": stream_id, "encoding": encoding, "sample_rate_hz": rate_hz}
    await talk.ws.send(json.dumps(start))
    assert json.loads(await talk.ws.recv())["needs_gating"] is True
    for sequence, at in enumerate(range(0, len(audio), 160)):
        await talk.ws.send(pack_frame(stream_id, sequence, audio[at : at + 160]))
    answers = await talk.ask(type="stt_finalize", stream_id=stream_id, request_id=f"stt-{stream_id}")
    return answers[0][1]


@pytest.mark.models
@pytest.mark.parametrize(
    ("stream_id", "text", "words"),
    [
        (1, "What time do you open on Saturday?", {"what", "time", "open", "saturday"}),
        (2, "I would like to make an appointment for Tuesday afternoon.", {"appointment", "tuesday", "afternoon"}),
        (3, "Yes.", {"yes"}),
    ],
)
async def test_what_is_spoken_is_heard_over_mulaw(talk, stream_id, text, words):
    audio, _ = await talk.speak(text)
    result = await hear(talk, audio, stream_id)
    assert words <= set(re.findall(r"\w+", result["text"].lower()))
    assert (result["is_final"], result["stt_backend"]) == (True, "faster_whisper")
    assert result["confidence"] > 0.4
    assert result["audio_ms"] == pytest.approx(len(audio) / 8, abs=1)


@pytest.mark.models
async def test_silence_noise_and_tones_are_not_words(talk):
    noise = bytes(0xFF - (i * 7919 % 12) for i in range(16_000))
    beep = bytes(0x80 if (i // 9) % 2 else 0x00 for i in range(16_000))
    for stream_id, audio in enumerate((b"\xff" * 16_000, noise, beep, b""), start=1):
        assert (await hear(talk, audio, stream_id))["text"] == ""


@pytest.mark.models
async def test_speech_comes_ready_for_the_line(talk):
    audio, answers = await talk.speak("Hello there. This is a second sentence.")
    start, end = answers[0][1], answers[-1][1]
    assert (start["encoding"], start["sample_rate_hz"]) == ("mulaw", 8000)
    assert end["audio_ms"] == pytest.approx(len(audio) / 8, abs=1)
    chunks = [at for at, message in answers if isinstance(message, bytes)]
    assert len(chunks) == 2
    assert chunks[0] < answers[-1][0]
    wide, _ = await talk.speak("Hello there.", encoding="linear16", sample_rate_hz=16_000)
    assert len(wide) > 16_000


@pytest.mark.models
async def test_the_language_model_streams_and_finds_its_prefix_again(talk):
    system = {"role": "system", "content": "You are a receptionist. " + "We are open from nine to five. " * 20}
    warm = await talk.ask(type="warm", request_id="w", messages=[system])
    assert warm[-1][1]["usage"]["completion_tokens"] == 0
    answers = await talk.ask(
        type="llm_request",
        request_id="a",
        messages=[system, {"role": "user", "content": "Hello!"}],
        sampling={"max_tokens": 12},
        stream=True,
    )
    usage = answers[-1][1]["usage"]
    assert "".join(m["text"] for _, m in answers[:-1]).strip()
    assert usage["cached_tokens"] >= 0.9 * warm[-1][1]["usage"]["prompt_tokens"]
    assert 0 < usage["completion_tokens"] <= 12


@pytest.mark.models
async def test_a_prompt_primed_up_to_the_agents_last_line_is_found_whole(talk):
    said = [
        {"role": "system", "content": "You are a receptionist."},
        {"role": "assistant", "content": "Harbour Street Bicycle Repair, this is Joe. How can I help you?"},
    ]
    warm = await talk.ask(type="warm", request_id="w", messages=said)
    answers = await talk.ask(
        type="llm_request",
        request_id="a",
        messages=[*said, {"role": "user", "content": "Hello!"}],
        sampling={"max_tokens": 4},
        stream=True,
    )
    read = answers[-1][1]["usage"]["prompt_tokens"] - answers[-1][1]["usage"]["cached_tokens"]
    assert read < 15, (warm[-1][1]["usage"], answers[-1][1]["usage"])  # the greeting alone is longer


@pytest.mark.models
async def test_a_cancelled_answer_stops_and_the_next_is_not_harmed(talk):
    await talk.ws.send(json.dumps(long_answer("a")))
    assert json.loads(await talk.ws.recv())["type"] == "llm_delta"
    cancelled = await talk.ask(type="cancel", until="a")
    assert cancelled[-1][1]["cancelled"] is True
    after = await talk.ask(
        type="llm_request",
        request_id="b",
        messages=[{"role": "user", "content": "Say yes."}],
        sampling={"max_tokens": 8},
    )
    assert after[-1][1]["type"] == "done"


@pytest.mark.models
async def test_a_schema_holds(talk):
    schema = {"type": "object", "properties": {"day": {"enum": ["monday", "friday"]}}, "required": ["day"]}
    answers = await talk.ask(
        type="llm_request",
        request_id="a",
        messages=[{"role": "user", "content": "Which day comes before Saturday?"}],
        response_format={"type": "json_schema", "json_schema": schema},
    )
    assert json.loads(answers[0][1]["text"])["day"] in ("monday", "friday")


@pytest.mark.models
async def test_a_prompt_far_too_long_is_answered(talk):
    turns = [{"role": role, "content": "blah " * 60} for _ in range(20) for role in ("user", "assistant")]
    answers = await talk.ask(
        type="llm_request",
        request_id="a",
        messages=[{"role": "system", "content": "Be brief."}, *turns, {"role": "user", "content": "Bye!"}],
        sampling={"max_tokens": 400},
    )
    usage = answers[-1][1]["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] <= 768


@pytest.mark.models
async def test_a_killed_worker_costs_its_request_and_the_next_is_served(server, talk):
    await talk.ws.send(json.dumps(long_answer("a")))
    assert json.loads(await talk.ws.recv())["type"] == "llm_delta"
    os.kill(worker_pid(server, "LlamaCpp"), signal.SIGKILL)
    end = (await talk.read("a"))[-1][1]
    assert (end["type"], end["code"], end["retryable"]) == ("error", "worker_failed", True)
    audio, _ = await talk.speak("The others are not disturbed.")
    assert audio
    deadline = time.monotonic() + 20
    while True:
        end = (await talk.ask(**long_answer("b") | {"sampling": {"max_tokens": 4}}))[-1][1]
        if end["type"] == "done" or time.monotonic() > deadline:
            break
    assert end["type"] == "done"


@pytest.mark.models
async def test_ready_and_metrics_while_it_runs(server):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        assert (await http.get("/readyz")).status_code == 200
        assert 'local_ai_worker_rss_bytes{backend="piper",kind="tts"}' in (await http.get("/metrics")).text


@pytest.mark.models
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_started_inside_its_folder_it_serves_and_leaves_nothing_behind(number):
    need_models()
    process = spawn("--port", "0", cwd=FOLDER, command=("main.py",), ENABLE_LLM="false", ENABLE_STT="false")
    port = wait_ready(process)
    workers = children(process.pid)
    assert len(workers) == 1
    process.send_signal(number)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.models
def test_killed_outright_it_takes_its_workers_along(tmp_path):
    need_models()
    process = spawn("--port", "0", cwd=tmp_path, ENABLE_LLM="false", ENABLE_STT="false")
    wait_ready(process)
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=15)
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


REFUSALS = [
    ({"LOCAL_WS_HOST": "0.0.0.0"}, 2, "LOCAL_WS_AUTH_TOKEN"),
    ({"LOCAL_WS_PORT": "x"}, 2, "LOCAL_WS_PORT"),
    ({"LOCAL_STT_BACKEND": "ears"}, 1, "choose one of: faster_whisper"),
    ({"LOCAL_TTS_MODEL_PATH": "/nowhere/voice.onnx"}, 1, "python -m local_ai_server.embedded install"),
    ({"PARLEY_MODELS_DIR": "/nowhere"}, 1, "python -m local_ai_server.embedded install whisper-tiny.en"),
    ({"LOCAL_WS_HOST": "203.0.113.7", "LOCAL_WS_AUTH_TOKEN": "x"}, 1, "LOCAL_WS_PORT"),
]


@pytest.mark.parametrize(("variables", "status", "words"), REFUSALS)
def test_what_cannot_be_is_said_in_one_sentence_with_the_fix(tmp_path, variables, status, words):
    if "PARLEY_MODELS_DIR" not in variables and status == 1:
        need_models()
    process = spawn(cwd=tmp_path, **variables)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status
    assert words in errors
    assert errors.startswith("error: ")
    assert "Traceback" not in errors


def test_a_port_in_use_is_said(tmp_path):
    need_models()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = spawn("--port", str(taken.getsockname()[1]), cwd=tmp_path)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "LOCAL_WS_PORT" in errors
    assert "Traceback" not in errors


@pytest.mark.models
def test_a_model_that_is_none_is_said_and_nothing_is_left(tmp_path):
    need_models()
    rubbish = tmp_path / "voice.onnx"
    rubbish.write_text("no model")
    (tmp_path / "voice.onnx.json").write_text("{}")
    process = spawn("--port", "0", cwd=tmp_path, ENABLE_STT="false", LOCAL_TTS_MODEL_PATH=str(rubbish))
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "could not start" in errors


def test_help_names_where_settings_come_from(tmp_path):
    process = spawn("--help", cwd=tmp_path)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "LOCAL_WS_PORT" in output


@pytest.mark.models
async def test_a_base_model_answers_one_line_of_a_transcript(tmp_path):
    need_models()
    try:
        path = find_model("gemma-3-270m-Q4_K_M")
    except ModelMissing as missing:
        pytest.skip(str(missing))
    variables = {"LOCAL_AI_MODE": "full", "LOCAL_LLM_MODEL_PATH": str(path), "ENABLE_STT": "no", "ENABLE_TTS": "no"}
    process = spawn("--port", "0", cwd=tmp_path, **variables)
    try:
        port = wait_ready(process)
        async with connect(f"ws://127.0.0.1:{port}/") as ws:
            await ws.send(json.dumps({"type": "auth", "protocol_version": 3}))
            await ws.recv()
            answers = await Talk(ws).ask(
                type="llm_request",
                request_id="a",
                messages=[
                    {"role": "system", "content": "A bicycle shop."},
                    {"role": "user", "content": "Hello?"},
                    {"role": "assistant", "content": "Hello! How can I help you?"},
                    {"role": "user", "content": "Do you repair bicycles?"},
                ],
                sampling={"temperature": 0, "max_tokens": 40},
            )
        text = answers[0][1]["text"]
        assert text.strip()
        assert "\n" not in text
        assert "Caller:" not in text
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)
