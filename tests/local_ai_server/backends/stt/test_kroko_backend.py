"""Where Kroko runs, and that it runs there: by sherpa-onnx on a made model, by a stand-in of its server binary."""

import hashlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import kroko_stand_in
import numpy as np
import pytest
from pydantic import SecretStr

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.backends.options import OptionsError
from local_ai_server.backends.stt import kroko
from local_ai_server.backends.stt.kroko_files import NotCommunityModel, is_community, unpack
from local_ai_server.backends.stt.kroko_server import BinaryRefused, KrokoServer
from local_ai_server.backends.stt.streaming import StreamLost
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec

NEVER = threading.Event()
SHA = "0" * 64


def plan_for(**options):
    return kroko.plan(kroko.Options(**options), Machine())


def loud(seconds):
    return np.random.default_rng(1).normal(0, 3000, round(16_000 * seconds)).astype("<i2").tobytes()


def quiet(seconds):
    return bytes(2 * round(16_000 * seconds))


def data_file(path, parts, header=b'{"type": "community", "id": "EN", "version": "1"}'):
    path.write_bytes(b"".join(struct.pack("<I", len(part)) + part for part in (header, *parts)))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("onnx", reason="the model of this test is made with onnx: pip install 'parley[dev]'")
    from tests.local_ai_server.backends.stt.made_zipformer import make_zipformer

    return make_zipformer(tmp_path_factory.mktemp("zipformer"))


@pytest.fixture
def community(made, tmp_path):
    names = ("encoder-made.int8.onnx", "decoder-made.onnx", "joiner-made.int8.onnx", "tokens.txt")
    (tmp_path / "kroko").mkdir()
    return data_file(tmp_path / "kroko" / "EN-Community.data", [(made / name).read_bytes() for name in names])


@pytest.fixture
def binary(tmp_path):
    """(the stand-in as a program, its checksum, its model)"""
    program = tmp_path / "kroko-server"
    program.write_text(f"#!{sys.executable}\n" + Path(kroko_stand_in.__file__).read_text())
    program.chmod(0o755)
    (tmp_path / "model.data").write_text("a model")
    return program, hashlib.sha256(program.read_bytes()).hexdigest(), tmp_path / "model.data"


def loaded(plan):
    model = kroko.KrokoModel()
    model.load(**plan.load)
    return model


def started(model_path):
    """(process id, port, key) of each start of the stand-in."""
    return [tuple(line.split(" ")) for line in Path(f"{model_path}.pids").read_text().splitlines()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- where it runs


def test_a_model_on_this_machine_never_means_the_cloud(community, made):
    url = "wss://app.kroko.ai/api/v1/transcripts/streaming"
    for path in (community, made):
        plan = plan_for(model_path=path, url=url)
        assert plan.load["mode"] == "sherpa"
        assert plan.model_path == path
    with pytest.raises(BackendUnusable, match="KROKO_EMBEDDED is off"):
        plan_for(model_path=community, url=url, embedded=False)
    with pytest.raises(BackendUnusable, match="KROKO_MODEL_PATH"):
        plan_for(url=url, embedded=True)
    with pytest.raises(BackendUnusable, match="nothing at"):
        plan_for(model_path=community.with_name("gone.data"), url=url)
    assert plan_for(url=url).load["mode"] == "remote"
    with pytest.raises(BackendUnusable, match="KROKO_URL"):
        plan_for()


def test_the_binary_is_run_only_if_it_is_pinned(binary):
    program, sha256, model = binary
    assert plan_for(model_path=model, server_path=program, server_sha256=sha256.upper()).load["mode"] == "binary"
    with pytest.raises(BackendUnusable, match=f"set KROKO_SERVER_SHA256={sha256}"):
        plan_for(model_path=model, server_path=program)
    with pytest.raises(BackendUnusable, match="KROKO_SERVER_SHA256 is another"):
        plan_for(model_path=model, server_path=program, server_sha256=SHA)
    with pytest.raises(BackendUnusable, match="KROKO_SERVER_PATH"):
        plan_for(model_path=model, server_path=program.with_name("gone"), server_sha256=SHA)
    with pytest.raises(OptionsError, match="KROKO_SERVER_SHA256"):
        kroko.Options.from_environment({"KROKO_SERVER_SHA256": "abc"})


def test_the_binary_is_looked_at_again_when_it_is_started(binary):
    program, sha256, model = binary
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(BinaryRefused, match="is another"):
        KrokoServer(program, sha256, str(model), port=0).url()


def test_what_sherpa_cannot_run_is_refused_with_what_can(tmp_path, monkeypatch, community):
    encrypted = data_file(tmp_path / "pro.data", [os.urandom(500)])
    with pytest.raises(BackendUnusable, match="encrypted"):
        plan_for(model_path=encrypted)
    nested = data_file(tmp_path / "nested.data", [], header=b"[" * 100_000)
    with pytest.raises(BackendUnusable, match="no Kroko model"):
        plan_for(model_path=nested)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendUnusable, match=r"parley\[sherpa\]"):
        plan_for(model_path=community)


