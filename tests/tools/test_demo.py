"""What the demonstration refuses, before it has started anything."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools.call import write_wav
from tools.free_ports import free_sip_port, free_tcp_port
from tools.stack import PROJECT


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    ports = ("--server-port", str(free_tcp_port()), "--engine-port", str(free_tcp_port()))
    argv = [sys.executable, "-m", "tools.demo", "--once", *ports, *words]
    return subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


def refused(result: subprocess.CompletedProcess[str], *says: str) -> None:
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert all(words in result.stderr for words in says), result.stderr
    assert result.stdout == ""  # nothing was installed or started


@pytest.mark.parametrize("text", ["", "  ", "?!"])
def test_a_question_without_words(text: str) -> None:
    refused(demo("--call", text), "--call holds no words", "for example")


def test_a_recording_that_is_not_there(tmp_path: Path) -> None:
    refused(demo("--play", str(tmp_path / "none.wav")), "none.wav does not exist")


@pytest.mark.parametrize("content", [b"", b"hi\n", b"RIFF\x04\0\0\0WAVE"])
def test_a_recording_that_is_no_wav(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "question.wav"
    path.write_bytes(content)
    refused(demo("--play", str(path)), "question.wav is not a PCM WAV file", "ffmpeg")


def test_a_recording_of_silence(tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    write_wav(path, np.zeros(8000, dtype=np.int16))
    refused(demo("--play", str(path)), "holds no speech")


@pytest.mark.parametrize("option", ["--server-port", "--engine-port"])
def test_a_port_in_use(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(demo(option, port), f"port {port} cannot be used", option)


def test_a_language_model_nobody_knows() -> None:
    refused(demo("--llm", "nosuch"), "nosuch", "SmolLM2-135M-Instruct-Q8_0")


@pytest.mark.asterisk
@pytest.mark.models
@pytest.mark.timeout(180)
def test_a_demonstration_that_stays_up_is_ended_by_ctrl_c_and_leaves_nothing() -> None:
    pytest.importorskip("baresip")
    if not (PROJECT / "var" / "pbx" / "root").is_dir():
        pytest.skip("no Asterisk installed: tools/pbx install")
    ports = {"--sip-port": free_sip_port()} | {
        f"--{name}-port": free_tcp_port() for name in ("ari", "server", "engine")
    }
    words = [str(word) for option in ports.items() for word in option]
    argv = [sys.executable, "-m", "tools.demo", "--call", "What are your opening hours?", *words]
    process = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = []
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            printed.append(line)
            if "staying up" in line:
                process.send_signal(signal.SIGINT)
    for place in (
        PROJECT / "var" / f"demo-{ports['--sip-port']}",
        *PROJECT.glob(f"var/pbx/**/demo-{ports['--sip-port']}"),
    ):
        shutil.rmtree(place)
    said = "".join(printed)
    assert process.returncode == 0, said
    assert "[known:opening-hours]" in said
    assert "Traceback" not in said
    for option, port in ports.items():
        kind = socket.SOCK_DGRAM if option == "--sip-port" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind is socket.SOCK_STREAM))
            probe.bind(("127.0.0.1", port))
