"""How long a pause ends a turn, and what words say about it."""

from __future__ import annotations

import pytest

from voice_core.end_of_turn import Completeness, EndOfTurn, WaitLimits, completeness
from voice_core.turn_words import UNLISTED
from voice_core.words import (
    asks_about_now,
    is_answer,
    is_backchannel,
    is_firm_answer,
    is_greeting,
    is_open_ended,
)

COMPLETE, PLAIN, OPEN = Completeness.COMPLETE, Completeness.PLAIN, Completeness.OPEN
HALF_SAID = Completeness.HALF_SAID


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, Completeness.UNKNOWN),
        ("", PLAIN),
        ("What are your opening hours?", COMPLETE),
        ("How much is a haircut?", COMPLETE),
        ("Yes.", COMPLETE),
        ("No, thank you.", COMPLETE),
        ("Hello?", COMPLETE),
        ("Can you repair?", OPEN),
        ("Hello, do you sell?", OPEN),
        ("What do you sell?", COMPLETE),
        ("I was wondering who the owner.", OPEN),
        ("I was wondering who the owner is.", PLAIN),
        ("How much would a new chain?", OPEN),
        ("How much would a new chain cost me?", COMPLETE),
        ("How long does a repair?", OPEN),
        ("How much is a new chain?", COMPLETE),
        ("How much do you charge?", COMPLETE),
        ("Can you repair bikes?", COMPLETE),
        ("Uh-huh.", COMPLETE),
        ("Interesting.", COMPLETE),
        ("That's all.", COMPLETE),
        ("I want to cancel my appointment.", PLAIN),
        ("Where are you from?", PLAIN),
        ("What is that?", PLAIN),
        ("Price?", PLAIN),
        ("Two.", PLAIN),
        ("I would like", OPEN),
        ("I would like to know.", OPEN),
        ("Can you tell me?", OPEN),
        ("Tomorrow and", OPEN),
        ("I need the", OPEN),
        ("A table for", OPEN),
        ("My name is", OPEN),
        ("Um", OPEN),
        ("Well, um.", OPEN),
        ("Good evening, I", OPEN),
        ("I was thinking...", OPEN),
        ("On Monday,", OPEN),
        ("So that I can —", OPEN),
        ("My number is 030 12", HALF_SAID),
        ("My number is 030 12,", HALF_SAID),
        ("My number is 030 1234567.", COMPLETE),
        ("My number is 030 1234567,", OPEN),
        ("Twenty five.", Completeness.MAYBE_WHOLE),
        ("Is it 12 30?", COMPLETE),
    ],
)
def test_what_the_words_say(text, expected):
    assert completeness(text) is expected


def wait_ms(*texts, **limits):
    policy = EndOfTurn(WaitLimits(**limits))
    for text in texts:
        policy.begin()
        policy.transcript(text)
    return policy.wait_ms


def test_the_wait_follows_the_words():
    assert EndOfTurn().wait_ms == 650
    assert wait_ms("What are your opening hours?") == 320
    assert wait_ms("I want to cancel my appointment.") == 500
    assert wait_ms("I would like to") == 1100


@pytest.mark.parametrize(
    ("text", "settled", "expected_ms"),
    [
        ("What are your opening hours?", True, 380),
        ("What are your opening hours?", False, 750),
        ("I was wondering who owns the shop.", True, 380),
        ("I was wondering who owns the shop.", False, 750),
        ("Can you tell me about", True, 1100),
        ("My number is 030 12", False, 1400),
    ],
)
def test_a_ready_answer_waits_as_long_as_more_words_could_change_it(text, settled, expected_ms):
    policy = EndOfTurn()
    policy.transcript(text)
    policy.answer_found(settled=settled)
    assert policy.wait_ms == expected_ms
    policy.begin()
    assert policy.wait_ms == 650
    policy.transcript("What are your opening hours?")
    assert policy.wait_ms == 320, "it was said of other words"


def test_a_recogniser_that_marks_sentences_and_did_not_mark_this_one():
    assert wait_ms("I want to cancel my appointment") == 500, "it may never mark any"
    assert wait_ms("Good day to you sir.", "I want to cancel my appointment") == 750
    assert wait_ms("Good day to you sir.", "") == 500


def test_what_was_known_of_the_words_ends_when_the_caller_goes_on():
    policy = EndOfTurn()
    policy.transcript("What are your opening hours?")
    assert policy.completeness is COMPLETE
    policy.begin()
    assert policy.completeness is Completeness.UNKNOWN
    assert policy.wait_ms == 650


def test_a_semantic_probability_moves_the_wait_within_its_limits():
    policy = EndOfTurn()
    policy.transcript("I want to cancel my appointment.")
    waits = {}
    for probability in (-1.0, 0.0, 0.5, 1.0, 2.0):
        policy.semantic(probability)
        waits[probability] = policy.wait_ms
    assert waits == {-1.0: 700, 0.0: 700, 0.5: 500, 1.0: 320, 2.0: 320}
    policy.transcript("I would like to")
    policy.semantic(0.0)
    assert policy.wait_ms == 1200


