"""What a client calls its language is looked up, never kept."""

from types import SimpleNamespace

import pytest

from local_ai_server.backends.stt.faster_whisper import FasterWhisperModel
from local_ai_server.backends.stt.whisper_utterances import TaskNotSupported, UnknownLanguage
from model_worker.model import Cancelled


class Tokenizer:
    """As faster-whisper's: refuses languages that a multilingual model does not know, looks at no other."""

    def __init__(self, tokenizer, multilingual, *, task, language):
        if multilingual and language not in ("en", "de"):
            raise ValueError(f"{language!r} is not a valid language code")


def model(multilingual):
    model = FasterWhisperModel()
    model._whisper = SimpleNamespace(hf_tokenizer=None)
    model._tokenizer_class = Tokenizer
    model._multilingual, model._tokenizers, model._language = multilingual, {}, "en"
    return model


def test_an_english_model_listens_for_english_whatever_is_asked_for():
    english = model(multilingual=False)
    assert {english._language_heard(name) for name in ("en", "de", "../../etc/passwd", "x" * 9999)} == {"en"}
    assert not english._tokenizers


def test_a_multilingual_model_keeps_the_languages_it_knows():
    many = model(multilingual=True)
    assert many._language_heard("de") == "de"
    with pytest.raises(UnknownLanguage, match="codes as en, de, ja"):
        many._language_heard("../../etc/passwd")
    assert list(many._tokenizers) == [("de", "transcribe")]


def test_an_english_model_does_not_translate():
    english = model(multilingual=False)
    with pytest.raises(TaskNotSupported, match="multilingual"):
        english.transcribe(bytes(3200), Cancelled(), task="translate")
