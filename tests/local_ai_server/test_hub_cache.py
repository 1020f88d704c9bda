"""Models that the catalogue does not know are told by their files."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_ai_server.catalog import Catalog, load_catalog
from local_ai_server.gguf_header import NotGguf, read_gguf_header
from local_ai_server.hub_cache import FoundModel, find_models, hub_cache_dir

EMPTY = Catalog(models=(), packages={})


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(template: str = "x" * 10_000) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 6)
    head += string("general.architecture") + struct.pack("<I", 8) + string("llama")
    head += string("general.name") + struct.pack("<I", 8) + string("tiny")
    head += string("general.file_type") + struct.pack("<II", 4, 15)
    head += string("llama.context_length") + struct.pack("<II", 4, 2048)
    head += string("tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("bc")
    return head + string("tokenizer.chat_template") + struct.pack("<I", 8) + string(template)


def make(root: Path, *files: str, content: bytes = b"x") -> None:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def found_in(models_dir: Path, cache: Path) -> dict[str, tuple[str, str, str | None]]:
    models = find_models(models_dir, cache=cache, catalog=EMPTY)
    return {model.name: (model.kind, model.backend, model.problem) for model in models}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["w/model.bin", "w/config.json", "w/tokenizer.json"], {"w": ("stt", "faster_whisper")}),
        (["w/model.bin", "w/config.json"], {}),
        (["v/am/final.mdl", "v/conf/mfcc.conf", "v/graph/HCLr.fst"], {"v": ("stt", "vosk")}),
        (["p/a.onnx", "p/a.onnx.json", "p/b.onnx"], {"p/a.onnx": ("tts", "piper")}),
        (["s/encoder.onnx", "s/decoder.onnx", "s/joiner.onnx", "s/tokens.txt"], {"s": ("stt", "sherpa")}),
        (["k/model.onnx", "k/voices/af_heart.bin"], {"k": ("tts", "kokoro")}),
        (["k/kokoro.onnx", "k/voices-v1.0.bin"], {"k": ("tts", "kokoro")}),
        (["m/checkpoint.pth", "m/config.json"], {"m": ("tts", "melotts")}),
        (["ggml-tiny.bin"], {"ggml-tiny.bin": ("stt", "whisper_cpp")}),
        (["k/Kroko-EN-Community-64.data"], {"k/Kroko-EN-Community-64.data": ("stt", "kroko")}),
        ([".hidden/ggml-tiny.bin", "notes.txt", "a/b/c/d/e/f/ggml-deep.bin"], {}),
    ],
)  # fmt: skip
def test_a_folder_is_told_by_its_files(tmp_path: Path, files: list[str], expected: dict[str, tuple[str, str]]) -> None:
    make(tmp_path / "models", *files)
    assert found_in(tmp_path / "models", tmp_path / "none") == {name: (*what, None) for name, what in expected.items()}


def test_a_gguf_tells_what_it_is_and_a_broken_one_why_it_is_not(tmp_path: Path) -> None:
    make(tmp_path, "good.gguf", content=gguf())
    make(tmp_path, "cut.gguf", content=gguf()[:-5000])
    models = {model.name: model for model in find_models(tmp_path, cache=tmp_path / "none", catalog=EMPTY)}
    assert models["good.gguf"].detail == "llama, Q4_K_M, tiny"
    assert models["good.gguf"].problem is None
    assert models["good.gguf"].size_bytes == len(gguf())
    assert "cut short" in (models["cut.gguf"].problem or "")


def test_the_hubs_cache_offers_its_newest_revision(tmp_path: Path) -> None:
    """As huggingface_hub lays it out: blobs, and snapshots of links to them."""
    repo = tmp_path / "hub" / "models--acme--tiny--gguf"
    make(repo, "blobs/abc", content=gguf())
    for revision in ("old", "new"):
        (repo / "snapshots" / revision).mkdir(parents=True)
        (repo / "snapshots" / revision / "tiny.gguf").symlink_to("../../blobs/abc")
    (repo / "snapshots/new/gone.gguf").symlink_to("../../blobs/nowhere")
    make(repo, "refs/main", content=b"new")
    models = find_models(tmp_path / "models", cache=tmp_path / "hub", catalog=EMPTY)
    assert models == (
        FoundModel(
            kind="llm",
            backend="llama_cpp",
            path=repo / "snapshots/new/tiny.gguf",
            size_bytes=len(gguf()),
            name="acme/tiny/gguf/tiny.gguf",
            detail="llama, Q4_K_M, tiny",
        ),
    )


def test_models_of_the_catalogue_are_not_found_again(tmp_path: Path) -> None:
    make(
        tmp_path, "tts/kokoro/model.onnx", "tts/kokoro/voices/af_heart.bin", "tts/own/own.onnx", "tts/own/own.onnx.json"
    )
    found = find_models(tmp_path, cache=tmp_path / "none", catalog=load_catalog())
    assert [model.name for model in found] == ["tts/own/own.onnx"]


def test_where_the_hubs_cache_is() -> None:
    assert hub_cache_dir({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}) == Path("/c")
    assert hub_cache_dir({"HF_HOME": "/h"}) == Path("/h/hub")
    assert hub_cache_dir({}) == Path.home() / ".cache/huggingface/hub"


def test_a_header_is_read(tmp_path: Path) -> None:
    make(tmp_path, "m.gguf", content=gguf())
    header = read_gguf_header(tmp_path / "m.gguf")
    assert (header.architecture, header.quantisation, header.context_tokens) == ("llama", "Q4_K_M", 2048)
    assert header.has_chat_template


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "m.gguf"


@given(data=st.binary(max_size=300), start=st.sampled_from([b"", b"GGUF", b"GGUF\x03\0\0\0", gguf("t")]))
def test_no_bytes_break_the_reader(scratch: Path, data: bytes, start: bytes) -> None:
    scratch.write_bytes(start[: len(start) // 2] + data if len(start) > 8 else start + data)
    with pytest.raises(NotGguf):
        read_gguf_header(scratch)


@given(at=st.integers(0, len(gguf("t")) - 1), value=st.binary(min_size=1, max_size=8))
def test_no_overwritten_bytes_break_the_reader(scratch: Path, at: int, value: bytes) -> None:
    whole = bytearray(gguf("t"))
    whole[at : at + len(value)] = value
    scratch.write_bytes(whole)
    try:
        read_gguf_header(scratch)
    except NotGguf as error:
        assert "m.gguf" in str(error)
