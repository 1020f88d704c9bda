"""Make a model for whisper.cpp out of a CTranslate2 Whisper model: the same weights, for those who reach no model hub.

    python -m local_ai_server.whisper_cpp_convert models/stt/whisper-tiny.en models/stt/ggml-tiny.en.bin

The result is what whisper.cpp's own converters write (models/README.md there): the magic number, eleven numbers that
say the model's shape, the mel filters, the vocabulary, then the tensors; matrices as float16, or as Q8_0 (blocks of 32
bytes with a scale), the rest as float32.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import numpy.typing as npt

from local_ai_server.ctranslate2_weights import Tensor, Weights, WeightsUnreadable, read_weights

_MAGIC: Final = 0x67676D6C
_F32, _F16, _Q8_0 = 0, 1, 8
_FILE_TYPES: Final = {"f16": 1, "q8_0": 2007}
"""ggml's ftype; 2000 is the version of its quantised layouts."""
_BLOCK: Final = 32
_RATE_HZ, _N_FFT = 16_000, 400
_FIRST_MULTILINGUAL_VOCABULARY: Final = 51_865
_END_OF_TEXT: Final = "<|endoftext|>"
_LAYER_PARTS: Final = {
    "self_attention/layer_norm": "attn_ln",
    "self_attention/linear_1": "attn.out",
    "attention/layer_norm": "cross_attn_ln",
    "attention/linear_0": "cross_attn.query",
    "attention/linear_2": "cross_attn.out",
    "ffn/layer_norm": "mlp_ln",
    "ffn/linear_0": "mlp.0",
    "ffn/linear_1": "mlp.2",
}
"""CTranslate2's names within a layer, and OpenAI's, which whisper.cpp keeps."""
_FUSED: Final = {
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
}
"""Projections that CTranslate2 keeps as one matrix."""
_NORMS: Final = {"gamma": "weight", "beta": "bias"}


FileType = Literal["f16", "q8_0"]


class NotConvertible(ValueError):
    """The model cannot be made into one of whisper.cpp's; the message says why and what to do."""


