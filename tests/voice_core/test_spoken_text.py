"""Words laid over sound."""

from __future__ import annotations

import pytest

from voice_core.spoken_text import SpeakingRate, SpokenText


def spoken(*segments, complete=True, rate=100.0):
    text = SpokenText(SpeakingRate(rate))
    for words, n_bytes in segments:
        text.add(words, n_bytes)
    if complete:
        text.complete()
    return text


def test_text_is_all_that_is_spoken():
    assert spoken((" One two. ", 100), ("", 100), ("Three.", 100)).text == "One two. Three."


@pytest.mark.parametrize(
    ("position", "heard"),
    [(0, ""), (299, ""), (300, "One"), (799, "One"), (800, "One two."), (1099, "One two."), (1400, "One two. Three.")],
)
def test_words_are_heard_when_their_end_is(position, heard):
    assert spoken(("One two.", 800), ("Three.", 600)).until(position) == heard


def test_a_phrase_that_is_still_coming_is_measured_by_the_usual_rate():
    coming = spoken(("One two.", 200), complete=False)
    assert coming.until(200) == ""
    coming.add("", 600)
    assert coming.until(300) == "One"


def test_the_rate_is_learned_from_complete_phrases():
    rate = SpeakingRate(100.0)
    first = SpokenText(rate)
    first.add("Twelve chars", 2400)
    first.complete()
    first.complete()
    assert rate.bytes_per_character == 200.0
    rate.learn(1, 1_000_000)
    rate.learn(100, 0)
    assert rate.bytes_per_character == 200.0, "too little to learn from"
    rate.learn(12, 1200)
    assert rate.bytes_per_character == 150.0


@pytest.mark.parametrize(
    ("position", "start"), [(0, 0), (150, 0), (450, 400), (799, 400), (800, 800), (950, 800), (5000, 800)]
)
def test_going_on_begins_at_the_word_that_was_cut(position, start):
    assert spoken(("One two.", 800), ("Three.", 600)).word_start(position) == start


def test_sound_without_words_goes_on_where_it_was():
    assert spoken(("", 800)).word_start(500) == 500
    assert spoken().word_start(500) == 500
    assert spoken(("", 800)).until(800) == ""


def test_words_without_sound_are_heard_with_the_sound_before_them():
    assert spoken(("One.", 400), ("Two.", 0)).until(400) == "One. Two."
    assert spoken(("One.", 0), complete=False, rate=0.0).until(0) == ""
