"""whisper.cpp's own library on real weights: whisper tiny.en, converted. Without them its options are tested alone."""

import threading

import numpy as np
import pytest
from phone_speech import over_the_line, voice_or_skip, words

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.backends.options import OptionsError
from local_ai_server.backends.registry import backend
from local_ai_server.backends.stt import whisper_cpp, whisper_cpp_library
from local_ai_server.backends.stt.whisper_cpp_library import WhisperCpp, WhisperCppError
from local_ai_server.backends.stt.whisper_utterances import UnknownLanguage
from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.whisper_cpp_convert import convert
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec
from voice_wire.audio import MULAW_8K

NEVER = threading.Event()
MULAW = {"encoding": "mulaw", "sample_rate_hz": 8000}
needs_whisper_cpp = pytest.mark.skipif(
    whisper_cpp.BACKEND.missing() is not None, reason="whisper.cpp is not installed: pip install 'parley[whispercpp]'"
)


def load_of(path, **options):
    return dict(whisper_cpp.plan(whisper_cpp.Options(model_path=path, **options), Machine()).load)


@pytest.fixture(scope="module")
def ggml(tmp_path_factory):
    if whisper_cpp.BACKEND.missing() is not None:
        pytest.skip("whisper.cpp is not installed: pip install 'parley[whispercpp]'")
    try:
        source = find_model("whisper-tiny.en")
    except ModelMissing as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("ggml") / "ggml-tiny.en.bin"
    convert(source, path)
    return path


@pytest.fixture(scope="module")
def model(ggml):
    model = whisper_cpp.WhisperCppModel()
    model.load(**load_of(ggml))
    model.canary(b"", NEVER)
    yield model
    model.unload()


@pytest.fixture(scope="module")
def speech():
    return voice_or_skip()("I would like to make an appointment.")


def test_it_is_known_by_its_name_and_withholds_the_agents_echo():
    assert backend("stt", "whisper_cpp") is whisper_cpp.BACKEND
    assert whisper_cpp.BACKEND.needs_gating
    assert not whisper_cpp.BACKEND.streams


def test_its_variables_reach_the_model(tmp_path):
    path = tmp_path / "ggml.bin"
    path.write_bytes(b"")
    environment = {
        "WHISPER_CPP_MODEL_PATH": str(path),
        "LOCAL_STT_MODEL_PATH": "/elsewhere",
        "WHISPER_CPP_THREADS": "2",
        "WHISPER_CPP_LANGUAGE": "de",
        "WHISPER_CPP_AUDIO_CTX": "1000",
        "WHISPER_CPP_DEVICE": "Auto",
    }
    plan = whisper_cpp.plan(whisper_cpp.Options.from_environment(environment), Machine())
    assert plan.load == {
        "model_path": str(path), "threads": 2, "language": "de", "audio_ctx": 1000, "device": "auto",
    }  # fmt: skip
    assert (plan.model_path, plan.threads, plan.concurrency) == (path, 2, 1)


@pytest.mark.parametrize("frames", ["100", "499", "1501", "-1"])
def test_a_window_that_whisper_cannot_use_is_refused(frames):
    with pytest.raises(OptionsError, match="WHISPER_CPP_AUDIO_CTX"):
        whisper_cpp.Options.from_environment({"WHISPER_CPP_AUDIO_CTX": frames})


def test_a_missing_model_and_another_engines_folder_are_told_with_the_remedy(tmp_path):
    with pytest.raises(BackendUnusable, match="set WHISPER_CPP_MODEL_PATH"):
        whisper_cpp.plan(whisper_cpp.Options(), Machine())
    with pytest.raises(BackendUnusable, match="there is nothing at"):
        whisper_cpp.plan(whisper_cpp.Options(model_path=tmp_path / "no"), Machine())
    with pytest.raises(BackendUnusable, match="whisper_cpp_convert"):
        whisper_cpp.plan(whisper_cpp.Options(model_path=tmp_path), Machine())


@needs_whisper_cpp
@pytest.mark.parametrize("content", [b"", b"GGUF" + bytes(100), b"lmgg" + bytes(200), b"RIFFxxxxWAVE" * 50])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "ggml.bin"
    path.write_bytes(content)
    with pytest.raises(WhisperCppError, match=r"cannot load .*whisper_cpp_convert"):
        WhisperCpp(path, use_gpu=False, threads=1)


