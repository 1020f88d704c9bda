"""The choice of layers and context always fits, wastes nothing, and never grows when memory shrinks."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_ai_server.gpu_layers import MIB, OVERHEAD_BYTES, RESERVE_BYTES, fit_gguf, kv_bytes_per_token, layers_that_fit

GIB = 1024 * MIB
SEVEN_B: dict[str, Any] = {"model_bytes": 4 * GIB, "n_layers": 32, "kv_bytes_per_token": 128 * 1024, "sessions": 4}
MODELS = st.fixed_dictionaries(
    {
        "model_bytes": st.integers(1, 80 * GIB),
        "n_layers": st.integers(1, 120),
        "kv_bytes_per_token": st.integers(0, 4 * MIB),
        "sessions": st.integers(1, 64),
        "context_tokens": st.integers(1, 40_000),
        "least_context_tokens": st.integers(1, 4096),
    }
)


@given(model=MODELS, free=st.integers(0, 100 * GIB))
def test_what_is_chosen_fits(model, free):
    plan = layers_that_fit(**model, free_bytes=free)
    least = min(model["least_context_tokens"], model["context_tokens"])
    assert 0 <= plan.gpu_layers <= model["n_layers"] + 1
    assert least <= plan.context_tokens <= model["context_tokens"]
    assert plan.gpu_bytes == 0 if plan.gpu_layers == 0 else plan.gpu_bytes + RESERVE_BYTES <= free
    weights = model["model_bytes"] * plan.gpu_layers / (model["n_layers"] + 1)
    assert plan.gpu_layers == 0 or plan.gpu_bytes >= weights


@given(model=MODELS, free=st.integers(0, 100 * GIB), more=st.integers(0, 10 * GIB))
def test_more_memory_never_gives_less(model, free, more):
    small, large = (layers_that_fit(**model, free_bytes=size) for size in (free, free + more))
    assert small.gpu_layers <= large.gpu_layers
    if small.gpu_layers == large.gpu_layers:
        assert small.context_tokens <= large.context_tokens


@given(model=MODELS, free=st.integers(0, 100 * GIB))
def test_layers_give_way_only_when_the_context_is_at_its_least(model, free):
    plan = layers_that_fit(**model, free_bytes=free)
    if 0 < plan.gpu_layers <= model["n_layers"]:
        assert plan.context_tokens == min(model["least_context_tokens"], model["context_tokens"])
        one_more = model["model_bytes"] / (model["n_layers"] + 1)
        cache = model["kv_bytes_per_token"] * model["sessions"] * plan.context_tokens / model["n_layers"]
        assert plan.gpu_bytes + RESERVE_BYTES + 1.1 * one_more + cache + MIB > free  # another would not have fitted


@pytest.mark.parametrize(
    ("free", "least", "layers", "context"),
    [
        (24 * GIB, 512, 33, 8192),  # 4 GiB of weights and 4 GiB x 4 / 4 of cache: all of it
        (7 * GIB, 512, 33, 4352),
        (5 * GIB, 512, 32, 512),
        (3 * GIB, 512, 17, 512),
        (7 * GIB, 8192, 25, 8192),  # the context was asked for: layers give way
        (OVERHEAD_BYTES, 512, 0, 8192),
        (0, 512, 0, 8192),
    ],
)
def test_a_model_of_seven_billion_weights(free, least, layers, context):
    plan = layers_that_fit(**SEVEN_B, context_tokens=8192, least_context_tokens=least, free_bytes=free)
    assert (plan.gpu_layers, plan.context_tokens) == (layers, context)


@pytest.mark.parametrize("wrong", ["model_bytes", "n_layers", "sessions", "context_tokens", "least_context_tokens"])
def test_what_is_no_model_is_refused(wrong):
    model = {**SEVEN_B, "context_tokens": 512, "least_context_tokens": 512, "free_bytes": GIB, wrong: 0}
    with pytest.raises(ValueError, match="at least 1"):
        layers_that_fit(**model)


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        # Llama 3 8B: 32 layers, 8 of 32 heads keep keys and values, 128 wide: 2 x 2 x 32 x 8 x 128
        (
            {"block_count": 32, "attention.head_count": 32, "attention.head_count_kv": 8, "embedding_length": 4096},
            131_072,
        ),
        ({"block_count": 2, "attention.head_count": 4, "embedding_length": 64}, 2 * 2 * 2 * 4 * 16),
        (
            {
                "block_count": 2,
                "attention.head_count": 4,
                "attention.head_count_kv": 2,
                "embedding_length": 64,
                "attention.key_length": 32,
                "attention.value_length": 8,
            },
            2 * 40 * 2 * 2,
        ),
    ],
)
def test_the_cache_of_a_token_by_the_files_own_figures(figures, expected):
    assert kv_bytes_per_token(figures) == expected


def test_a_file_without_the_figures_is_refused():
    with pytest.raises(KeyError, match="block_count"):
        kv_bytes_per_token({"attention.head_count": 4, "embedding_length": 64})


def gguf(path: Path, numbers: dict[str, int], weights: int) -> Path:
    """A file of version 3 with one tensor's worth of bytes behind its header."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    keys = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    for name, number in numbers.items():
        keys += text(f"llama.{name}") + struct.pack("<II", 4, number)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1 + len(numbers)) + keys + bytes(weights))
    return path


