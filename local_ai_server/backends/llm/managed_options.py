"""The settings of the engines that are started here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from local_ai_server.backends.options import BackendOptions, Threads, Word, cores, variable

OWN_DEADLINE_S: Final = 900.0
"""vLLM and TensorRT-LLM compile kernels before they listen."""
EngineWord = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$")]
"""Goes onto a command line."""
Fraction = Annotated[float, Field(gt=0, le=1)]
Port = Annotated[int, Field(ge=0, le=65535)]


class LlamaServerOptions(BackendOptions):
    """How llama-server is started."""

    model_path: Path | None = variable("LOCAL_LLM_MODEL_PATH", "LLAMA_MODEL")
    server_path: Path | None = variable("LLAMA_SERVER_PATH")
    """The program; llama-server on the PATH, else the one that xllamacpp brings, where it is not set."""
    port: Port = variable("LLAMA_SERVER_PORT", default=0)
    """Of 127.0.0.1; 0 takes a free one."""
    context_tokens: int = variable("LOCAL_LLM_CONTEXT", "LLAMA_CTX_SIZE", default=2048, ge=256, le=1 << 20)
    """For each session."""
    parallel: int = variable("LOCAL_LLM_PARALLEL", "LLAMA_PARALLEL", default=8, ge=1, le=64)
    """Sessions at once, each with a slot of its own."""
    threads: Threads = variable("LOCAL_LLM_THREADS", default=max(1, cores() // 2))
    batch_threads: Threads = variable("LOCAL_LLM_BATCH_THREADS", default=cores())
    gpu_layers: int = variable("LOCAL_LLM_GPU_LAYERS", default=-1, ge=-1)
    """-1 puts all layers on the GPU where there is one."""
    batch_tokens: int | None = variable("LLAMA_SERVER_BATCH_TOKENS", ge=32, le=1 << 16)
    """Of prompts, read at once; while a batch is read the other sessions stand still."""
    kv_cache_dtype: (
        Annotated[Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"], Word] | None
    ) = variable("LLAMA_SERVER_KV_CACHE_DTYPE")
    """How prompts are kept; f16 where it is not set. Anything smaller than f16 needs attention on or auto."""
    attention: Annotated[Literal["on", "off", "auto"], Word] | None = variable("LLAMA_SERVER_ATTENTION")
    """Flash attention."""
    first_token_s: float = variable("LOCAL_LLM_API_TIMEOUT", default=20.0, gt=0)
    """Longest silence before the first token, and between two."""
    thinking: bool = variable("LOCAL_LLM_API_THINKING", default=False)
    start_timeout_s: float = variable("SERVICE_TIMEOUT", default=60.0, gt=0)
    """For it to load its model."""


class VllmServeOptions(BackendOptions):
    """How `vllm serve` is started."""

    model_path: Path | None = variable("LOCAL_LLM_MODEL_PATH")
    """A model's folder."""
    hub_model: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = variable("VLLM_MODEL")
    """Instead of a folder: a model of the hub, as owner/name. vLLM gets it there by itself."""
    server_path: Path | None = variable("VLLM_SERVE_PATH")
    """The program; vllm on the PATH where it is not set."""
    port: Port = variable("VLLM_SERVE_PORT", default=0)
    """Of 127.0.0.1; 0 takes a free one."""
    context_tokens: int = variable("LOCAL_LLM_CONTEXT", default=4096, ge=256, le=1 << 20)
    """For each session."""
    parallel: int = variable("LOCAL_LLM_PARALLEL", default=16, ge=1, le=1024)
    """Sequences at once."""
    batch_tokens: int | None = variable("VLLM_SERVE_BATCH_TOKENS", ge=64, le=1 << 20)
    """Of all sequences in one step; vLLM chooses where it is not set."""
    memory_fraction: Fraction | None = variable("VLLM_GPU_MEMORY_UTILIZATION")
    """Of the GPU's whole memory; 0.9, or with two models 0.7 for chat and 0.2 for tools, where it is not set."""
    kv_cache_dtype: EngineWord | None = variable("VLLM_SERVE_KV_CACHE_DTYPE")
    """auto, fp8, fp8_e4m3, …"""
    attention: EngineWord | None = variable("VLLM_SERVE_ATTENTION_BACKEND")
    """FLASH_ATTN, FLASHINFER, …; vLLM chooses where it is not set."""
    eager: bool = variable("VLLM_SERVE_EAGER", default=False)
    """No CUDA graphs: starts sooner, answers slower."""
    cache_reset_s: float = variable("VLLM_SERVE_CACHE_RESET", default=0.0, ge=0)
    """Seconds after which its prefix cache is emptied, again and again, when nothing runs; 0: never."""
    first_token_s: float = variable("LOCAL_LLM_API_TIMEOUT", default=20.0, gt=0)
    """Longest silence before the first token, and between two."""
    thinking: bool = variable("LOCAL_LLM_API_THINKING", default=False)
    start_timeout_s: float = variable("SERVICE_TIMEOUT", default=OWN_DEADLINE_S, gt=0)
    """For it to load its model."""


class TrtllmServeOptions(BackendOptions):
    """How `trtllm-serve` is started."""

    model_path: Path | None = variable("LOCAL_LLM_MODEL_PATH")
    """A built engine's folder, or that of a checkpoint."""
    tokenizer: Path | None = variable("TRTLLM_SERVE_TOKENIZER")
    """The folder with the tokenizer; the model's own where it is not set."""
    server_path: Path | None = variable("TRTLLM_SERVE_PATH")
    """The program; trtllm-serve on the PATH where it is not set."""
    port: Port = variable("TRTLLM_SERVE_PORT", default=0)
    """Of 127.0.0.1; 0 takes a free one."""
    context_tokens: int | None = variable("LOCAL_LLM_CONTEXT", ge=256, le=1 << 20)
    """For each session; 4096, or what the engine was built for if that is less, where it is not set."""
    parallel: int | None = variable("LOCAL_LLM_PARALLEL", ge=1, le=1024)
    """Sessions at once; 16, or what the engine was built for if that is less, where it is not set."""
    batch_tokens: int | None = variable("TRTLLM_SERVE_BATCH_TOKENS", ge=64, le=1 << 20)
    """Of all sessions in one step."""
    memory_fraction: Fraction | None = variable("TRTLLM_SERVE_MEMORY_FRACTION")
    """Of the GPU's memory that the weights leave free, for prompts; as VLLM_GPU_MEMORY_UTILIZATION where not set."""
    kv_cache_dtype: EngineWord | None = variable("TRTLLM_SERVE_KV_CACHE_DTYPE")
    """auto, fp8, nvfp4. Of checkpoints only: an engine is built for one."""
    attention: EngineWord | None = variable("TRTLLM_SERVE_ATTENTION_BACKEND")
    """TRTLLM, FLASHINFER, VANILLA. Of checkpoints only."""
    eager: bool = variable("TRTLLM_SERVE_EAGER", default=False)
    """No CUDA graphs. Of checkpoints only."""
    first_token_s: float = variable("LOCAL_LLM_API_TIMEOUT", default=20.0, gt=0)
    """Longest silence before the first token, and between two."""
    thinking: bool = variable("LOCAL_LLM_API_THINKING", default=False)
    start_timeout_s: float = variable("SERVICE_TIMEOUT", default=OWN_DEADLINE_S, gt=0)
    """For it to load its model."""
