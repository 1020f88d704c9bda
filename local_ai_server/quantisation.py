"""How a model's weights are stored, told from its files: GGUF kinds, AWQ, GPTQ, compressed-tensors, Model Optimizer …

    python -m local_ai_server.quantisation tell MODEL            what the files say
    python -m local_ai_server.quantisation requantise IN OUT     a GGUF in Q4_1 rewritten as Q8_0

Names are not looked at: a folder's name promises what its maker liked.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from local_ai_server.gguf_header import NotGguf, read_gguf_header
from local_ai_server.gguf_requantise import NotRequantisable, requantise_q8_0

Form = Literal[
    "gguf", "plain", "awq", "gptq", "w4a16", "nvfp4", "fp8", "int8", "modelopt", "mixed", "other", "trtllm_engine"
]
_GGUF_MAGIC: Final = b"GGUF"
_MOST_JSON_BYTES: Final = 4 * 1024 * 1024
_OLD_FILES: Final = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Of early AutoGPTQ and AutoAWQ, beside a config.json that tells nothing."""
_WEIGHTS: Final = ("*.safetensors", "pytorch_model*.bin", "consolidated*.pth")


class UnknownModelFiles(ValueError):
    """The path holds no language model, or one whose files are damaged; the message says which."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """What was found."""

    form: Form
    """`plain`: not quantised; `mixed`: several forms in one model; `modelopt`: of NVIDIA's Model Optimizer."""
    detail: str
    """In the maker's own words: `Q4_K_M`, `W4A16_AWQ`, `4 bit, groups of 128`."""
    source: str
    """The file that says so."""

    def __str__(self) -> str:
        return f"{self.form} ({self.detail})" if self.detail else self.form


def recognise(path: Path) -> Quantisation:
    """The form of the model at `path`, a GGUF file or a folder. Raises `UnknownModelFiles` and `OSError`."""
    if path.is_file():
        return _gguf(path)
    if not path.is_dir():
        raise UnknownModelFiles(f"there is no model at {path}")
    config = _json(path / "config.json")
    if config is not None and "build_config" in config:
        return _engine(config)
    optimizer = _json(path / "hf_quant_config.json")
    if optimizer is not None:
        return _model_optimizer(_part(optimizer, "quantization"), "hf_quant_config.json")
    if config is not None:
        # "compression_config" is what compressed-tensors called it first; of multimodal models it is one level down.
        for holder in (config, _part(config, "text_config")):
            for key in ("quantization_config", "compression_config"):
                if found := _part(holder, key):
                    return _hugging_face(found)
    for name, method in _OLD_FILES.items():
        old = _json(path / name)
        if old is not None:
            return _hugging_face({"quant_method": method, "bits": old.get("w_bit"), **old}, name)
    if config is not None and any(any(path.glob(pattern)) for pattern in _WEIGHTS):
        return Quantisation("plain", str(config.get("torch_dtype") or config.get("dtype") or ""), "config.json")
    if files := sorted(path.glob("*.gguf")):
        return _gguf(files[0])
    raise UnknownModelFiles(
        f"{path} is no model's folder: there is no config.json with weights (*.safetensors) beside it, and no *.gguf"
    )


def _gguf(path: Path) -> Quantisation:
    with path.open("rb") as file:
        if file.read(len(_GGUF_MAGIC)) != _GGUF_MAGIC:
            raise UnknownModelFiles(f"{path.name} is no GGUF file; name a GGUF, or the folder of a model")
    try:
        header = read_gguf_header(path)
    except NotGguf as error:
        raise UnknownModelFiles(str(error)) from None
    return Quantisation("gguf", header.quantisation or "unknown kind", path.name)


def _engine(config: Mapping[str, Any]) -> Quantisation:
    algorithm = _part(_part(config, "pretrained_config"), "quantization").get("quant_algo")
    return Quantisation("trtllm_engine", str(algorithm or "not quantised"), "config.json")


def _model_optimizer(settings: Mapping[str, Any], source: str) -> Quantisation:
    algorithm = str(settings.get("quant_algo") or "").upper()
    cache = settings.get("kv_cache_quant_algo")
    detail = f"{algorithm or 'not quantised'}, cache {cache}" if cache else algorithm or "not quantised"
    if not algorithm:
        return Quantisation("plain", detail, source)
    if algorithm == "MIXED_PRECISION":
        return Quantisation("mixed", detail, source)
    if algorithm.startswith("NVFP4"):
        return Quantisation("nvfp4", detail, source)
    if algorithm.startswith("FP8"):
        return Quantisation("fp8", detail, source)
    return Quantisation("modelopt", detail, source)


