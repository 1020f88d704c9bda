"""Whisper's engines on a line that carries no speech say nothing; what is said on it is heard. Real weights."""

import threading

import pytest
from phone_speech import over_the_line, voice_or_skip, words

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.registry import backend
from local_ai_server.backends.stt.faster_whisper import FasterWhisperModel
from local_ai_server.backends.stt.whisper_cpp import WhisperCppModel
from local_ai_server.backends.stt.whisper_utterances import default_window_s
from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.whisper_cpp_convert import convert
from tools.line_noise import SOUNDS, example, examples
from voice_wire.audio import encode_mulaw

pytestmark = pytest.mark.models
NEVER = threading.Event()
MULAW = {"encoding": "mulaw", "sample_rate_hz": 8000}
HARD = (
    ("silence", 3.0, -60.0),
    ("white noise", 3.0, -30.0),
    ("pink noise", 1.0, -45.0),
    ("rumble", 12.0, -15.0),
    ("hum 50 Hz", 3.0, -15.0),
    ("hum 60 Hz", 0.3, -60.0),
    ("breathing", 6.0, -15.0),
    ("cough", 6.0, -30.0),
    ("DTMF", 0.3, -15.0),
    ("ringback US", 3.0, -30.0),
    ("ringback US", 12.0, -15.0),
    ("ringback DE", 3.0, -15.0),
    ("busy DE", 3.0, -15.0),
    ("dial tone", 6.0, -15.0),
    ("special information", 12.0, -15.0),
    ("fax", 3.0, -15.0),
    ("clicks", 1.0, -30.0),
    ("crackle", 1.0, -15.0),
    ("keyboard", 3.0, -15.0),
    ("music major", 6.0, -15.0),
    ("music minor", 12.0, -15.0),
    ("music fast", 12.0, -30.0),
    ("strings", 3.0, -30.0),
)
"""Of each kind one; of those that fooled simpler guards all."""


@pytest.fixture(scope="module", params=["faster_whisper", "whisper_cpp"])
def model(request, tmp_path_factory):
    chosen = backend("stt", request.param)
    if reason := chosen.missing():
        pytest.skip(reason)
    try:
        path = find_model("whisper-tiny.en")
    except ModelMissing as error:
        pytest.skip(str(error))
    if request.param == "whisper_cpp":
        source, path = path, tmp_path_factory.mktemp("ggml") / "ggml-tiny.en.bin"
        convert(source, path)
    made = {"faster_whisper": FasterWhisperModel, "whisper_cpp": WhisperCppModel}[request.param]()
    made.load(**chosen.plan(chosen.options(model_path=path), Machine()).load)
    return made


@pytest.fixture(scope="module")
def speak():
    return voice_or_skip()


def heard(model, body):
    return model.transcribe(body, NEVER, **MULAW)[0]


@pytest.mark.parametrize(("name", "seconds", "dbfs"), HARD)
def test_no_words_are_made_of_what_is_no_speech(model, name, seconds, dbfs):
    answer = heard(model, encode_mulaw(example(name, seconds, dbfs).pcm))
    assert answer["text"] == ""
    assert answer["confidence"] is None


def test_every_kind_of_sound_is_tried():
    assert {name for name, _, _ in HARD} >= set(SOUNDS) - {"street", "ringback UK", "busy US", "music slow"}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_words_are_made_of_any_sound_at_any_length_and_level(model):
    texts = {(e.name, e.seconds, e.dbfs): heard(model, encode_mulaw(e.pcm))["text"] for e in examples()}
    assert {key: text for key, text in texts.items() if text} == {}


def said_three_times(model, speak, text, condition):
    """What is heard each time: the voice says nothing twice in the same way, and slurs a name now and then."""
    for _ in range(3):
        yield words(heard(model, over_the_line(speak(text), **condition))["text"])


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("Yes.", {}),
        ("No.", {"dbfs": -38.0}),
        ("Nine.", {}),
        ("Okay.", {"noise": "street", "snr_db": 15.0}),
        ("Monday.", {"noise": "street", "snr_db": 12.0}),
        ("What?", {"noise": "pink noise", "snr_db": 18.0}),
        ("Thank you.", {"noise": "hum 50 Hz", "snr_db": 12.0}),
        ("John Miller.", {"dbfs": -38.0}),
        ("Martha Jones.", {"noise": "pink noise", "snr_db": 20.0}),
    ],
)
def test_short_answers_are_not_taken_for_noise(model, speak, text, condition):
    for found in said_three_times(model, speak, text, condition):
        assert found, "it was taken for noise"
        if set(found) == set(words(text)):  # "9 9" for a long "nine" is heard all the same
            return
    pytest.fail(f"{text} was never understood")


@pytest.mark.parametrize(
    "condition",
    [{"dbfs": -40.0}, {"noise": "street", "snr_db": 10.0}, {"noise": "hum 60 Hz", "snr_db": 8.0}, {"noise": "crackle"}],
)
def test_a_sentence_is_heard_over_the_lines_noise(model, speak, condition):
    said = "Is there a guarantee on the repairs?"
    assert words(said) in said_three_times(model, speak, said, condition)


def test_the_encoders_window_is_shorter_for_smaller_models(model):
    assert model._context_s == default_window_s(384) == 15
    assert default_window_s(512) == 20