@pytest.mark.parametrize(
    ("url", "key", "problem"),
    [
        ("https://app.kroko.ai", "", "wss://"),
        ("wss://", "", "name a host"),
        ("ws://kroko.example", "secret", "sent by wss:// only"),
        ("wss://[::1", "", "name a host"),
        ("wss://kroko.example/v1?apiKey=secret", "", "set KROKO_API_KEY"),
        ("wss://me:secret@kroko.example", "", "set KROKO_API_KEY"),
        ("ws://127.0.0.1:6006", "secret", None),
        ("ws://kroko.lan:6006", "", None),
    ],
)
def test_an_address_is_checked(url, key, problem):
    if problem is None:
        assert plan_for(url=url, api_key=SecretStr(key)).load["url"] == url
    else:
        with pytest.raises(BackendUnusable, match=problem) as refused:
            plan_for(url=url, api_key=SecretStr(key))
        assert "secret" not in str(refused.value)


# --- models of the community, by sherpa-onnx


@pytest.mark.skipif(kroko.importlib.util.find_spec("sherpa_onnx") is None, reason="pip install 'parley[sherpa]'")
def test_a_community_model_runs_by_sherpa(community):
    plan = plan_for(model_path=community)
    assert plan.traits == {"engine": "sherpa-onnx", "model": "community EN 1"}
    model = loaded(plan)
    model.canary(b"", NEVER)
    assert model.transcribe(quiet(0.32) + loud(0.48), NEVER)[0]["text"].startswith("One two")


def test_a_damaged_model_is_told(community, tmp_path):
    whole = community.read_bytes()
    assert is_community(community)
    for damaged in (whole[:-1], whole + b"x", whole[:3], b"<html>", b""):
        community.write_bytes(damaged)
        assert not is_community(community)
    data_file(community, [b"no graph", b"", b"", b""])
    with pytest.raises(NotCommunityModel, match="encoder"):
        unpack(community, tmp_path / "parts")
    data_file(community, [b"", b"", b"", b""], header=b"[1]")
    with pytest.raises(NotCommunityModel, match="header"):
        unpack(community, tmp_path / "parts")


# --- the server binary, by its stand-in


@pytest.fixture
def served(binary):
    program, sha256, path = binary
    model = loaded(plan_for(model_path=path, server_path=program, server_sha256=sha256, api_key=SecretStr("licence")))
    yield model, path
    model.unload()
    assert not any(is_alive(pid) for pid, *_ in started(path))


