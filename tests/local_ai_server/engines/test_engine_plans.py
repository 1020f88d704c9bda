"""What is started for which settings, and what is refused before anything is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from engine_fixtures import Programs, checkpoint, engine_folder, in_path

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.backends.llm import managed
from local_ai_server.backends.llm.managed import LLAMA_SERVER_BACKEND, TRTLLM_BACKEND, VLLM_BACKEND
from local_ai_server.backends.options import OptionsError
from local_ai_server.building import StartError, configured_service
from local_ai_server.engines.programs import LLAMA_SERVER, TRTLLM, VLLM
from local_ai_server.settings import read_settings
from local_ai_server.switch_request import SwitchRefused, Target, read_switch
from voice_wire.messages import SwitchModel

AT = {"host": "127.0.0.1", "port": 1}


def test_a_command_line_has_what_is_set_and_nothing_else() -> None:
    assert VLLM.command(("vllm",), "/m", {**AT, "eager": True, "kv_cache_dtype": "fp8", "attention": None}) == [
        *("vllm", "serve", "/m", "--host", "127.0.0.1", "--port", "1", "--enforce-eager", "--kv-cache-dtype", "fp8")
    ]
    assert LLAMA_SERVER.command(("llama-server",), "m.gguf", {"parallel": 2, "context_tokens": 8}) == [
        *("llama-server", "--model", "m.gguf", "--parallel", "2", "--ctx-size", "8"),
        *("--jinja", "--no-webui", "--no-slots"),
    ]
    with pytest.raises(KeyError):
        LLAMA_SERVER.command(("llama-server",), "m.gguf", {"memory_fraction": 0.5})


def test_what_trtllm_serve_has_no_flag_for_is_in_its_file() -> None:
    settings = {"memory_fraction": 0.2, "kv_cache_dtype": "fp8", "attention": "FLASHINFER", "eager": True}
    assert TRTLLM.command(("t",), "/m", settings) == ["t", "/m", "--kv_cache_free_gpu_memory_fraction", "0.2"]
    assert TRTLLM.file(settings) == {
        "kv_cache_config": {"free_gpu_memory_fraction": 0.2, "dtype": "fp8"},
        "attn_backend": "FLASHINFER",
        "cuda_graph_config": None,
    }
    assert TRTLLM.file({"memory_fraction": 0.2, "eager": False}) is None
    assert VLLM.file({"eager": True}) is None


def test_vllm_gets_the_share_of_memory_that_its_part_has(tmp_path: Path, programs: Programs) -> None:
    options = VLLM_BACKEND.options(model_path=checkpoint(tmp_path / "m"))
    assert VLLM_BACKEND.plan(options, Machine()).load["settings"]["memory_fraction"] == 0.9
    assert VLLM_BACKEND.plan(options, Machine(memory_share=0.2)).load["settings"]["memory_fraction"] == 0.2
    options = options.changed({"memory_fraction": 0.5})
    assert VLLM_BACKEND.plan(options, Machine(memory_share=0.2)).traits["memory_fraction"] == 0.5


@pytest.mark.parametrize(
    ("backend", "config", "says"),
    [
        (
            LLAMA_SERVER_BACKEND,
            {},
            "llama-server cannot serve m, which is plain .bfloat16.: use LOCAL_LLM_BACKEND=vllm_",
        ),
        (
            TRTLLM_BACKEND,
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "which is gptq .4 bit.: use LOC",
        ),
        (TRTLLM_BACKEND, {"quantization_config": {"quant_method": "awq", "bits": 4}}, "which is awq"),
    ],
)
def test_a_model_that_the_engine_cannot_read_is_refused(
    backend: Any, config: dict[str, Any], says: str, tmp_path: Path, programs: Programs
) -> None:
    options = backend.options(model_path=checkpoint(tmp_path / "m", **config))
    with pytest.raises(BackendUnusable, match=says):
        backend.plan(options, Machine())


@pytest.mark.parametrize("backend", [VLLM_BACKEND, TRTLLM_BACKEND])
def test_a_gguf_is_sent_to_llama_server(backend: Any, small_gguf: Path, programs: Programs) -> None:
    with pytest.raises(BackendUnusable, match=r"cannot serve tiny\.gguf, which is gguf \(Q8_0\): .*llama_server"):
        backend.plan(backend.options(model_path=small_gguf), Machine())


def test_an_engine_is_not_asked_for_more_than_it_was_built_for(tmp_path: Path, programs: Programs) -> None:
    path = engine_folder(tmp_path / "e", max_batch_size=8, max_seq_len=2048, max_num_tokens=4096)
    plan = TRTLLM_BACKEND.plan(TRTLLM_BACKEND.options(model_path=path), Machine())
    assert (plan.concurrency, plan.traits["context_tokens"]) == (8, 2048)
    assert plan.load["settings"]["engine_kind"] == "tensorrt"
    assert plan.traits["quantisation"] == "trtllm_engine (FP8)"
    for asked, says in (
        (
            {"parallel": 9},
            r"built for 8 sessions at once and 9 .* LOCAL_LLM_PARALLEL=8 .* trtllm-build --max_batch_size 9",
        ),
        ({"context_tokens": 4096}, r"built for 2048 tokens a session .* LOCAL_LLM_CONTEXT=2048"),
        ({"batch_tokens": 8192}, r"built for 4096 tokens a step .* TRTLLM_SERVE_BATCH_TOKENS=4096"),
        ({"kv_cache_dtype": "fp8"}, "TRTLLM_SERVE_KV_CACHE_DTYPE is fixed in a built engine"),
        ({"eager": True}, "TRTLLM_SERVE_EAGER is fixed"),
    ):
        with pytest.raises(BackendUnusable, match=says):
            TRTLLM_BACKEND.plan(TRTLLM_BACKEND.options(model_path=path, **asked), Machine())


def test_an_engine_folder_lacks_nothing(tmp_path: Path, programs: Programs) -> None:
    path = engine_folder(tmp_path / "e", world_size=2, max_batch_size=8)
    options = TRTLLM_BACKEND.options(model_path=path)
    (path / "rank1.engine").unlink()
    with pytest.raises(BackendUnusable, match=r"has no rank1\.engine"):
        TRTLLM_BACKEND.plan(options, Machine())
    (path / "rank1.engine").touch()
    (path / "tokenizer.json").unlink()
    with pytest.raises(BackendUnusable, match="set TRTLLM_SERVE_TOKENIZER"):
        TRTLLM_BACKEND.plan(options, Machine())


def test_a_program_that_is_not_there_is_told_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(managed.importlib.util, "find_spec", lambda name: object() if name == "httpx" else None)
    for backend, install in (
        (LLAMA_SERVER_BACKEND, "LLAMA_SERVER_PATH, or run: pip install 'parley"),
        (VLLM_BACKEND, "pip install vllm"),
        (TRTLLM_BACKEND, "TensorRT-LLM container"),
    ):
        reason = backend.missing()
        assert reason is not None
        assert "on the PATH" in reason
        assert install in reason
    named = VLLM_BACKEND.options(server_path=tmp_path / "none", model_path=checkpoint(tmp_path / "m"))
    assert VLLM_BACKEND.missing(named) is None
    with pytest.raises(BackendUnusable, match=r"VLLM_SERVE_PATH: .*none is no program"):
        VLLM_BACKEND.plan(named, Machine())


def test_the_server_says_it_at_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = read_settings(Path("/nowhere"), {"LLM_MODE": "vllm-serve", "VLLM_MODEL": "owner/name"})
    with pytest.raises(StartError, match="there is no program vllm on the PATH: pip install vllm"):
        configured_service(settings, "llm", Machine())


def test_vllm_has_its_own_patience_unless_it_is_told(tmp_path: Path, programs: Programs) -> None:
    variables = {"LLM_MODE": "vllm-serve", "VLLM_MODEL": "owner/name", "VLLM_GPU_MEMORY_UTILIZATION": "0.6"}
    service = configured_service(read_settings(Path("/nowhere"), variables), "llm", Machine())
    assert service.link.spec.load_deadline_s > 900.0  # type: ignore[attr-defined]
    assert service.plan.load["settings"]["memory_fraction"] == 0.6
    assert service.plan.load["offline"] is False
    service = configured_service(
        read_settings(Path("/nowhere"), variables | {"SERVICE_TIMEOUT": "30"}), "llm", Machine()
    )
    assert 30.0 == service.plan.load["start_timeout_s"] < service.link.spec.load_deadline_s < 60.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["--host=0.0.0.0", "a b", "", "-x", "a;b"])
def test_no_option_can_become_another(value: str) -> None:
    with pytest.raises(OptionsError):
        VLLM_BACKEND.options().changed({"attention": value})
    with pytest.raises(OptionsError):
        VLLM_BACKEND.options().changed({"hub_model": value})


@pytest.mark.parametrize("field", ["server_path", "hub_model"])
def test_a_client_chooses_neither_programs_nor_what_is_fetched(field: str) -> None:
    running = Target(backend=VLLM_BACKEND, options=VLLM_BACKEND.options())
    message = SwitchModel.model_validate({"llm_backend": "vllm_serve", "llm_config": {field: "a/b"}})
    with pytest.raises(SwitchRefused, match="can be set in the environment only"):
        read_switch(
            message,
            running={"llm": running},
            chosen=lambda kind: "vllm_serve",
            configured=lambda backend: backend.options(),
            roots=None,  # type: ignore[arg-type]
        )


def test_a_real_llama_server_goes_before_the_one_in_xllamacpp(
    tmp_path: Path, small_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LLAMA_SERVER_BACKEND.options(model_path=small_gguf)
    if LLAMA_SERVER_BACKEND.missing() is None:
        program = LLAMA_SERVER_BACKEND.plan(options, Machine()).load["program"]
        assert program[0] == sys.executable or program[0].endswith("llama-server")
    (tmp_path / "llama-server").write_text("#!/bin/sh\n")
    (tmp_path / "llama-server").chmod(0o755)
    monkeypatch.setenv("PATH", in_path(tmp_path))
    plan = LLAMA_SERVER_BACKEND.plan(options, Machine())
    assert plan.load["program"] == [str(tmp_path / "llama-server")]
    assert json.loads(json.dumps(plan.load)) == plan.load
    assert plan.load["settings"]["context_tokens"] == 8 * 2048
