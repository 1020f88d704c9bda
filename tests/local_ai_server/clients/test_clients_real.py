"""The commands as a user runs them, against the real server with the embedded models."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import wave

import pytest

from local_ai_server.catalog import ModelMissing, find_model

pytestmark = pytest.mark.models
TOKEN = "token-of-the-test"
BASE = {name: value for name, value in os.environ.items() if not name.startswith(("LOCAL_", "ENABLE_", "LLAMA_"))}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of the commands: where the server is."""
    try:
        for name in ("whisper-tiny.en", "en_US-joe-medium", "SmolLM2-135M-Instruct-Q8_0"):
            find_model(name)
    except ModelMissing as missing:
        pytest.skip(str(missing))
    process = subprocess.Popen(
        [sys.executable, "-m", "local_ai_server", "--port", "0"],
        cwd=tmp_path_factory.mktemp("server"),
        env=BASE | {"LOCAL_AI_MODE": "full", "LOCAL_WS_AUTH_TOKEN": TOKEN, "LOCAL_TTS_VARIATION": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield BASE | {"LOCAL_WS_URL": _ready(process), "LOCAL_WS_AUTH_TOKEN": TOKEN}
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def _ready(process):
    deadline = time.monotonic() + 120
    for line in process.stdout:
        if found := re.search(r"ready on (ws://\S+)", line):
            return found[1]
        assert time.monotonic() < deadline
    raise AssertionError("the server ended before it was ready")


def test_smoke_test_conversation_and_bench_of_the_embedded_models(environment, tmp_path):
    def run(module, *arguments):
        command = [sys.executable, "-m", f"local_ai_server.{module}", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "10 passed, 0 failed, 0 skipped" in run("smoke_test_ws")

    (tmp_path / "script.txt").write_text("Good morning, who am I talking to?\n")
    out = run("clients.conversation", "script.txt", "--wav", "out.wav", "--transcript", "out.txt", "--max-tokens", "20")
    assert json.loads(out.splitlines()[-1])["unheard"] == 0
    assert "morning" in (tmp_path / "out.txt").read_text().split("heard:")[1].split("agent:")[0].lower()
    with wave.open(str(tmp_path / "out.wav"), "rb") as file:
        assert file.getnframes() > 2 * file.getframerate(), "a question and an answer"

    line = json.loads(run("clients.bench", "--short", "--double-ttfb").splitlines()[-1])
    assert line["errors"] == {}
    figures = line["figures"]
    assert figures["turn_ms"]["n"] == 2
    assert figures["llm_cold_tokens"]["p95"] < figures["llm_cached_tokens"]["p50"], "the prompt cache served"