FIGURES = {"block_count": 4, "attention.head_count": 8, "attention.head_count_kv": 2, "embedding_length": 512}


def test_a_file_is_fitted_by_what_it_says(tmp_path):
    whole = gguf(tmp_path / "m.gguf", FIGURES, 50 * MIB)
    wanted = {"sessions": 2, "context_tokens": 2048, "least_context_tokens": 512}
    roomy = fit_gguf(whole, **wanted, free_bytes=4 * GIB)
    assert (roomy.gpu_layers, roomy.context_tokens) == (5, 2048)
    assert roomy.gpu_bytes == pytest.approx(
        1.08 * 50 * MIB + 2 * 2048 * (2 * 2 * 64 * 2 * 4) + OVERHEAD_BYTES, rel=0.01
    )
    part = fit_gguf(whole, **wanted, free_bytes=OVERHEAD_BYTES + RESERVE_BYTES + 30 * MIB)
    assert 0 < part.gpu_layers < 5
    assert fit_gguf(whole, **wanted, free_bytes=0).gpu_layers == 0


def test_the_parts_of_a_split_file_are_summed(tmp_path):
    first = gguf(tmp_path / "m-00001-of-00002.gguf", FIGURES, 20 * MIB)
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(bytes(30 * MIB))
    (tmp_path / "other-00002-of-00002.gguf").write_bytes(bytes(9 * MIB))
    wanted = {"sessions": 1, "context_tokens": 512, "least_context_tokens": 512, "free_bytes": 4 * GIB}
    split = fit_gguf(first, **wanted)
    whole = fit_gguf(gguf(tmp_path / "m.gguf", FIGURES, 50 * MIB), **wanted)
    assert split.gpu_bytes == pytest.approx(whole.gpu_bytes, rel=0.001)


def test_a_file_that_does_not_tell_is_not_guessed_at(tmp_path):
    silent = gguf(tmp_path / "m.gguf", {"block_count": 4}, 1000)
    wanted = {"sessions": 1, "context_tokens": 512, "least_context_tokens": 512, "free_bytes": 4 * GIB}
    assert fit_gguf(silent, **wanted) is None


@pytest.mark.models
def test_the_embedded_models_own_figures():
    from local_ai_server.catalog import find_model

    try:
        path = find_model("SmolLM2-135M-Instruct-Q8_0")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    plan = fit_gguf(path, sessions=4, context_tokens=2048, least_context_tokens=512, free_bytes=8 * GIB)
    # 30 layers; 3 of 9 heads keep keys and values, 64 wide: 23 040 bytes a token
    assert (plan.gpu_layers, plan.context_tokens) == (31, 2048)
    assert plan.gpu_bytes == pytest.approx(1.08 * path.stat().st_size + 4 * 2048 * 23_040 + OVERHEAD_BYTES, rel=0.01)
