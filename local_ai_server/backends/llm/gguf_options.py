"""The options of the bindings that run a GGUF in this machine's memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.llm.choose_prompt_form import choose_prompt_form
from local_ai_server.backends.options import BackendOptions, Threads, Word, cores, variable
from local_ai_server.gguf_header import NotGguf, read_gguf_header
from local_ai_server.gpu_layers import LayerPlan, fit_gguf, kv_bytes_per_token

_CONTEXT_CPU = 768
_CONTEXT_GPU = 2048
_PROCESS_BYTES = 150 << 20
"""Interpreter, native libraries and working buffers: SmolLM2 with 8 sessions of 768 tokens was measured at 359 MiB."""
_LEAST_CONTEXT = 512
"""A GPU's memory may cut the context to this before layers are left to the CPU."""


class Options(BackendOptions):
    """How a GGUF is run."""

    model_path: Path | None = variable("LOCAL_LLM_MODEL_PATH", "LLAMA_MODEL")
    context_tokens: int | None = variable("LOCAL_LLM_CONTEXT", "LLAMA_CTX_SIZE", ge=256, le=1 << 20)
    """For each session; 768 without a GPU, 2048 with one, where it is not set."""
    parallel: int = variable("LOCAL_LLM_PARALLEL", "LLAMA_PARALLEL", default=8, ge=1, le=64)
    """Sessions whose prompts are kept at once. With more than that in talk each answer reads its prompt anew, which
    costs more than all else: 8 sessions on 4 slots made a quarter of the tokens that they made on 8."""
    threads: Threads = variable("LOCAL_LLM_THREADS", default=max(1, cores() // 2))
    """For making tokens. On all cores a busy neighbour makes it three times slower, on half of them hardly at all."""
    batch_threads: Threads = variable("LOCAL_LLM_BATCH_THREADS", default=cores())
    """For reading prompts. Measured on two cores, ms a token beside 0, 1 and 2 busy neighbours: one thread 3.4, 3.8 and
    7 to 10; two threads that sleep while they wait (as workers are set up) 2.1, 3.7 and 5.0."""
    gpu_layers: int = variable("LOCAL_LLM_GPU_LAYERS", default=-1, ge=-1)
    """-1 puts all layers on the GPU where there is one."""
    prompt_form: Annotated[Literal["auto", "chat", "transcript"], Word] = variable(
        "LOCAL_LLM_PROMPT_FORM", default="auto"
    )
    """How messages are put to the model (`prompt_forms`); auto: as was measured to be better for it."""


def plan(backend: Backend, options: Options, machine: Machine) -> Plan:
    """`parallel` sessions at once, each with its own context."""
    path = backend.model_file(options)
    context_tokens = options.context_tokens or (_CONTEXT_GPU if machine.has_gpu else _CONTEXT_CPU)
    gpu_layers = options.gpu_layers if machine.has_gpu else 0
    if gpu_layers < 0 and machine.gpu_free_bytes is not None:
        fitted = _fitted(path, options, context_tokens, machine.gpu_free_bytes)
        if fitted is not None:
            gpu_layers, context_tokens = fitted.gpu_layers, fitted.context_tokens
    prompt_form = choose_prompt_form(path) if options.prompt_form == "auto" else options.prompt_form
    load = {
        "model_path": str(path),
        "context_tokens": context_tokens,
        "parallel": options.parallel,
        "threads": options.threads,
        "batch_threads": options.batch_threads,
        "gpu_layers": gpu_layers,
        "prompt_form": prompt_form,
    }
    traits: dict[str, Any] = {
        "context_tokens": context_tokens,
        "parallel": options.parallel,
        "prompt_form": prompt_form,
        "gpu_layers": gpu_layers,
    }
    return Plan(
        load=load,
        model_path=path,
        concurrency=options.parallel,
        threads=options.threads,
        traits=traits,
        memory_bytes=_memory_bytes(path, options.parallel * context_tokens),
    )


def _memory_bytes(path: Path, tokens: int) -> int | None:
    """Weights, the cache of all sessions and the process; None where the file does not tell enough."""
    try:
        cache = kv_bytes_per_token(read_gguf_header(path).figures)
    except (KeyError, NotGguf, OSError):
        return None
    return path.stat().st_size + cache * tokens + _PROCESS_BYTES


def _fitted(path: Path, options: Options, context_tokens: int, free_bytes: int) -> LayerPlan | None:
    """What of the model and its context fits into the GPU; None where its file does not tell. A set context stays."""
    least = options.context_tokens or min(_LEAST_CONTEXT, context_tokens)
    try:
        return fit_gguf(
            path,
            sessions=options.parallel,
            context_tokens=context_tokens,
            least_context_tokens=least,
            free_bytes=free_bytes,
        )
    except NotGguf as error:
        raise BackendUnusable(f"{path} is not a GGUF that can be read: {error}") from None
