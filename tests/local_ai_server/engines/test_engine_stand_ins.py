"""vLLM and TensorRT-LLM as workers start them, against programs that know their options and their HTTP."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from engine_fixtures import Programs, alive, checkpoint, engine_folder, link_of, say, until

from local_ai_server.backends.llm.managed import TRTLLM_BACKEND, VLLM_BACKEND
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard
from model_worker.errors import WorkerError, WorkerUnavailable
from voice_wire.messages import SwitchModel


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "model")


def group(pid: int) -> set[int]:
    """The guardian of the engine `pid`, and what is below it."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return {pid, parent}


async def test_vllm_serves_and_goes(programs: Programs, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WS_AUTH_TOKEN", "hush")
    monkeypatch.setenv("VLLM_SERVE_EAGER", "true")
    programs.behave(children=[False, True])
    link = link_of(
        VLLM_BACKEND,
        model_path=model,
        context_tokens=1024,
        parallel=3,
        batch_tokens=2048,
        kv_cache_dtype="fp8",
        attention="FLASHINFER",
        eager=True,
    )
    await link.start()
    try:
        assert await say(link, "hello") == "You said hello."
        argv, env = programs.seen["argv"], programs.seen["env"]
        port = argv[argv.index("--port") + 1]
        assert argv == [
            *("serve", str(model), "--host", "127.0.0.1", "--port", port, "--max-model-len", "1024"),
            *("--max-num-seqs", "3", "--max-num-batched-tokens", "2048", "--gpu-memory-utilization", "0.9"),
            *("--kv-cache-dtype", "fp8", "--attention-backend", "FLASHINFER", "--enforce-eager"),
            *("--served-model-name", "parley"),
        ]
        assert len(env["VLLM_API_KEY"]) >= 32
        assert env["HF_HUB_OFFLINE"] == env["VLLM_NO_USAGE_STATS"] == env["DO_NOT_TRACK"] == "1"
        assert not env.keys() & {"LOCAL_WS_AUTH_TOKEN", "VLLM_SERVE_EAGER", "PYTHONPATH", "VLLM_SERVER_DEV_MODE"}
        assert programs.seen["group"] == programs.pids[0]
        everything = {*programs.pids, *group(programs.pids[0])}
        assert len(everything) == 4
    finally:
        await link.stop()
    until(lambda: not alive([*everything]))


async def test_trtllm_serve_takes_its_file_and_no_key(programs: Programs, model: Path) -> None:
    link = link_of(TRTLLM_BACKEND, model_path=model, kv_cache_dtype="fp8", eager=True, memory_fraction=0.4)
    await link.start()
    try:
        assert await say(link, "hello") == "You said hello."
        assert programs.seen["file"] == {
            "kv_cache_config": {"free_gpu_memory_fraction": 0.4, "dtype": "fp8"},
            "cuda_graph_config": None,
        }
        argv = programs.seen["argv"]
        assert argv[argv.index("--backend") + 1] == "pytorch"
        assert programs.seen["env"]["TRTLLM_NO_USAGE_STATS"] == "1"
        file = Path(argv[argv.index("--extra_llm_api_options") + 1])
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    finally:
        await link.stop()
    assert not file.parent.exists()


async def test_a_built_engine_is_served_as_one(programs: Programs, tmp_path: Path) -> None:
    path = engine_folder(tmp_path / "engine", max_batch_size=4, max_seq_len=1024, max_num_tokens=2048)
    link = link_of(TRTLLM_BACKEND, model_path=path)
    await link.start()
    try:
        argv = programs.seen["argv"]
        assert argv[argv.index("--backend") + 1] == "tensorrt"
        assert argv[argv.index("--max_batch_size") + 1] == "4"
        assert await say(link, "hello") == "You said hello."
    finally:
        await link.stop()


@pytest.mark.parametrize("how", ["killed", "dies in a request"])
async def test_an_engine_that_dies_is_started_again(how: str, programs: Programs, model: Path) -> None:
    link = link_of(VLLM_BACKEND, model_path=model)
    await link.start()
    try:
        if how == "killed":
            os.kill(programs.pids[0], signal.SIGKILL)
        else:
            with pytest.raises(WorkerError):
                await say(link, "die")
        while link.stats().restarts < 1:
            try:
                await say(link, "hello")
            except WorkerError:
                continue
        assert programs.starts == 2
        assert await say(link, "hello again") == "You said hello again."
    finally:
        await link.stop()
    until(lambda: not alive(programs.pids))


async def test_a_worker_killed_with_9_leaves_no_engine(programs: Programs, model: Path) -> None:
    programs.behave(children=[False, True], ignores_sigterm=True)
    link = link_of(VLLM_BACKEND, model_path=model)
    await link.start()
    try:
        first, worker = programs.pids, link.stats().pid
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        until_gone = [*first, *group(first[0])]
        while link.stats().restarts < 1:
            try:
                await say(link, "hello")
            except WorkerError:
                continue
        assert alive(until_gone) == []  # before the next one started
        assert programs.starts == 2
    finally:
        await link.stop()
    until(lambda: not alive(programs.pids))


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ({"dies": "ValueError: no kernel for sm_70"}, r"exit status 3 before it was ready.*\n.*no kernel for sm_70"),
        ({"dies": "the end", "megabytes": 8}, r"(?s)exit status 3.*the end"),
        ({"hangs": True, "children": [True]}, r"was not ready within 1 s; set SERVICE_TIMEOUT to more"),
    ],
)
async def test_one_that_does_not_come_up_says_why_and_leaves_nothing(
    behaviour: dict[str, Any], says: str, programs: Programs, model: Path
) -> None:
    programs.behave(**behaviour)
    link = link_of(VLLM_BACKEND, model_path=model, start_timeout_s=1.0 if "hangs" in behaviour else 60.0)
    with pytest.raises(WorkerUnavailable, match=says):
        await link.start()
    if "hangs" in behaviour:
        until(lambda: not alive(programs.pids))


