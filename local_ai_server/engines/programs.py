"""The engines that are started here, as data: their command lines, and what of a model's files they can serve.

llama-server   tools/server/README.md of llama.cpp
vllm serve     docs.vllm.ai, "Engine Arguments" and "Attention Backend Feature Support"
trtllm-serve   tensorrt_llm/commands/serve.py; what it takes from a YAML file only: TorchLlmArgs in llm_args.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from local_ai_server.quantisation import Form


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProgram:
    """One engine."""

    name: str
    """For messages."""
    executable: str
    """Looked for on the PATH."""
    subcommand: tuple[str, ...] = ()
    model_flag: str | None = None
    """None: the model is the argument after the subcommand."""
    flags: Mapping[str, str]
    """Setting → its flag. A setting that is True is a flag alone; one that is None or False is left out."""
    fixed: tuple[str, ...] = ()
    file_flag: str | None = None
    """Names the file of settings that have no flag."""
    file_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Setting → its place in that file (JSON, which is YAML). True stands there as null, which switches a thing off."""
    env: Mapping[str, str] = field(default_factory=dict)
    key_variable: str | None = None
    """The environment variable that it takes its API key from; None: it knows no key."""
    ready_path: str = "/health"
    reset_path: str | None = None
    """POST empties its prefix cache; None: it cannot be asked to."""
    reset_env: Mapping[str, str] = field(default_factory=dict)
    """Without which `reset_path` is not there."""
    serves: frozenset[Form]
    """Of quantised models."""
    advice: str
    """What to do with a model that it does not serve."""
    install: str
    """How one gets it."""

    def command(self, program: tuple[str, ...], model: str, settings: Mapping[str, Any]) -> list[str]:
        """argv. What `file_keys` names is left out. Raises `KeyError` for a setting that it does not have."""
        words = [*program, *self.subcommand]
        words += [self.model_flag, model] if self.model_flag else [model]
        for name, value in settings.items():
            if value is None or value is False or (name in self.file_keys and name not in self.flags):
                continue
            words += [self.flags[name]] if value is True else [self.flags[name], str(value)]
        return [*words, *self.fixed]

    def file(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the settings file holds; None where nothing is for it."""
        given = {name: value for name, value in settings.items() if name in self.file_keys and value}
        if not set(given) - set(self.flags):
            return None
        content: dict[str, Any] = {}
        for name, value in given.items():
            *above, last = self.file_keys[name]
            place = content
            for key in above:
                place = place.setdefault(key, {})
            place[last] = None if value is True else value
        return content


LLAMA_SERVER: Final = EngineProgram(
    name="llama-server",
    executable="llama-server",
    model_flag="--model",
    flags={
        "host": "--host",
        "port": "--port",
        "served_as": "--alias",
        "context_tokens": "--ctx-size",
        "parallel": "--parallel",
        "threads": "--threads",
        "batch_threads": "--threads-batch",
        "gpu_layers": "--n-gpu-layers",
        "batch_tokens": "--batch-size",
        "kv_cache_dtype": "--cache-type-k",
        "v_cache_dtype": "--cache-type-v",
        "attention": "--flash-attn",
    },
    fixed=("--jinja", "--no-webui", "--no-slots"),
    key_variable="LLAMA_API_KEY",
    serves=frozenset({"gguf"}),
    advice="use LOCAL_LLM_BACKEND=vllm_serve for it, or take the model's GGUF",
    install="build or install llama.cpp so that llama-server is on the PATH, name it with LLAMA_SERVER_PATH, or run: "
    "pip install 'parley[llama]'",
)
VLLM: Final = EngineProgram(
    name="vllm serve",
    executable="vllm",
    subcommand=("serve",),
    flags={
        "host": "--host",
        "port": "--port",
        "served_as": "--served-model-name",
        "context_tokens": "--max-model-len",
        "parallel": "--max-num-seqs",
        "batch_tokens": "--max-num-batched-tokens",
        "memory_fraction": "--gpu-memory-utilization",
        "kv_cache_dtype": "--kv-cache-dtype",
        "attention": "--attention-backend",
        "eager": "--enforce-eager",
    },
    env={"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
    key_variable="VLLM_API_KEY",
    reset_path="/reset_prefix_cache",
    reset_env={"VLLM_SERVER_DEV_MODE": "1"},
    serves=frozenset({"plain", "awq", "gptq", "w4a16", "nvfp4", "fp8", "int8", "mixed", "other"}),
    advice="use LOCAL_LLM_BACKEND=llama_server for a GGUF and trtllm_serve for a TensorRT-LLM engine",
    install="pip install vllm (its own virtual environment is best; name its program with VLLM_SERVE_PATH)",
)
TRTLLM: Final = EngineProgram(
    name="trtllm-serve",
    executable="trtllm-serve",
    flags={
        "host": "--host",
        "port": "--port",
        "tokenizer": "--tokenizer",
        "engine_kind": "--backend",
        "context_tokens": "--max_seq_len",
        "parallel": "--max_batch_size",
        "batch_tokens": "--max_num_tokens",
        "memory_fraction": "--kv_cache_free_gpu_memory_fraction",
    },
    file_flag="--extra_llm_api_options",
    file_keys={
        "kv_cache_dtype": ("kv_cache_config", "dtype"),
        "memory_fraction": ("kv_cache_config", "free_gpu_memory_fraction"),  # else the file's default would win
        "attention": ("attn_backend",),
        "eager": ("cuda_graph_config",),
    },
    env={"TRTLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
    serves=frozenset({"plain", "nvfp4", "fp8", "trtllm_engine", "modelopt"}),
    advice="use LOCAL_LLM_BACKEND=vllm_serve for AWQ, GPTQ and compressed-tensors, and llama_server for a GGUF; "
    "trtllm-serve takes plain checkpoints, FP8, those of NVIDIA's Model Optimizer, and engines",
    install="use NVIDIA's TensorRT-LLM container, or its Python package, so that trtllm-serve is on the PATH; or name "
    "it with TRTLLM_SERVE_PATH",
)