@needs_whisper_cpp
def test_a_library_laid_out_differently_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(whisper_cpp_library._DEFAULTS, "entropy_thold", 7.5)
    with pytest.raises(WhisperCppError, match=r"lays out its parameters differently .entropy_thold"):
        WhisperCpp(tmp_path / "ggml.bin", use_gpu=False, threads=1)


def understood(text):
    """ "I would like to make an appointment.", one word of it misheard at most: the voice slurs at times."""
    heard = words(text.replace("I'd", "I would"))
    said = ["i", "would", "like", "to", "make", "an", "appointment"]
    return len(heard) <= len(said) + 1 and sum(word in heard for word in said) >= len(said) - 1


@pytest.mark.models
def test_what_a_caller_says_is_heard(model, speech):
    body = over_the_line(speech)
    answer, audio = model.transcribe(body, NEVER, **MULAW)
    assert understood(answer["text"])
    assert 0.3 < answer["confidence"] <= 1
    assert answer["no_speech_probability"] < 0.3
    assert answer["audio_ms"] == pytest.approx(1000 * MULAW_8K.duration_s(len(body)), abs=1)
    assert answer["decode_ms"] > 0
    assert audio == b""


@pytest.mark.models
def test_the_whole_window_hears_the_same(ggml, speech):
    whole = whisper_cpp.WhisperCppModel()
    whole.load(**load_of(ggml, audio_ctx=0))
    answer, _ = whole.transcribe(over_the_line(speech), NEVER, **MULAW)
    whole.unload()
    assert understood(answer["text"])


@pytest.mark.models
def test_more_than_whispers_window_is_heard_in_parts(model):
    speak = voice_or_skip()
    lines = (
        "I would like to make an appointment.",
        "My bicycle has a flat tire.",
        "The chain is too long.",
        "Can I pay with a credit card?",
        "I will come on Monday morning.",
    )
    long = np.concatenate([np.pad(speak(line), (0, 36000)) for line in lines])
    assert long.size / 8000 > 30
    answer, _ = model.transcribe(over_the_line(long), NEVER, **MULAW)
    heard = words(answer["text"])
    assert [word for word in heard if word in ("appointment", "bicycle", "chain", "card", "monday")] == [
        "appointment", "bicycle", "chain", "card", "monday",
    ]  # fmt: skip


@pytest.mark.models
def test_a_cancel_stops_the_encoder_and_leaves_the_model_well(ggml, speech):
    """The cancel comes while the encoder runs: whisper.cpp itself asks for it, and stops there."""
    model = whisper_cpp.WhisperCppModel()
    model.load(**load_of(ggml))
    asked = []

    class CancelledInside(threading.Event):
        def is_set(self):
            asked.append(True)
            return len(asked) > 3

    answer, _ = model.transcribe(over_the_line(speech), CancelledInside(), **MULAW)
    assert answer == {}
    assert len(asked) < 50, "it went on though it was cancelled"
    answer, _ = model.transcribe(over_the_line(speech), NEVER, **MULAW)
    model.unload()
    assert "appointment" in answer["text"]


@pytest.mark.models
async def test_it_runs_as_a_worker(ggml, speech):
    spec = WorkerSpec(
        model=whisper_cpp.BACKEND.model, settings=load_of(ggml), canary=("canary", {}), canary_deadline_s=60.0
    )
    worker = WorkerLink(spec)
    await worker.start()
    try:
        answer, _ = await worker.request("transcribe", MULAW, over_the_line(speech))
    finally:
        await worker.stop(drain_s=0)
    assert "appointment" in answer["text"]


@pytest.mark.models
def test_an_english_model_is_asked_for_english_whatever_clients_say(model, speech):
    answer, _ = model.transcribe(over_the_line(speech), NEVER, language="x" * 999, **MULAW)
    assert "appointment" in answer["text"]


def test_a_multilingual_model_refuses_languages_it_does_not_know():
    model = whisper_cpp.WhisperCppModel()

    class Multilingual:
        multilingual = True

        def knows_language(self, language):
            return language in ("en", "de")

    model._whisper = Multilingual()
    assert model._language_heard("de") == "de"
    with pytest.raises(UnknownLanguage, match="no language"):
        model._language_heard("tlh")
