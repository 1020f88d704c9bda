"""Engines that are started here and asked over HTTP: llama-server, `vllm serve`, `trtllm-serve`.

What a model's files are is looked at before anything is started: an engine that loads for minutes only to say that it
cannot read them is no answer. One that runs already is asked by `openai_compatible`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.llm.chat_request import CANARY
from local_ai_server.backends.llm.managed_options import LlamaServerOptions, TrtllmServeOptions, VllmServeOptions
from local_ai_server.backends.options import BackendOptions
from local_ai_server.engines.build_metadata import BuildLimits, BuildMismatch, check_build, read_build_limits
from local_ai_server.engines.programs import LLAMA_SERVER, TRTLLM, VLLM, EngineProgram
from local_ai_server.quantisation import Quantisation, UnknownModelFiles, recognise

_MODEL: Final = "local_ai_server.backends.llm.managed_model:ManagedEngineModel"
_BY_XLLAMACPP: Final = (sys.executable, "-P", "-m", "local_ai_server.engines.llama_server")
_DEADLINE_MARGIN_S: Final = 20.0
"""In which the worker starts, and stops an engine that takes too long: its parent waits for the engine's last lines."""
_CONTEXT_TOKENS: Final = 4096
_SESSIONS: Final = 16
_CLIENT_BYTES: Final = 100 << 20
_Options = LlamaServerOptions | VllmServeOptions | TrtllmServeOptions


def _llama_server(options: LlamaServerOptions, machine: Machine) -> Plan:
    path = LLAMA_SERVER_BACKEND.model_file(options)
    quantisation = _served(LLAMA_SERVER, path)
    settings = {
        "context_tokens": options.context_tokens * options.parallel,  # it is split over the slots
        "parallel": options.parallel,
        "threads": options.threads,
        "batch_threads": options.batch_threads,
        "gpu_layers": (999 if options.gpu_layers < 0 else options.gpu_layers) if machine.has_gpu else 0,
        "batch_tokens": options.batch_tokens,
        "kv_cache_dtype": options.kv_cache_dtype,
        "v_cache_dtype": options.kv_cache_dtype,
        "attention": options.attention,
    }
    return _plan(
        LLAMA_SERVER,
        options,
        path=path,
        settings=settings,
        quantisation=quantisation,
        context_tokens=options.context_tokens,
        parallel=options.parallel,
        memory_bytes=None,  # estimated from its files
    )


def _on_gpu(options: VllmServeOptions | TrtllmServeOptions, machine: Machine) -> dict[str, Any]:
    """Settings that both engines have."""
    return {
        "batch_tokens": options.batch_tokens,
        "memory_fraction": options.memory_fraction or machine.memory_share,
        "kv_cache_dtype": options.kv_cache_dtype,
        "attention": options.attention,
        "eager": options.eager,
    }


def _vllm_serve(options: VllmServeOptions, machine: Machine) -> Plan:
    if options.hub_model is not None and options.model_path is None:
        path, quantisation = None, None
    elif options.model_path is not None:
        path = VLLM_BACKEND.model_file(options)
        quantisation = _served(VLLM, path)
    else:
        raise BackendUnusable(
            "vllm_serve needs a model: set LOCAL_LLM_MODEL_PATH to its folder, or VLLM_MODEL to owner/name"
        )
    settings = {
        "context_tokens": options.context_tokens,
        "parallel": options.parallel,
        **_on_gpu(options, machine),
    }
    return _plan(
        VLLM,
        options,
        path=path,
        settings=settings,
        quantisation=quantisation,
        context_tokens=options.context_tokens,
        parallel=options.parallel,
        cache_reset_s=options.cache_reset_s,
    )


