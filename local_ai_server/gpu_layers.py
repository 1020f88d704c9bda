"""How many layers of a GGUF go to the GPU, and how much context, so that both fit into its free memory."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local_ai_server.gguf_header import read_gguf_header

MIB: Final = 1024 * 1024
OVERHEAD_BYTES: Final = 300 * MIB
"""A CUDA context with its kernels, before any weight."""
COMPUTE_SHARE: Final = 0.08
"""Of the weights: llama.cpp's working buffers, which grow with the model's width. Checked on no device yet."""
RESERVE_BYTES: Final = 256 * MIB
"""Left free, for what else draws on the device."""
_STEP_TOKENS: Final = 256
_F16_BYTES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """What to give llama.cpp."""

    gpu_layers: int
    """`n_gpu_layers`: 0 leaves the model on the CPU; `n_layers` + 1 is all of it, the output layer included."""
    context_tokens: int
    """For each session."""
    gpu_bytes: int
    """What that will take of the device; 0 without layers on it."""


def layers_that_fit(
    *,
    model_bytes: int,
    n_layers: int,
    kv_bytes_per_token: int,
    sessions: int,
    context_tokens: int,
    least_context_tokens: int,
    free_bytes: int,
) -> LayerPlan:
    """Pure. All layers with as much of the context as fits; where even `least_context_tokens` does not, fewer layers.

    `least_context_tokens` equal to `context_tokens` (the user has set it) makes only layers give way.
    """
    if min(model_bytes, n_layers, sessions, context_tokens, least_context_tokens) < 1 or kv_bytes_per_token < 0:
        raise ValueError("a model has bytes, layers, a session and a context, each at least 1")
    room = free_bytes - RESERVE_BYTES
    all_layers = n_layers + 1
    least = min(least_context_tokens, context_tokens)

    def cost(layers: int, tokens: int) -> int:
        if not layers:
            return 0
        weights = model_bytes * layers / all_layers
        cache = kv_bytes_per_token * sessions * tokens * min(layers, n_layers) / n_layers
        return round(weights * (1 + COMPUTE_SHARE) + cache) + OVERHEAD_BYTES

    lower_steps = range((context_tokens - 1) // _STEP_TOKENS * _STEP_TOKENS, least, -_STEP_TOKENS)
    for tokens in (context_tokens, *lower_steps, least):
        if cost(all_layers, tokens) <= room:
            return LayerPlan(gpu_layers=all_layers, context_tokens=tokens, gpu_bytes=cost(all_layers, tokens))
    fitting = max((layers for layers in range(all_layers) if cost(layers, least) <= max(room, 0)), default=0)
    # What stays in main memory is not short of context: only the layers on the device share its memory.
    tokens = least if fitting else context_tokens
    return LayerPlan(gpu_layers=fitting, context_tokens=tokens, gpu_bytes=cost(fitting, tokens))


def kv_bytes_per_token(figures: Mapping[str, int]) -> int:
    """Of the key and value cache in 16 bits, all layers, by `GgufHeader.figures`. Raises `KeyError` where they lack.

    The names are the GGUF specification's (docs/gguf.md of ggml). Where layers differ the file has lists, which are not
    among the figures: every layer is then taken for one whose heads all keep keys and values.
    """
    heads = figures["attention.head_count"]
    size = figures["embedding_length"] // max(1, heads)
    width = figures.get("attention.key_length", size) + figures.get("attention.value_length", size)
    return _F16_BYTES * width * figures.get("attention.head_count_kv", heads) * figures["block_count"]


def fit_gguf(
    path: Path, *, sessions: int, context_tokens: int, least_context_tokens: int, free_bytes: int
) -> LayerPlan | None:
    """`layers_that_fit` by the file's own figures; None where it does not tell them. Raises `NotGguf` and `OSError`."""
    figures = read_gguf_header(path).figures
    try:
        cache, layers = kv_bytes_per_token(figures), figures["block_count"]
    except KeyError:
        return None
    return layers_that_fit(
        model_bytes=sum(part.stat().st_size for part in _parts(path)),
        n_layers=layers,
        kv_bytes_per_token=cache,
        sessions=sessions,
        context_tokens=context_tokens,
        least_context_tokens=least_context_tokens,
        free_bytes=free_bytes,
    )


def _parts(path: Path) -> list[Path]:
    """A large model's files are numbered; the first is the one that is named."""
    split = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", path.name)
    return sorted(path.parent.glob(f"{glob.escape(split[1])}-*-of-{split[2]}.gguf")) if split else [path]
