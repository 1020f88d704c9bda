"""Kokoro's spelling of sounds, its tokens, and where a long phrase is cut. No engine is needed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_ai_server.backends.tts.kokoro_phonemes import MAX_TOKENS, VOCABULARY, chunks, in_kokoro_spelling, tokens


def test_the_vocabulary_is_the_published_one():
    assert len(VOCABULARY) == 114
    published = {";": 1, "…": 10, " ": 16, "\u0303": 17, "A": 24, "I": 25, "O": 31, "Q": 33, "S": 35, "Y": 41, "a": 43}
    published |= {"z": 68, "æ": 72, "ç": 78, "ə": 83, "ɡ": 92, "ŋ": 112, "ɹ": 123, "ʔ": 148, "ː": 158, "ᵻ": 177}
    assert {symbol: VOCABULARY[symbol] for symbol in published} == published


@pytest.mark.parametrize(
    ("espeak", "language", "kokoro"),
    [
        ("həlˈoʊ, hˌaʊ kæn aɪ hˈɛlp juː tədˈeɪ?", "a", "həlˈoʊ, hˌaʊ kæn aɪ hˈɛlp juː tədˈeɪ?"),
        ("bˈʌɾɚ, bˈʌʔn̩, rˈʊɹɹəl, lˈɒx, sˈiːʲ.", "b", "bˈʌɾɚ, bˈʌʔn, ɹˈʊɹɹəl, lˈɒk, sˈiː."),
        ("tʃˈao, dzˈiʲo, ɡˈɾatsje, nˈoʊ", "i", "ʧˈao, ʣˈiʲo, ɡˈɾaʦje, nˈO"),
        ("lˌəsˈɔ̃ bˈɔ̃ʒuʁ", "f", "lˌəsˈɔ̃ bˈɔ̃ʒuʁ"),
        ("tɕ\u0327 ç", "e", "tɕ ç"),
        ("ǁʘ❤ a", "e", "a"),
        ("", "a", ""),
    ],
)
def test_espeaks_sounds_in_kokoros_spelling(espeak, language, kokoro):
    assert in_kokoro_spelling(espeak, language) == kokoro


@given(st.text(max_size=300), st.sampled_from("abefhip"))
def test_whatever_comes_has_tokens(text, language):
    spelt = in_kokoro_spelling(text, language)
    assert all(0 < number < 178 for number in tokens(spelt)[1:-1])
    assert tokens(spelt)[0] == tokens(spelt)[-1] == 0


@given(st.text("aˈbɪ ,.!", max_size=2500))
def test_no_piece_is_longer_than_the_model_takes_and_nothing_spoken_is_lost(phonemes):
    pieces = chunks(phonemes)
    assert all(0 < len(piece) <= MAX_TOKENS for piece in pieces)
    for symbol in "abɪ":
        assert sum(piece.count(symbol) for piece in pieces) == phonemes.count(symbol)


def test_a_long_phrase_is_cut_at_a_mark_else_between_words():
    words = "bˈɪɡ " * 60
    assert chunks(words + ", " + words + words)[0].endswith(",")
    assert {piece[-1] for piece in chunks(words * 5)} == {"ɡ"}
    assert [len(piece) for piece in chunks("a" * 1100)] == [510, 510, 80]
    assert chunks("... !") == []
