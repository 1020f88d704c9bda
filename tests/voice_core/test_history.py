"""What was said, in order, and only what was heard."""

from __future__ import annotations

from voice_core.history import History, Message


def test_turns_come_in_order_and_the_caller_before_the_answer():
    history = History()
    history.agent(1, "Hello.")
    history.agent(2, "We open at nine.")
    history.caller(2, " When do you open? ")
    assert history.messages() == (
        Message("assistant", "Hello."),
        Message("user", "When do you open?"),
        Message("assistant", "We open at nine."),
    )


def test_words_said_again_replace_the_first_and_empty_ones_are_no_message():
    history = History()
    history.caller(1, "I need")
    history.caller(1, "I need a room.")
    history.agent(1, "")
    assert [message.content for message in history.messages()] == ["I need a room."]
    history.caller(1, " ")
    assert history.messages() == ()


def test_a_turn_that_was_not_over_is_withdrawn():
    history = History()
    history.withdraw(1)
    history.caller(1, "I need")
    history.withdraw(1)
    assert history.messages() == ()


def test_a_snapshot_stays_what_it_was():
    history = History()
    history.caller(1, "One.")
    before = history.messages()
    assert history.messages() is before
    history.caller(2, "Two.")
    assert len(before) == 1
    assert len(history.messages()) == 2
