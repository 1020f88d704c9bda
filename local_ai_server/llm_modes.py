"""LLM_MODE: an engine and a model under one name, for those who do not choose them one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from local_ai_server.catalog import default_models_dir, find_model, load_catalog

LlmMode = Literal["llamacpp-q8", "llamacpp-q4", "vllm", "vllm-serve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadySet:
    """What is used where it is not set otherwise."""

    backend: str
    model: str | None = None
    """The catalogue's name."""
    variables: Mapping[str, str] = field(default_factory=dict)
    service_timeout_s: float | None = None


READY_SETS: Final[Mapping[LlmMode, ReadySet]] = {
    "llamacpp-q8": ReadySet(backend="llama_cpp", model="SmolLM2-135M-Instruct-Q8_0"),
    "llamacpp-q4": ReadySet(backend="llama_cpp", model="SmolLM2-135M-Instruct-Q4_1"),
    "vllm": ReadySet(
        backend="openai_compatible",
        variables={"LOCAL_LLM_API_BASE_URL": "http://127.0.0.1:8000/v1", "LOCAL_LLM_API_START_WAIT": "890"},
        service_timeout_s=900.0,  # it compiles kernels before it listens
    ),
    "vllm-serve": ReadySet(backend="vllm_serve"),
}


def variables_of(mode: LlmMode | None, given: Mapping[str, str], *, vllm_model: str | None) -> dict[str, str]:
    """What the mode sets of the backends' variables, where `given` does not."""
    if mode is None:
        return {}
    chosen = READY_SETS[mode]
    variables = dict(chosen.variables)
    if mode == "vllm" and vllm_model:
        variables["LOCAL_LLM_API_MODEL"] = vllm_model
    if chosen.model is not None and not given.keys() & {"LOCAL_LLM_MODEL_PATH", "LLAMA_MODEL"}:
        variables["LOCAL_LLM_MODEL_PATH"] = str(default_models_dir() / load_catalog().model(chosen.model).path)
    return {name: value for name, value in variables.items() if name not in given}


def check_ready_set(mode: LlmMode | None, model_path: Path | None) -> None:
    """Raises `ModelMissing`, with the command that gets it, where the model of the mode is chosen and is not there."""
    name = READY_SETS[mode].model if mode is not None else None
    if name is not None and model_path == default_models_dir() / load_catalog().model(name).path:
        find_model(name)