def convert(source: Path, target: Path, *, file_type: FileType = "f16") -> None:
    """Write `target` from the model directory `source`; it appears complete or not at all.

    Raises `NotConvertible`, `WeightsUnreadable` (damaged weights) and `OSError`.
    """
    weights = read_weights(source / "model.bin")
    if weights.kind != "WhisperSpec":
        raise NotConvertible(f"{source} holds a {weights.kind}, not a Whisper model")
    tokens = _vocabulary(source / "tokenizer.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(descriptor, "wb") as out:
            _write(out, weights, tokens, file_type)
            out.flush()
            os.fsync(out.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def mel_filters(n_mels: int) -> npt.NDArray[np.float32]:
    """Whisper's filters, (n_mels, 201): triangles on Slaney's mel scale, each of area one (librosa's `filters.mel`)."""
    linear_hz, linear_mel, log_step = 1000.0, 15.0, np.log(6.4) / 27

    def to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.where(mel < linear_mel, mel * 200 / 3, linear_hz * np.exp(log_step * (mel - linear_mel)))

    top_mel = linear_mel + np.log(_RATE_HZ / 2 / linear_hz) / log_step
    corners = to_hz(np.linspace(0, top_mel, n_mels + 2))
    bins = np.arange(_N_FFT // 2 + 1) * _RATE_HZ / _N_FFT
    rising = (bins - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - bins) / (corners[2:] - corners[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    filters: npt.NDArray[np.float32] = (triangles * (2 / (corners[2:] - corners[:-2]))[:, None]).astype(np.float32)
    return filters


def _vocabulary(path: Path) -> list[bytes]:
    """The text tokens in their order; whisper.cpp knows the special ones after them by itself."""
    try:
        vocabulary: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    except FileNotFoundError:
        raise NotConvertible(f"{path} is missing: the vocabulary is read from it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise NotConvertible(f"{path} is no tokenizer description: {error}") from None
    in_order = sorted((index, token) for token, index in vocabulary.items() if token != _END_OF_TEXT)
    if [index for index, _ in in_order] != list(range(len(in_order))):
        raise NotConvertible(f"{path}: the vocabulary has gaps")
    as_byte = _byte_of_character()
    try:
        return [bytes(as_byte[character] for character in token) for _, token in in_order]
    except KeyError as error:
        raise NotConvertible(f"{path}: {error.args[0]!r} is no character of a byte-level vocabulary") from None


def _byte_of_character() -> dict[str, int]:
    """GPT-2's byte-level alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 and after."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {**{chr(byte): byte for byte in printable}, **{chr(256 + i): byte for i, byte in enumerate(others)}}


def _write(out: BinaryIO, weights: Weights, tokens: Sequence[bytes], file_type: FileType) -> None:
    tensors = weights.tensors
    try:
        n_vocabulary, n_state = tensors["decoder/embeddings/weight"].shape
        n_audio_context = tensors["encoder/position_encodings/encodings"].shape[0]
        n_text_context = tensors["decoder/position_encodings/encodings"].shape[0]
        n_mels = tensors["encoder/conv1/weight"].shape[1]
        heads = [int(tensors[f"{part}/num_heads"]) for part in ("encoder", "decoder")]
    except KeyError as error:
        raise NotConvertible(f"the weights have no {error.args[0]}: the model is of an unknown layout") from None
    # whisper.cpp counts the special tokens from the size of the vocabulary: it must be one of Whisper's own.
    expected = 50_257 if n_vocabulary >= _FIRST_MULTILINGUAL_VOCABULARY else 50_256
    if len(tokens) != expected:
        raise NotConvertible(f"the vocabulary has {len(tokens)} text tokens where Whisper's has {expected}")
    layers = [_layers(tensors, part) for part in ("encoder", "decoder")]
    shape = (n_vocabulary, n_audio_context, n_state, heads[0], layers[0],
             n_text_context, n_state, heads[1], layers[1], n_mels, _FILE_TYPES[file_type])  # fmt: skip
    out.write(struct.pack("<12i", _MAGIC, *shape))
    filters = mel_filters(n_mels)
    out.write(struct.pack("<2i", *filters.shape) + filters.astype("<f4").tobytes())
    out.write(struct.pack("<i", len(tokens)))
    for token in tokens:
        out.write(struct.pack("<i", len(token)) + token)
    for name, tensor in _renamed(tensors):
        _write_tensor(out, name, tensor, file_type)


def _layers(tensors: Any, part: str) -> int:
    count = 0
    while f"{part}/layer_{count}/ffn/linear_0/weight" in tensors:
        count += 1
    return count


def _renamed(tensors: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors under whisper.cpp's names, the fused ones taken apart."""
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if rest.startswith("layer_") and not rest.startswith("layer_norm"):
            layer, _, inner = rest.removeprefix("layer_").partition("/")
            inner, _, kind = inner.rpartition("/")
            prefix = f"{part}.blocks.{layer}"
            if inner in _FUSED:
                pieces = np.split(tensor, len(_FUSED[inner]))
                for piece_name, piece in zip(_FUSED[inner], pieces, strict=True):
                    # Whisper's keys have no bias; CTranslate2 keeps zeros for it.
                    if not (piece_name.endswith("key") and kind == "bias"):
                        yield f"{prefix}.{piece_name}.{kind}", piece
            elif inner in _LAYER_PARTS:
                yield f"{prefix}.{_LAYER_PARTS[inner]}.{_NORMS.get(kind, kind)}", tensor
            else:
                raise NotConvertible(f"the weights have an unknown part {name}; a quantised model? Take a float16 one")
        elif rest == "position_encodings/encodings":
            yield f"{part}.positional_embedding", tensor
        elif rest.startswith("layer_norm/"):
            norm = "ln_post" if part == "encoder" else "ln"
            yield f"{part}.{norm}.{_NORMS[rest.removeprefix('layer_norm/')]}", tensor
        elif rest == "embeddings/weight":
            yield f"{part}.token_embedding.weight", tensor
        elif rest.startswith(("conv1/", "conv2/")):
            yield f"{part}.{rest.replace('/', '.')}", tensor[:, None] if rest.endswith("bias") else tensor


def _write_tensor(out: BinaryIO, name: str, tensor: Tensor, file_type: FileType) -> None:
    if tensor.dtype.kind != "f":
        raise NotConvertible(f"{name} is quantised ({tensor.dtype}); convert a float16 or float32 model")
    if tensor.ndim < 2 or name.endswith(("positional_embedding", "conv1.bias", "conv2.bias")):
        type_id, data = _F32, np.ascontiguousarray(tensor, dtype="<f4").tobytes()
    elif file_type == "q8_0" and tensor.ndim == 2 and tensor.shape[1] % _BLOCK == 0:
        type_id, data = _Q8_0, _as_q8_0(tensor)
    else:
        type_id, data = _F16, np.ascontiguousarray(tensor, dtype="<f2").tobytes()
    raw = name.encode()
    out.write(struct.pack("<3i", tensor.ndim, len(raw), type_id))
    out.write(struct.pack(f"<{tensor.ndim}i", *reversed(tensor.shape)) + raw + data)


def _as_q8_0(tensor: Tensor) -> bytes:
    """Blocks of 32: (scale as float16, 32 signed bytes), rounded half away from zero as ggml does."""
    values = tensor.astype(np.float32).reshape(-1, _BLOCK)
    scale = np.max(np.abs(values), axis=1) / np.float32(127)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    scaled = values * inverse[:, None]
    blocks = np.empty(len(values), dtype=np.dtype([("d", "<f2"), ("q", "i1", (_BLOCK,))]))
    blocks["d"] = scale.astype(np.float16)
    blocks["q"] = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype(np.int8)
    return blocks.tobytes()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local_ai_server.whisper_cpp_convert",
        description="Make a model file for whisper.cpp (ggml) out of a CTranslate2 Whisper model.",
    )
    parser.add_argument("source", type=Path, help="directory with model.bin and tokenizer.json")
    parser.add_argument("--type", choices=_FILE_TYPES, default="f16", help="q8_0: half as large and faster on CPUs")
    parser.add_argument("target", type=Path, help="the file to write, as models/stt/ggml-tiny.en.bin")
    chosen = parser.parse_args(arguments)
    try:
        convert(chosen.source, chosen.target, file_type=chosen.type)
    except (NotConvertible, WeightsUnreadable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        f"{chosen.target}: {chosen.target.stat().st_size / 1e6:.0f} MB; set WHISPER_CPP_MODEL_PATH to it\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