def test_things_half_said_are_waited_for_longest_and_whole_ones_not_at_all():
    assert wait_ms("My number is 030 12") == 1400
    assert wait_ms("My number is 030 1234567.") == 320
    assert wait_ms("one two three four five six seven") == 800


def test_in_a_language_without_word_lists_every_pause_gets_longer():
    policy = EndOfTurn(words=UNLISTED)
    policy.transcript("Chciałbym umówić wizytę.")
    assert policy.wait_ms == 750
    policy.transcript("Czy dzisiaj jest otwarte?")
    assert policy.wait_ms == 320
    policy.transcript("030 12")
    assert policy.wait_ms == 1400


def test_a_quick_caller_is_answered_sooner():
    policy = EndOfTurn()
    policy.transcript("I want to cancel my appointment.")
    for _ in range(3):
        policy.went_on_after(220)
    assert policy.wait_ms == 500, "three pauses are no proof"
    policy.went_on_after(220)
    assert policy.wait_ms == 400
    policy.went_on_after(300)
    policy.went_on_after(280)
    assert policy.wait_ms == pytest.approx(1.1 * 280 + 150), "a tenth, what noticing takes, and a margin"
    policy.transcript("What are your opening hours?")
    assert policy.wait_ms == 320, "no question is answered sooner than a complete one"


def test_one_odd_pause_changes_nothing():
    quick = EndOfTurn()
    for pause_ms in (220, 220, 1150, 220, 220):
        quick.went_on_after(pause_ms)
    quick.transcript("I want to cancel my appointment.")
    assert quick.wait_ms == 400
    quick.went_on_after(700)
    assert quick.wait_ms == pytest.approx(820), "two are no longer odd"


def dictating(*pauses_ms):
    policy = EndOfTurn()
    for pause_ms in pauses_ms:
        policy.transcript("My number is 030")
        policy.went_on_after(pause_ms)
        policy.begin()
    return policy


def test_pauses_between_the_groups_of_a_number_count_for_numbers_only():
    policy = dictating(1900, 2000, 1900)
    policy.transcript("My number is 030")
    assert policy.wait_ms == pytest.approx(1.1 * 1900 + 50)
    policy.transcript("My number is 030 1234")
    assert policy.completeness is Completeness.MAYBE_WHOLE
    assert policy.wait_ms == 1400
    policy.transcript("I want to cancel my appointment.")
    assert policy.wait_ms == 500
    policy = dictating(2000)
    policy.transcript("My number is 030")
    assert policy.wait_ms == 1400, "one pause is no habit"
    policy = dictating(9000, 9000)
    policy.transcript("My number is 030")
    assert policy.wait_ms == 2500


def test_a_caller_who_pauses_long_is_given_longer():
    policy = EndOfTurn()
    policy.transcript("I want to cancel my appointment.")
    policy.went_on_after(100)
    policy.went_on_after(700)
    assert policy.wait_ms == 500, "one pause is no habit"
    policy.went_on_after(640)
    assert policy.wait_ms == pytest.approx(754)
    policy.cut_off(5000)
    assert policy.wait_ms == 850
    policy.transcript("What are your opening hours?")
    assert policy.wait_ms == pytest.approx(320 + 0.3 * 350)


@pytest.mark.parametrize(
    ("text", "backchannel", "greeting", "answer", "firm"),
    [
        ("Uh-huh.", True, False, False, False),
        ("Mm, right, okay.", True, False, False, False),
        ("Yeah.", True, False, True, True),
        ("Hello.", False, True, False, False),
        ("Good morning!", False, True, False, False),
        ("Yes, please.", False, False, True, True),
        ("No.", False, False, True, True),
        ("Okay.", True, False, True, False),
        ("Not really.", False, False, False, False),
        ("Wait a minute.", False, False, False, False),
        ("You", False, False, False, False),
        ("", False, False, False, False),
        ("okay okay okay okay okay okay", False, False, False, False),
    ],
)
def test_kinds_of_short_words(text, backchannel, greeting, answer, firm):
    assert (is_backchannel(text), is_greeting(text), is_answer(text), is_firm_answer(text)) == (
        backchannel,
        greeting,
        answer,
        firm,
    )


def test_no_words_are_not_open():
    assert not is_open_ended(" ")


@pytest.mark.parametrize(
    ("heard", "asked"),
    [
        ("Sure. Is seven fine for you?", True),
        ("Sure. Is seven fine", True),
        ("Sure. Is", False),
        ("", False),
        ("Sure. Is seven fine for you? We", False),
        ("Sure. Is seven fine for you? We are open until", False),
    ],
)
def test_a_question_counts_from_just_before_its_last_word(heard, asked):
    assert asks_about_now("Sure. Is seven fine for you? We are open until ten.", heard) is asked
