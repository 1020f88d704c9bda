"""A CTranslate2 Whisper model becomes whisper.cpp's; damaged ones are told and leave nothing behind."""

import struct

import numpy as np
import pytest

from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.ctranslate2_weights import WeightsUnreadable, read_weights
from local_ai_server.whisper_cpp_convert import NotConvertible, convert, main, mel_filters


def model_file(tensors, *, kind="WhisperSpec", aliases=()):
    """As CTranslate2's `ModelSpec._serialize` writes it."""

    def string(text):
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    types = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}
    raw = struct.pack("<I", 6) + string(kind) + struct.pack("<II", 3, len(tensors))
    for name, tensor in tensors.items():
        raw += string(name) + struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
        raw += struct.pack("<BI", types[tensor.dtype.name], tensor.nbytes) + tensor.tobytes()
    raw += struct.pack("<I", len(aliases)) + b"".join(string(name) for pair in aliases for name in pair)
    return raw


def test_weights_are_read_by_name(tmp_path):
    path = tmp_path / "model.bin"
    matrix = np.arange(6, dtype=np.float16).reshape(2, 3)
    path.write_bytes(model_file({"a/weight": matrix, "a/heads": np.array(6, np.int16)}, aliases=[("b", "a/weight")]))
    weights = read_weights(path)
    assert (weights.kind, weights.revision) == ("WhisperSpec", 3)
    assert np.array_equal(weights.tensors["a/weight"], matrix)
    assert np.array_equal(weights.tensors["b"], matrix)
    assert int(weights.tensors["a/heads"]) == 6


def test_a_file_cut_anywhere_is_told(tmp_path):
    raw = model_file(
        {"a/weight": np.zeros((2, 3), np.float16), "a/bias": np.zeros(2, np.float32)}, aliases=[("b", "a/bias")]
    )
    for size in range(len(raw)):
        (tmp_path / "model.bin").write_bytes(raw[:size])
        with pytest.raises(WeightsUnreadable):
            read_weights(tmp_path / "model.bin")


def change(raw, old, new):
    assert raw.count(old) == 1
    return raw.replace(old, new)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: b"GGUF" + raw[4:], "no CTranslate2 model of binary version 6"),
        (lambda raw: change(raw, b"weight\0", b"weightx"), "has no end"),
        (lambda raw: change(raw, struct.pack("<BII", 2, 2, 3), struct.pack("<BII", 200, 2, 3)), "200 dimensions"),
        (lambda raw: change(raw, struct.pack("<BI", 4, 12), struct.pack("<BI", 9, 12)), "unknown type 9"),
        (lambda raw: change(raw, struct.pack("<BII", 2, 2, 3), struct.pack("<BII", 2, 2, 9)), "has 12 bytes"),
        (lambda raw: change(raw, struct.pack("<II", 3, 1), struct.pack("<II", 3, 2**31)), "claims to hold"),
    ],
)
def test_what_is_wrong_with_weights_is_named(tmp_path, damage, message):
    path = tmp_path / "model.bin"
    path.write_bytes(damage(model_file({"a/weight": np.zeros((2, 3), np.float16)})))
    with pytest.raises(WeightsUnreadable, match=message):
        read_weights(path)


@pytest.mark.parametrize(
    ("kind", "tokenizer", "message"),
    [
        ("TransformerSpec", "{}", "not a Whisper model"),
        ("WhisperSpec", None, "tokenizer.json is missing"),
        ("WhisperSpec", "not JSON", "no tokenizer description"),
        ("WhisperSpec", '{"model": {"vocab": {"a": 1}}}', "has gaps"),
        ("WhisperSpec", '{"model": {"vocab": {"\u2603": 0}}}', "byte-level"),
        ("WhisperSpec", '{"model": {"vocab": {"a": 0}}}', "unknown layout"),
    ],
)
def test_a_model_that_cannot_be_made_leaves_nothing_behind(tmp_path, capsys, kind, tokenizer, message):
    source, target = tmp_path / "source", tmp_path / "out" / "ggml.bin"
    source.mkdir()
    (source / "model.bin").write_bytes(model_file({"x": np.zeros(2, np.float32)}, kind=kind))
    if tokenizer is not None:
        (source / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    with pytest.raises(NotConvertible, match=message):
        convert(source, target)
    assert main([str(source), str(target)]) == 1
    assert message in capsys.readouterr().err
    assert not target.parent.exists() or not list(target.parent.iterdir())


def test_an_older_target_stays_when_the_new_one_fails(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    target = tmp_path / "ggml.bin"
    target.write_bytes(b"good")
    with pytest.raises(WeightsUnreadable):
        convert(tmp_path, target)
    assert target.read_bytes() == b"good"


def test_the_mel_filters_are_whispers():
    extractor = pytest.importorskip("faster_whisper.feature_extractor", reason="its filters are the reference")
    for n_mels in (80, 128):
        expected = extractor.FeatureExtractor(feature_size=n_mels).mel_filters
        assert np.allclose(mel_filters(n_mels), expected, atol=1e-8)


@pytest.mark.models
def test_a_real_model_keeps_its_weights_and_words(tmp_path):
    try:
        source = find_model("whisper-tiny.en")
    except ModelMissing as error:
        pytest.skip(str(error))
    target = tmp_path / "ggml-tiny.en.bin"
    convert(source, target)
    raw = target.read_bytes()
    assert struct.unpack_from("<12i", raw) == (0x67676D6C, 51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1)
    (n_tokens,) = struct.unpack_from("<i", raw, 56 + 80 * 201 * 4)
    assert n_tokens == 50_256
    assert list(tmp_path.iterdir()) == [target]
    key = raw.index(b"encoder.blocks.0.attn.key.weight") + len("encoder.blocks.0.attn.key.weight")
    fused = read_weights(source / "model.bin").tensors["encoder/layer_0/self_attention/linear_0/weight"]
    assert raw[key : key + fused.nbytes // 3] == fused[384:768].tobytes()
    assert b"attn.key.bias" not in raw


@pytest.mark.models
def test_q8_0_keeps_the_weights_to_the_half_step(tmp_path):
    try:
        source = find_model("whisper-tiny.en")
    except ModelMissing as error:
        pytest.skip(str(error))
    target = tmp_path / "ggml-tiny.en.bin"
    convert(source, target, file_type="q8_0")
    raw = target.read_bytes()
    assert struct.unpack_from("<i", raw, 44) == (2007,)
    name = b"decoder.blocks.3.mlp.0.weight"
    at = raw.index(name)
    assert struct.unpack_from("<5i", raw, at - 20) == (2, len(name), 8, 384, 1536)
    blocks = np.frombuffer(raw, [("d", "<f2"), ("q", "i1", 32)], count=384 * 1536 // 32, offset=at + len(name))
    values = (blocks["d"].astype(np.float32)[:, None] * blocks["q"]).reshape(1536, 384)
    original = read_weights(source / "model.bin").tensors["decoder/layer_3/ffn/linear_0/weight"].astype(np.float32)
    step = np.abs(original).reshape(-1, 32).max(axis=1) / 127
    assert np.all(np.abs(values - original).reshape(-1, 32).max(axis=1) <= 0.6 * step + 1e-6)
