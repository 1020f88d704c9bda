"""What was said, in order, and only what was heard."""

from __future__ import annotations

from voice_core.history import NO_RESULT_YET, History, Message, ToolUse


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


def test_what_tools_did_stands_between_the_question_and_the_answer():
    history = History()
    find, save = ToolUse("a", "find", "{}"), ToolUse("b", "save", "{}")
    history.agent(2, "Saved.")
    history.tool_called(2, find)
    history.tool_called(2, save)
    history.caller(2, "Find and save it.")
    history.caller(3, "Thanks.")
    history.tool_result("a", "Found.")
    history.tool_result("nobody", "Lost.")
    assert history.messages() == (
        Message("user", "Find and save it."),
        Message("assistant", "", find),
        Message("tool", "Found.", find),
        Message("assistant", "", save),
        Message("tool", NO_RESULT_YET, save),
        Message("assistant", "Saved."),
        Message("user", "Thanks."),
    )


def test_a_result_may_be_told_again_and_have_notes():
    history = History()
    history.tool_called(1, ToolUse("a", "find", "{}"))
    before = history.messages()
    history.tool_result("a", "Found.")
    history.tool_note("a", "(Not said.)")
    history.tool_note("nobody", "(Not said.)")
    assert before[1].content == NO_RESULT_YET
    assert history.messages()[1].content == "Found. (Not said.)"
