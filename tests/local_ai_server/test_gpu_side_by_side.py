"""Engines whose native libraries collide in one process run side by side in two, and the server loads none of them.

The first test is for a machine with a CUDA device; what it proves is proven everywhere with two made libraries of one
name in `tests/model_worker/test_worker_environments.py`, and below with the engines that are installed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.backends.registry import backend
from local_ai_server.cuda_matrix import installed_build, library_environment
from local_ai_server.gpu import detect_gpu
from model_worker.link import WorkerLink
from model_worker.memory import group_pids
from model_worker.spec import WorkerSpec

HERE = str(Path(__file__).parent)
ENGINES = {"ctranslate2": "libctranslate2", "onnxruntime": "onnxruntime", "xllamacpp": "xllamacpp", "vosk": "libvosk"}
"""Module → what its library is called."""


def worker(model: str, **options) -> WorkerLink:
    return WorkerLink(WorkerSpec(model=model, load_deadline_s=90.0, **options))


def cuda_plan():
    """The LLM backend's own plan for the GPU; skips where the machine cannot run the test, and says why."""
    state = detect_gpu()
    if not state.devices:
        pytest.skip(f"no CUDA device: {state.reason}")
    for module in ("torch", "kokoro"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'parley[kokoro-torch]'")
    llama = installed_build("llama_cpp")
    if llama is None or llama.cuda_major is None:
        pytest.skip(f"{llama or 'llama_cpp'} is built without CUDA")
    chosen = backend("llm", "llama_cpp")
    try:
        return chosen, chosen.plan(chosen.options(), Machine(has_gpu=True))
    except BackendUnusable as error:
        pytest.skip(str(error))


@pytest.mark.models
async def test_pytorchs_kokoro_and_a_cuda_llama_compute_at_the_same_time():
    chosen, plan = cuda_plan()
    kokoro = worker("gpu_engines:KokoroOnGpu", env={"PYTHONPATH": HERE})
    llama = worker(
        chosen.model, settings=plan.load, canary=chosen.canary, canary_deadline_s=60.0, env=library_environment()
    )
    await asyncio.gather(kokoro.start(), llama.start())
    try:
        method, args = chosen.canary
        computing = [kokoro.request("compute", {"rounds": 200}) for _ in range(3)]
        outcomes = await asyncio.gather(*computing, *(llama.request(method, args) for _ in range(3)))
        assert all(header["finite"] for header, _ in outcomes[:3])
        assert (kokoro.stats().restarts, llama.stats().restarts) == (0, 0)
        pids = (kokoro.stats().pid, llama.stats().pid)
        held = detect_gpu().workers_mib({pid: group_pids(pid) for pid in pids})
        assert set(held) in ({*pids}, set())  # none where the driver shows the host's pids only
        assert "libtorch_cuda.so" not in (await llama_libraries(llama.stats().pid))
    finally:
        await asyncio.gather(kokoro.stop(), llama.stop())


async def llama_libraries(pid: int) -> set[str]:
    maps = await asyncio.to_thread(Path(f"/proc/{pid}/maps").read_text)
    return {Path(line.split(maxsplit=5)[-1]).name for line in maps.splitlines()}


async def test_each_installed_engine_lives_in_a_worker_without_the_others_libraries():
    installed = [module for module in ENGINES if importlib.util.find_spec(module) is not None]
    if len(installed) < 2:
        pytest.skip(f"of {', '.join(ENGINES)} two are needed; installed: {installed}")
    links = {
        module: worker("gpu_engines:NativeStack", settings={"modules": [module]}, env={"PYTHONPATH": HERE})
        for module in installed
    }
    await asyncio.gather(*(link.start() for link in links.values()))
    answers = await asyncio.gather(*(link.request("libraries") for link in links.values()))
    await asyncio.gather(*(link.stop() for link in links.values()))
    for module, (header, _) in zip(links, answers, strict=True):
        loaded = {name for name, library in ENGINES.items() if any(library in file for file in header["names"])}
        assert loaded == {module}


def test_the_server_itself_loads_no_engine():
    program = (
        "import json, sys, local_ai_server.main, local_ai_server.switchboard\n"
        "from local_ai_server.backends.registry import BACKENDS\n"
        "[known.missing() for known in BACKENDS]\n"
        "print(json.dumps([sorted(sys.modules), open('/proc/self/maps').read()]))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    modules, maps = json.loads(ran.stdout.splitlines()[-1])
    assert not {*ENGINES, "torch", "kokoro", "melo", "sherpa_onnx", "llama_cpp", "pywhispercpp", "piper"} & set(modules)
    assert not [library for library in (*ENGINES.values(), "libcuda", "libcublas", "libtorch") if library in maps]
