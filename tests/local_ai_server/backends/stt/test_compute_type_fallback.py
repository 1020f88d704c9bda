"""A model that does not fit in one number format is loaded in a smaller one; other errors are nobody's to hide.

The messages are CTranslate2's own.
"""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from local_ai_server.backends.stt.compute_type_fallback import types_to_try, with_fallback

OUT_OF_MEMORY = RuntimeError("CUDA failed with error out of memory")
NO_CUBLAS_MEMORY = RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED")
UNSUPPORTED = ValueError(
    "Requested float16 compute type, but the target device or backend do not support efficient float16 computation."
)


class Loader:
    """Fails as told, type by type, then loads."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tried: list[str] = []

    def __call__(self, compute_type: str) -> str:
        self.tried.append(compute_type)
        if self.errors:
            raise self.errors.pop(0)
        return f"model in {compute_type}"


@pytest.mark.parametrize(
    ("asked", "device", "tried"),
    [
        ("float16", "cuda", ("float16", "int8_float16", "int8")),
        ("int8_float16", "cuda", ("int8_float16", "int8")),
        ("int8", "cuda", ("int8",)),
        ("auto", "cuda", ("float16", "int8_float16", "int8")),
        ("default", "auto", ("float16", "int8_float16", "int8")),
        ("float32", "cuda", ("float32", "float16", "int8_float16", "int8")),
        ("something_new", "cuda", ("something_new",)),
        ("float16", "cpu", ("float16",)),
        ("auto", "cpu", ("auto",)),
    ],
)
def test_the_types_that_are_tried(asked, device, tried):
    assert types_to_try(asked, device) == tried


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, NO_CUBLAS_MEMORY, UNSUPPORTED, MemoryError()])
def test_the_next_type_is_tried(error, capsys):
    load = Loader(error)
    assert with_fallback(load, types_to_try("float16", "cuda")) == ("model in int8_float16", "int8_float16")
    assert load.tried == ["float16", "int8_float16"]
    assert "compute type float16:" in capsys.readouterr().err


def test_the_first_that_fits_is_taken():
    load = Loader()
    assert with_fallback(load, ("float16", "int8")) == ("model in float16", "float16")
    assert load.tried == ["float16"]


def test_what_fits_in_no_type_says_what_to_do():
    load = Loader(UNSUPPORTED, OUT_OF_MEMORY, OUT_OF_MEMORY)
    with pytest.raises(
        MemoryError, match=r"float16, int8_float16, int8 \(CUDA failed .*out of memory\): choose a smaller"
    ):
        with_fallback(load, types_to_try("float16", "cuda"))
    assert load.tried == ["float16", "int8_float16", "int8"]


@pytest.mark.parametrize(
    "error", [RuntimeError("Unable to open file 'model.bin'"), ValueError("invalid device"), OSError("no such file")]
)
def test_other_errors_come_as_they_are(error):
    load = Loader(error)
    with pytest.raises(type(error), match=str(error)):
        with_fallback(load, types_to_try("float16", "cuda"))
    assert load.tried == ["float16"]


def test_what_was_loaded_half_is_gone_before_the_next_is_tried():
    class Weights:
        pass

    remembered: list[weakref.ref] = []

    def load(compute_type: str) -> str:
        assert all(reference() is None for reference in remembered)
        weights = Weights()
        weights.itself = weights  # in a cycle, as native models are
        remembered.append(weakref.ref(weights))
        if compute_type != "int8":
            raise RuntimeError("CUDA failed with error out of memory")
        return "model"

    gc.disable()
    try:
        assert with_fallback(load, ("float16", "int8_float16", "int8")) == ("model", "int8")
    finally:
        gc.enable()
    assert len(remembered) == 3


class TestFasterWhisper:
    """`FasterWhisperModel.load` with a stand-in for the engine's class, whose device is full."""

    @pytest.fixture
    def engine(self, monkeypatch):
        faster_whisper = pytest.importorskip("faster_whisper", reason="faster-whisper is not installed")
        made: list[str] = []

        class Crowded:
            """Loads in every type, and has no memory to encode in more than 8 bits."""

            def __init__(self, path: str, *, device: str, compute_type: str, **options) -> None:
                made.append(compute_type)
                self.compute_type = compute_type
                self.model = type("Native", (), {"is_multilingual": False, "n_mels": 80})()
                self.hf_tokenizer = None

            def encode(self, features):
                assert features.shape == (80, 3000)
                if self.compute_type != "int8":
                    raise RuntimeError("CUDA failed with error out of memory")

        monkeypatch.setattr(faster_whisper, "WhisperModel", Crowded)
        monkeypatch.setattr("faster_whisper.tokenizer.Tokenizer", lambda *args, **options: object())
        return made

    @pytest.mark.parametrize(("device", "tried"), [("cuda", ["float16", "int8_float16", "int8"]), ("cpu", ["float16"])])
    def test_falls_back_on_a_gpu_alone(self, engine, device, tried):
        from local_ai_server.backends.stt.faster_whisper import FasterWhisperModel

        model = FasterWhisperModel()
        model.load(model_path="/m", device=device, compute_type="float16", context_s=30.0)
        assert engine == tried
        assert model.compute_type == tried[-1]


@pytest.mark.models
def test_the_real_engine_falls_back_where_it_has_no_fast_way_for_a_type():
    """CTranslate2 refuses float16 on a CPU, with the words it has for a GPU that is too old."""
    pytest.importorskip("faster_whisper", reason="faster-whisper is not installed")
    from local_ai_server.backends.stt.faster_whisper import FasterWhisperModel
    from local_ai_server.catalog import find_model

    try:
        path = find_model("whisper-tiny.en")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    model = FasterWhisperModel()
    model.load(model_path=str(path), device="auto", compute_type="float16")
    assert model.compute_type in ("float16", "int8_float16", "int8")
    assert model.canary(b"", threading.Event()) == ({}, b"")
