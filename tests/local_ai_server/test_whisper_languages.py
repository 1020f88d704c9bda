"""What a client calls its language is looked up, never kept."""

from types import SimpleNamespace

import pytest

from local_ai_server.backends.stt.faster_whisper import FasterWhisperModel


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


def test_an_english_model_has_one_tokenizer_whatever_is_asked_for():
    english = model(multilingual=False)
    assert len({id(english._tokenizer(name)) for name in ("en", "de", "../../etc/passwd", "x" * 9999)}) == 1
    assert list(english._tokenizers) == ["en"]


def test_a_multilingual_model_keeps_the_languages_it_knows():
    many = model(multilingual=True)
    many._tokenizer("de")
    with pytest.raises(ValueError, match="not a valid language"):
        many._tokenizer("../../etc/passwd")
    assert list(many._tokenizers) == ["de"]
