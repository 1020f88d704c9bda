"""Figures and what is written short are said in the voice's language, whoever asks: an old client sends "$42.50"."""

import re

import numpy as np
import pytest
from voices_under_test import installed, spec_of, spoken, working

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.stt import faster_whisper
from local_ai_server.backends.tts import piper
from local_ai_server.backends.tts.kokoro_http import KokoroHttp
from local_ai_server.backends.tts.kokoro_voices import LANGUAGE_NAMES, language_tag
from local_ai_server.backends.tts.melotts_model import MeloModel
from local_ai_server.backends.tts.speaking import Sound, SpeakingModel
from model_worker.model import Cancelled
from spoken_forms.spoken_form import spoken_form
from tests.speech_stand_in import SpeechStandIn


class Voices(SpeakingModel):
    """Remembers what it was given; a voice's name is its language."""

    voices = ("en", "de", "fr", "")
    default_voice = "en"

    def __init__(self):
        super().__init__()
        self.given = []

    def language(self, voice):
        return voice

    def _sounds(self, text, voice, speed, cancelled):
        self.given.append(text)
        yield Sound(np.full(8000, 0.1, np.float32), 8000, text)


@pytest.mark.parametrize(
    ("voice", "said"),
    [
        ("en", "five dollars at nine thirty"),
        ("de", "fünf Dollar at neun Uhr dreißig"),
        ("fr", "cinq dollars at neuf heures trente"),
        ("", "$5 at 9:30"),
    ],
)
def test_the_voice_is_given_words_of_its_language(voice, said):
    model = Voices()
    list(model.speak(b"", Cancelled(), text="**$5** at 9:30 😀", voice=voice))
    assert model.given == [said]


def test_another_server_is_given_words_too():
    server = SpeechStandIn()
    model = KokoroHttp()
    try:
        model.load(base_url=server.url, voice="af_heart")
        list(model.speak(b"", Cancelled(), text="It is $5.", voice="bm_george"))
        assert [request["input"] for request in server.asked] == ["It is five dollars."]
    finally:
        model.unload()
        server.stop()


@pytest.mark.parametrize("letter", LANGUAGE_NAMES)
def test_kokoros_voices_are_named_by_their_language(letter):
    """Hindi, Japanese and Mandarin read figures themselves."""
    tag = language_tag(f"{letter}f_someone")
    assert (spoken_form("5", tag) == "5") == (letter in "hjz")
    assert language_tag("alloy") == ""
    assert language_tag("alloy", letter) == tag


def test_melos_speakers_are_english_in_several_ways():
    model = MeloModel()
    model._language = "EN"
    assert [spoken_form("1/2/26", model.language(name))[:7] for name in ("EN-US", "EN-BR")] == ["January", "the fir"]
    model._language = "JP"
    assert spoken_form("5", model.language("JP")) == "5"


@pytest.mark.models
async def test_a_price_and_a_telephone_number_are_understood():
    """Piper speaks a little differently every time, so that it may say it again, as one would on the telephone."""
    voice, ear = installed(piper.BACKEND), installed(faster_whisper.BACKEND)
    heard = []
    async with (
        working(spec_of(voice, voice.plan(piper.Options(), Machine()))) as speaker,
        working(spec_of(ear, ear.plan(faster_whisper.Options(), Machine()))) as listener,
    ):
        for _ in range(8):
            audio = b"".join(a for _, a in (await spoken(speaker, "Your total is $42.50, call 555 0134."))[0])
            answer, _ = await listener.request("transcribe", {"encoding": "mulaw", "sample_rate_hz": 8000}, audio)
            heard.append(answer["text"])
            words = re.sub(r"[^a-z]+", " ", spoken_form(answer["text"], "en").lower())
            if "forty two dollars and fifty cents" in words and "five five five zero one three four" in words:
                return
    pytest.fail(f"nobody could have understood this: {heard}")