def _hugging_face(settings: Mapping[str, Any], source: str = "config.json") -> Quantisation:
    method = str(settings.get("quant_method") or "").lower().replace("_", "-")
    if method == "modelopt" or (not method and "quant_algo" in settings):
        return _model_optimizer(_part(settings, "quantization") or settings, source)
    if method == "compressed-tensors" or "config_groups" in settings:
        return _compressed_tensors(settings, source)
    bits, group = settings.get("bits"), settings.get("group_size", settings.get("q_group_size"))
    size = "each channel" if group == -1 else f"groups of {group}"
    detail = ", ".join([f"{bits} bit"] * bool(bits) + [size] * bool(group))
    match method:
        case "awq":
            return Quantisation("awq", detail, source)
        case "gptq" | "gptq-marlin":
            return Quantisation("gptq", detail, source)
        case "fp8" | "fbgemm-fp8":
            block = settings.get("weight_block_size")
            return Quantisation("fp8", f"blocks of {block}" if block else "", source)
        case _:
            return Quantisation("other", method or "no method is named", source)


def _compressed_tensors(settings: Mapping[str, Any], source: str) -> Quantisation:
    groups = _part(settings, "config_groups")
    forms = sorted({_group_form(group) for group in groups.values() if isinstance(group, dict)})
    words = ", ".join(sorted({_group_words(group) for group in groups.values() if isinstance(group, dict)}))
    if not forms:
        return Quantisation("other", "compressed-tensors without a group", source)
    return Quantisation(forms[0] if len(forms) == 1 else "mixed", words, source)


def _group_form(group: Mapping[str, Any]) -> Form:
    weights, activations = _part(group, "weights"), _part(group, "input_activations")
    bits, kind = weights.get("num_bits"), weights.get("type")
    if kind == "float" and bits == 4:
        return "nvfp4" if weights.get("group_size") == 16 else "other"
    if kind == "float" and bits == 8:
        return "fp8"
    if kind == "int" and bits == 4 and not activations:
        return "w4a16"
    return "int8" if kind == "int" and bits == 8 else "other"


def _group_words(group: Mapping[str, Any]) -> str:
    weights, activations = _part(group, "weights"), _part(group, "input_activations")
    acted = activations.get("num_bits") if activations else 16
    return f"W{weights.get('num_bits')}A{acted} {weights.get('type')}"


def _part(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = of.get(key)
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> Mapping[str, Any] | None:
    """An object of a folder's file; None where there is no such file."""
    if not path.is_file():
        return None
    if path.stat().st_size > _MOST_JSON_BYTES:
        raise UnknownModelFiles(f"{path} is too long for a model's configuration; download the model again")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UnknownModelFiles(f"{path} is no JSON: it is damaged; download the model again") from None
    if not isinstance(found, dict):
        raise UnknownModelFiles(f"{path} is no model's configuration; download the model again")
    return found


def main(arguments: list[str] | None = None) -> int:
    """0: done; 1: the files are not such that it can be done."""
    parser = argparse.ArgumentParser(
        prog="python -m local_ai_server.quantisation",
        description="Tells how a model's weights are stored, and rewrites a GGUF. Reads and writes local files only.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    tell = commands.add_parser("tell", help="what the files of a model say")
    tell.add_argument("model", type=Path, help="a GGUF file, or the folder of a model")
    rewrite = commands.add_parser("requantise", help="write a GGUF whose tensors are Q4_1 or F32 as Q8_0")
    rewrite.add_argument("source", type=Path)
    rewrite.add_argument("target", type=Path, help="must not be there yet")
    options = parser.parse_args(arguments)
    try:
        if options.command == "tell":
            found = recognise(options.model)
            print(f"{found}, says {found.source}")  # noqa: T201 - this is the command's answer
        else:
            _requantise(options.source, options.target)
    except (UnknownModelFiles, NotRequantisable, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _requantise(source: Path, target: Path) -> None:
    if target.exists():
        raise FileExistsError(f"{target} is there already; remove it, or name another")
    part = target.with_name(f"{target.name}.part")
    try:
        requantise_q8_0(source, part)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
