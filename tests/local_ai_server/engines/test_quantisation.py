"""What the files of a model say of its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine_fixtures import checkpoint, engine_folder, gguf_bytes

from local_ai_server.catalog import find_model
from local_ai_server.quantisation import UnknownModelFiles, main, recognise


def group(weights: dict[str, Any], activations: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"targets": ["Linear"], "weights": weights, "input_activations": activations}


def compressed(*groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {f"group_{i}": each for i, each in enumerate(groups)},
        **more,
    }


INT4 = {"num_bits": 4, "type": "int", "group_size": 128}
INT8 = {"num_bits": 8, "type": "int"}
FLOAT8 = {"num_bits": 8, "type": "float"}
FLOAT4 = {"num_bits": 4, "type": "float", "group_size": 16}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, "awq (4 bit, groups of 128)"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True}, "gptq (4 bit, groups of 32)"),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq (8 bit, each channel)"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8 (blocks of [128, 128])"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4 (NVFP4)"),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}}, "fp8 (FP8)"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "other (bitsandbytes)"),
        (compressed(group(INT4)), "w4a16 (W4A16 int)"),
        (compressed(group(INT8, INT8)), "int8 (W8A8 int)"),
        (compressed(group(INT8)), "int8 (W8A16 int)"),
        (compressed(group(FLOAT8, FLOAT8)), "fp8 (W8A8 float)"),
        (compressed(group(FLOAT4, FLOAT4), format="nvfp4-pack-quantized"), "nvfp4 (W4A4 float)"),
        (compressed(group(INT4), group(FLOAT8, FLOAT8)), "mixed (W4A16 int, W8A8 float)"),
        (compressed(), "other (compressed-tensors without a group)"),
        ("nonsense", "plain (bfloat16)"),
    ],
)
def test_config_json_tells_it(settings: Any, expected: str, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "Model-GGUF-FP16", quantization_config=settings)  # the name lies
    assert str(recognise(model)) == expected
    if isinstance(settings, dict):
        assert str(recognise(checkpoint(tmp_path / "a", text_config={"quantization_config": settings}))) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("hf_quant_config.json", {"quantization": {"quant_algo": "NVFP4"}}, "nvfp4 (NVFP4)"),
        (
            "hf_quant_config.json",
            {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}},
            "fp8 (FP8, cache FP8)",
        ),
        ("hf_quant_config.json", {"quantization": {"quant_algo": "W4A16_AWQ"}}, "modelopt (W4A16_AWQ)"),
        ("hf_quant_config.json", {"quantization": {"quant_algo": None}}, "plain (not quantised)"),
        ("hf_quant_config.json", {"quantization": {"quant_algo": "MIXED_PRECISION"}}, "mixed (MIXED_PRECISION)"),
        ("quantize_config.json", {"bits": 4, "group_size": 128}, "gptq (4 bit, groups of 128)"),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 128, "version": "GEMM"}, "awq (4 bit, groups of 128)"),
    ],
)
def test_so_do_other_files(name: str, content: Any, expected: str, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "m")
    (model / name).write_text(json.dumps(content))
    found = recognise(model)
    assert (str(found), found.source) == (expected, name)


@pytest.mark.parametrize(
    ("kind", "name"), [(7, "Q8_0"), (15, "Q4_K_M"), (30, "IQ4_XS"), (39, "NVFP4"), (999, "unknown kind")]
)
def test_a_gguf_is_known_by_its_header_whatever_its_name(kind: int, name: str, tmp_path: Path) -> None:
    file = tmp_path / "model-awq.safetensors"
    file.write_bytes(gguf_bytes(kind))
    assert str(recognise(file)) == f"gguf ({name})"
    file.rename(tmp_path / "other.gguf")
    assert recognise(tmp_path).source == "other.gguf"


def test_an_engine_is_known_by_its_build(tmp_path: Path) -> None:
    assert str(recognise(engine_folder(tmp_path / "e", max_batch_size=1))) == "trtllm_engine (FP8)"


@pytest.mark.parametrize("content", ["{", "[]", '"x"', "[" * 100_000, " " * (5 << 20)])
def test_a_damaged_config_is_told(content: str, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "m")
    (model / "config.json").write_text(content)
    with pytest.raises(UnknownModelFiles, match=r"config\.json .*download the model again"):
        recognise(model)


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    (tmp_path / "x.txt").write_bytes(b"hello")
    for path in (tmp_path / "none", tmp_path / "x.gguf", tmp_path / "x.txt"):
        with pytest.raises(UnknownModelFiles):
            recognise(path)


def test_the_command_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf_bytes(15))
    assert main(["tell", str(tmp_path / "m.gguf")]) == 0
    assert capsys.readouterr().out == "gguf (Q4_K_M), says m.gguf\n"
    assert main(["tell", str(tmp_path / "none")]) == 1
    assert "there is no model at" in capsys.readouterr().err


def test_the_command_requantises_no_rubbish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert main(["requantise", str(tmp_path / "m.gguf"), str(tmp_path / "out.gguf")]) == 1
    assert "cut short" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["m.gguf"]
    assert main(["requantise", str(tmp_path / "m.gguf"), str(tmp_path / "m.gguf")]) == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.models
def test_the_command_requantises_the_embedded_model(tmp_path: Path) -> None:
    source = find_model("SmolLM2-135M-Instruct-Q4_1")
    assert str(recognise(source)) == "gguf (Q4_1)"
    target = tmp_path / "out.gguf"
    assert main(["requantise", str(source), str(target)]) == 0
    assert str(recognise(target)) == "gguf (Q8_0)"