def test_the_binary_hears_the_caller_as_he_speaks(served):
    model, path = served
    model.canary(b"", NEVER)
    audio = quiet(0.2) + loud(0.3) + quiet(0.6) + loud(0.2)
    texts, position = set(), 0
    while position < len(audio):
        answer, _ = model.feed(audio[position : position + 3200], NEVER, stream="a", position=position)
        position = answer["position"]
        texts.add(answer["text"])
    guess, _ = model.finish(b"", NEVER, stream="a", position=position, keep=True)
    assert guess["text"] == "Alpha beta gamma alpha beta", "two segments"
    final, _ = model.finish(loud(0.1), NEVER, stream="a", position=position)
    assert final["text"].startswith("Alpha beta gamma alpha beta alpha"), "the silence that flushed it ended the second"
    assert model.transcribe(quiet(0.5), NEVER)[0]["text"] == ""
    assert model.transcribe(loud(0.2), NEVER)[0]["text"] == "Alpha beta"
    assert [(port.isdigit(), key) for _, port, key in started(path)] == [(True, "licence")]


def test_a_binary_that_died_is_started_again_and_its_streams_are_lost(served):
    model, path = served
    model.feed(loud(0.3), NEVER, stream="a")
    pid = int(started(path)[0][0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    with pytest.raises(StreamLost):  # at the latest when the kernel has told that the other end is gone
        while time.monotonic() < deadline:
            position = model._streams["a"].n_bytes
            model.feed(loud(0.1), NEVER, stream="a", position=position)
    assert model.finish(loud(0.2), NEVER, stream="b")[0]["text"] == "Alpha beta"
    assert len(started(path)) == 2


def test_a_port_that_is_taken_is_left_to_whoever_has_it(binary):
    program, sha256, path = binary
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        server = KrokoServer(program, sha256, str(path), port=taken)
        assert not server.url().endswith(f":{taken}")
        server.stop()


def test_a_binary_that_cannot_load_its_model_says_so(binary):
    program, sha256, path = binary
    path.write_text("another model")
    with pytest.raises(RuntimeError, match="ended with status 1"):
        loaded(plan_for(model_path=path, server_path=program, server_sha256=sha256))


async def test_the_binary_ends_with_its_worker(binary):
    program, sha256, path = binary
    plan = plan_for(model_path=path, server_path=program, server_sha256=sha256)
    link = WorkerLink(WorkerSpec(model=kroko.BACKEND.model, settings=plan.load, canary=kroko.BACKEND.canary))
    await link.start()
    result, _ = await link.request("transcribe", {}, loud(0.2))
    assert result["text"] == "Alpha beta"
    await link.stop()
    assert not any(is_alive(pid) for pid, *_ in started(path))


# --- a server that runs elsewhere


def test_a_hosted_server_is_told_language_and_key():
    seen = []
    with kroko_stand_in.hosted(0, key="k&y", seen=seen) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        port = server.socket.getsockname()[1]
        url = f"ws://127.0.0.1:{port}/api/v1/transcripts/streaming"
        model = loaded(plan_for(url=url, api_key=SecretStr("k&y"), language="de-DE"))
        assert model.transcribe(loud(0.2), NEVER)[0]["text"] == "Alpha beta"
        wrong = loaded(plan_for(url=url, api_key=SecretStr("secret")))
        with pytest.raises(ConnectionError, match="KROKO_URL") as refused:
            wrong.transcribe(loud(0.2), NEVER)
        assert "secret" not in repr(refused.value)
        server.shutdown()
        serving.join()
    assert seen[0] == "/api/v1/transcripts/streaming?languageCode=de-DE&endpoints=true&apiKey=k%26y"


def test_a_server_that_is_not_there_is_told():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    model = loaded(plan_for(url=f"ws://127.0.0.1:{port}"))
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1"):
        model.transcribe(loud(0.2), NEVER)


def test_nonsense_from_the_server_is_no_text():
    utterance = kroko.SocketUtterance.__new__(kroko.SocketUtterance)
    utterance._segments, utterance._final, utterance._ended = {}, set(), True
    for message in ("Done!", b"\xff", "[]", json.dumps({"type": "partial"}), json.dumps({"type": "word", "text": "x"})):
        utterance._take(message)
    assert utterance.text() == ""
