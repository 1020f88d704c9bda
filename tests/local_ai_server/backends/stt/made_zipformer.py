"""A streaming Zipformer2 transducer of a few kilobytes, made by hand: it counts chunks of 160 ms in which it is loud.

Its inputs, outputs, states and metadata are those of a real one (sherpa-onnx, online-zipformer2-transducer-model.cc),
so sherpa-onnx's own library loads and runs it. Its graph is arithmetic: the encoder gives the mean of the features, and
the joiner the token after the last one where that is loud, and blank where it is quiet.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

WORDS = ("ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN")
CHUNK_FRAMES = 16
LOUD_LOG_ENERGY = -6.0
"""Between the mean log-mel energy of digital silence (-15.9) and that of a voice at -20 dBFS."""
_VOCABULARY = 1 + len(WORDS)
_FLOAT, _INT64 = TensorProto.FLOAT, TensorProto.INT64
_STATES = {  # one layer of width 4 with one head of 4; the batch is the dimension "N"
    "cached_key_0": [4, "N", 4],
    "cached_nonlin_attn_0": [1, "N", 4, 3],
    "cached_val1_0": [4, "N", 4],
    "cached_val2_0": [4, "N", 4],
    "cached_conv1_0": ["N", 4, 1],
    "cached_conv2_0": ["N", 4, 1],
    "embed_states": ["N", 128, 3, 19],
}


def _save(path, nodes, inputs, outputs, constants, metadata):
    info = {
        name: helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in {**inputs, **outputs}.items()
    }
    graph = helper.make_graph(
        nodes,
        path.stem,
        [info[name] for name in inputs],
        [info[name] for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def make_zipformer(folder: Path, *, streaming: bool = True) -> Path:
    """Writes encoder, decoder, joiner and tokens into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    states = {name: (_FLOAT, shape) for name, shape in _STATES.items()} | {"processed_lens": (_INT64, ["N"])}
    nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=1)]
    nodes += [helper.make_node("Expand", ["mean", "shape"], ["encoder_out"])]
    nodes += [helper.make_node("Identity", [name], [f"new_{name}"]) for name in states]
    _save(
        folder / "encoder-made.int8.onnx",
        nodes,
        {"x": (_FLOAT, ["N", CHUNK_FRAMES, 80])} | states,
        {"encoder_out": (_FLOAT, ["N", 1, _VOCABULARY])} | {f"new_{name}": kind for name, kind in states.items()},
        {"shape": np.array([1, 1, _VOCABULARY], np.int64)},
        {"model_type": "zipformer2", "encoder_dims": 4, "query_head_dims": 4, "value_head_dims": 4, "num_heads": 1}
        | {"num_encoder_layers": 1, "cnn_module_kernels": 3, "left_context_len": 4, "T": CHUNK_FRAMES}
        | ({"decode_chunk_len": CHUNK_FRAMES} if streaming else {}),
    )
    after = np.zeros((_VOCABULARY, _VOCABULARY), np.float32)
    after[np.arange(_VOCABULARY - 1), np.arange(1, _VOCABULARY)] = 1.0  # after the last word there is none
    _save(
        folder / "decoder-made.onnx",
        [
            helper.make_node("Slice", ["y", "from", "to", "axis"], ["last"]),
            helper.make_node("Squeeze", ["last", "axis"], ["token"]),
            helper.make_node("Gather", ["after", "token"], ["decoder_out"]),
        ],
        {"y": (_INT64, ["N", 2])},
        {"decoder_out": (_FLOAT, ["N", _VOCABULARY])},
        {
            "from": np.array([1], np.int64),
            "to": np.array([2], np.int64),
            "axis": np.array([1], np.int64),
            "after": after,
        },
        {"vocab_size": _VOCABULARY, "context_size": 2},
    )
    blank = np.zeros(_VOCABULARY, np.float32)
    blank[0] = 1.0
    _save(
        folder / "joiner-made.int8.onnx",
        [
            helper.make_node("Sub", ["encoder_out", "threshold"], ["loud"]),
            helper.make_node("Mul", ["loud", "decoder_out"], ["next"]),
            helper.make_node("Add", ["next", "blank"], ["logit"]),
        ],
        {"encoder_out": (_FLOAT, ["N", _VOCABULARY]), "decoder_out": (_FLOAT, ["N", _VOCABULARY])},
        {"logit": (_FLOAT, ["N", _VOCABULARY])},
        {"threshold": np.full(_VOCABULARY, LOUD_LOG_ENERGY - 1, np.float32), "blank": blank},
        {"joiner_dim": _VOCABULARY},
    )
    _tokens(folder)
    return folder


def _tokens(folder: Path) -> None:
    tokens = ["<blk>", *(f"▁{word}" for word in WORDS)]
    (folder / "tokens.txt").write_text("".join(f"{t} {i}\n" for i, t in enumerate(tokens)), encoding="utf-8")


def make_zipformer_ctc(folder: Path) -> Path:
    """The same for whole utterances: a Zipformer2 CTC model that says ONE for each stretch of loud frames."""
    folder.mkdir(parents=True, exist_ok=True)
    one_hot = np.zeros((2, _VOCABULARY), np.float32)
    one_hot[0, 0] = one_hot[1, 1] = 1.0
    _save(
        folder / "model.int8.onnx",
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2], keepdims=0),
            helper.make_node("Greater", ["mean", "threshold"], ["loud"]),
            helper.make_node("Cast", ["loud"], ["is_loud"], to=_INT64),
            helper.make_node("Gather", ["one_hot", "is_loud"], ["log_probs"]),
            helper.make_node("Identity", ["x_lens"], ["log_probs_len"]),
        ],
        {"x": (_FLOAT, ["N", "T", 80]), "x_lens": (_INT64, ["N"])},
        {"log_probs": (_FLOAT, ["N", "T", _VOCABULARY]), "log_probs_len": (_INT64, ["N"])},
        {"threshold": np.array(LOUD_LOG_ENERGY, np.float32), "one_hot": one_hot},
        {"model_type": "zipformer2_ctc", "version": "1", "vocab_size": _VOCABULARY, "subsampling_factor": 1},
    )
    _tokens(folder)
    return folder


def loud(seconds: float, rate_hz: int = 16_000) -> bytes:
    """Noise at a voice's level, PCM16."""
    return np.random.default_rng(1).normal(0, 3000, round(seconds * rate_hz)).astype("<i2").tobytes()


def quiet(seconds: float, rate_hz: int = 16_000) -> bytes:
    return bytes(2 * round(seconds * rate_hz))