def _trtllm_serve(options: TrtllmServeOptions, machine: Machine) -> Plan:
    path = TRTLLM_BACKEND.model_file(options)
    quantisation = _served(TRTLLM, path)
    built = quantisation.form == "trtllm_engine"
    limits = _limits_of(path) if built else None
    context_tokens = options.context_tokens or _at_most(_CONTEXT_TOKENS, limits.max_seq_len if limits else None)
    parallel = options.parallel or _at_most(_SESSIONS, limits.max_batch_size if limits else None)
    if limits is not None:
        _check_engine(options, limits, context_tokens=context_tokens, parallel=parallel)
    tokenizer = options.tokenizer.expanduser().resolve() if options.tokenizer else path
    if not any((tokenizer / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise BackendUnusable(f"there is no tokenizer in {tokenizer}: set TRTLLM_SERVE_TOKENIZER to the folder with it")
    settings = {
        "tokenizer": str(tokenizer) if options.tokenizer else None,
        "engine_kind": "tensorrt" if built else "pytorch",
        "context_tokens": context_tokens,
        "parallel": parallel,
        **_on_gpu(options, machine),
    }
    return _plan(
        TRTLLM,
        options,
        path=path,
        settings=settings,
        quantisation=quantisation,
        context_tokens=context_tokens,
        parallel=parallel,
        built_for=limits,
    )


def _plan(
    engine: EngineProgram,
    options: _Options,
    *,
    path: Path | None,
    settings: Mapping[str, Any],
    quantisation: Quantisation | None,
    context_tokens: int,
    parallel: int,
    memory_bytes: int | None = _CLIENT_BYTES,
    cache_reset_s: float = 0.0,
    built_for: BuildLimits | None = None,
) -> Plan:
    load = {
        "engine": engine.name,
        "program": list(_program(engine, options)),
        "model": str(path or getattr(options, "hub_model", None)),
        "offline": path is not None,
        "port": options.port,
        "port_variable": type(options).variables()["port"][0],
        "settings": dict(settings),
        "own_variables": sorted(name for names in type(options).variables().values() for name in names),
        "context_tokens": context_tokens,
        "first_token_s": options.first_token_s,
        "start_timeout_s": options.start_timeout_s,
        "cache_reset_s": cache_reset_s,
        "thinking": options.thinking,
    }
    traits: dict[str, Any] = {
        "engine": engine.name,
        "quantisation": str(quantisation) if quantisation else None,
        "context_tokens": context_tokens,
        "parallel": parallel,
        "object_schemas_only": True,
        "memory_fraction": settings.get("memory_fraction"),
    }
    if built_for is not None:
        traits["built_for"] = {"max_batch_size": built_for.max_batch_size, "max_seq_len": built_for.max_seq_len}
    return Plan(
        load=load,
        model_path=path,
        concurrency=parallel,
        traits={name: value for name, value in traits.items() if value is not None},
        memory_bytes=memory_bytes,
        load_deadline_s=options.start_timeout_s + _DEADLINE_MARGIN_S,
    )


def _served(engine: EngineProgram, path: Path) -> Quantisation:
    """What the model's files are, if the engine can serve that."""
    try:
        found = recognise(path)
    except (UnknownModelFiles, OSError) as error:
        raise BackendUnusable(f"{engine.name}: {error}") from None
    if found.form not in engine.serves:
        raise BackendUnusable(f"{engine.name} cannot serve {path.name}, which is {found}: {engine.advice}")
    return found


def _limits_of(path: Path) -> BuildLimits:
    try:
        return read_build_limits(path)
    except (BuildMismatch, OSError) as error:
        raise BackendUnusable(str(error)) from None


def _check_engine(options: TrtllmServeOptions, limits: BuildLimits, *, context_tokens: int, parallel: int) -> None:
    try:
        check_build(limits, sessions=parallel, context_tokens=context_tokens, batch_tokens=options.batch_tokens)
    except BuildMismatch as error:
        raise BackendUnusable(str(error)) from None
    for name, value in (
        ("TRTLLM_SERVE_KV_CACHE_DTYPE", options.kv_cache_dtype),
        ("TRTLLM_SERVE_ATTENTION_BACKEND", options.attention),
        ("TRTLLM_SERVE_EAGER", options.eager),
    ):
        if value:
            raise BackendUnusable(f"{name} is fixed in a built engine: leave it out, or name a checkpoint's folder")


def _at_most(wanted: int, limit: int | None) -> int:
    return wanted if limit is None else min(wanted, limit)


def _program(engine: EngineProgram, options: BackendOptions) -> tuple[str, ...]:
    """How the engine is run. Raises `BackendUnusable`."""
    chosen: Path | None = getattr(options, "server_path", None)
    if chosen is not None:
        if not (chosen := chosen.expanduser().absolute()).is_file() or not os.access(chosen, os.X_OK):
            raise BackendUnusable(f"{type(options).variables()['server_path'][0]}: {chosen} is no program")
        return (str(chosen),)
    if reason := _missing(engine):
        raise BackendUnusable(reason)
    found = shutil.which(engine.executable)
    return (found,) if found else _BY_XLLAMACPP


def _missing(engine: EngineProgram) -> str | None:
    if shutil.which(engine.executable):
        return None
    if engine is LLAMA_SERVER and importlib.util.find_spec("xllamacpp") is not None:
        return None
    return f"there is no program {engine.executable} on the PATH: {engine.install}"


def _look(engine: EngineProgram, options: BackendOptions | None) -> str | None:
    """Why it cannot run; where options name a program, that is for the plan to look at."""
    return None if getattr(options, "server_path", None) is not None else _missing(engine)


def _backend(
    name: str,
    engine: EngineProgram,
    options: type[BackendOptions],
    plan: Callable[[Any, Machine], Plan],
    *,
    default_model: str | None = None,
) -> Backend:
    """One engine that is started and watched."""
    return Backend(
        kind="llm",
        name=name,
        model=_MODEL,
        options=options,
        plan=plan,
        modules=("httpx",),
        extra="server",
        default_model=default_model,
        canary=CANARY,
        check_options=lambda options: _look(engine, options),
    )


LLAMA_SERVER_BACKEND: Final[Backend] = _backend(
    "llama_server", LLAMA_SERVER, LlamaServerOptions, _llama_server, default_model="SmolLM2-135M-Instruct-Q8_0"
)
VLLM_BACKEND: Final[Backend] = _backend("vllm_serve", VLLM, VllmServeOptions, _vllm_serve)
TRTLLM_BACKEND: Final[Backend] = _backend("trtllm_serve", TRTLLM, TrtllmServeOptions, _trtllm_serve)