async def test_an_option_that_it_does_not_know_is_in_the_error(programs: Programs, model: Path) -> None:
    link = link_of(VLLM_BACKEND, model_path=model, attention="XFORMERS")
    with pytest.raises(WorkerUnavailable, match=r"exit status 2 before(?s:.*)invalid choice: 'XFORMERS'"):
        await link.start()


async def test_a_port_that_is_taken_is_told(programs: Programs, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        link = link_of(VLLM_BACKEND, model_path=model, port=port)
        with pytest.raises(WorkerUnavailable, match=f"VLLM_SERVE_PORT: port {port} of 127.0.0.1 cannot be had"):
            await link.start()
    await link.start()  # free now
    try:
        assert programs.seen["argv"][5] == str(port)
    finally:
        await link.stop()


async def test_the_prefix_cache_is_emptied_again_and_again(programs: Programs, model: Path) -> None:
    link = link_of(VLLM_BACKEND, model_path=model, cache_reset_s=0.1)
    await link.start()
    try:
        resets = programs.folder / "resets"
        until(lambda: resets.exists() and int(resets.read_text() or 0) >= 2)
        assert await say(link, "hello") == "You said hello."
    finally:
        await link.stop()


async def test_its_options_are_switched_while_it_serves(programs: Programs, model: Path) -> None:
    variables = {"LOCAL_LLM_BACKEND": "vllm_serve", "LOCAL_LLM_MODEL_PATH": str(model), "LOCAL_AI_MODE": "full"}
    variables |= {"ENABLE_STT": "false", "ENABLE_TTS": "false", "GPU_AVAILABLE": "false"}
    board = Switchboard.from_settings(read_settings(Path("/nowhere"), variables))
    await board.start()
    try:
        first = programs.pids
        assert "--enforce-eager" not in programs.seen["argv"]
        answer = await board.switch(SwitchModel(llm_config={"eager": True}))
        assert answer.status == "success", answer.message
        assert "--enforce-eager" in programs.seen["argv"]
        assert alive(first) == []
    finally:
        await board.stop()
