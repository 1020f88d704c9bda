"""Tools in a conversation, on virtual time: when they run, what follows them, and what the history says of it."""

from __future__ import annotations

import pytest

from ai_engine.conversation.agent_floor import INTERRUPTED
from ai_engine.conversation.decisions import Adopt, CarryOut, HangUp, Interrupt, RunTool, Say, Speculate, Transfer
from ai_engine.conversation.follow_ups import ToolDone
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, CallerSpeech, ProviderFailed, ToolCall
from tests.ai_engine.conversation.test_conversation import Line, audio
from voice_core.history import NO_RESULT_YET, Message, ToolUse

TO_SALES = Transfer("700", "", "sales")
USE = ToolUse("t1", "transfer", '{"to": "sales"}')


def asked(line: Line, text: str = "Put me through to sales.") -> None:
    """The caller has asked, the answer wants the tool, and the tool has begun."""
    line.run(0.5, 0.9)
    line.run(0.2)
    line.tell(CallerSpeech(1, 1, text, final=False), ToolCall(1, 1, "t1", "transfer", {"to": "sales"}))
    line.run(0.8)
    assert line.taken(RunTool) == [RunTool(1, 1, "t1", "transfer", {"to": "sales"})]


def done(line: Line, then: object = None, text: str = "Connecting.") -> None:
    line.conversation.tool_done(ToolDone(1, 1, "t1", text, then), line.now)


def messages(line: Line) -> list[Message]:
    return list(line.conversation.history.messages())


def test_what_a_tool_did_stands_between_the_question_and_what_was_heard():
    line = Line()
    asked(line)
    assert messages(line)[1:] == [Message("assistant", "", USE), Message("tool", NO_RESULT_YET, USE)]
    done(line)
    line.tell(audio(1, text="I am connecting you."), AgentAudioDone(1, 1))
    line.run(1.5)
    assert [(m.role, m.content) for m in messages(line)] == [
        ("user", "Put me through to sales."),
        ("assistant", ""),
        ("tool", "Connecting."),
        ("assistant", "I am connecting you."),
    ]


def test_a_tool_may_take_longer_than_an_answer():
    line = Line(answer_timeout_s=2.0)
    asked(line)
    line.run(30.0)
    assert line.taken(Interrupt) == []
    done(line)
    line.run(3.0)
    assert [interrupt.turn for interrupt in line.taken(Interrupt)] == [1], "the model is late now"


@pytest.mark.parametrize("then", [TO_SALES, HangUp("bye"), CarryOut("t1")])
def test_what_follows_a_tool_waits_until_the_words_before_it_were_heard(then):
    line = Line()
    asked(line)
    done(line, then)
    line.tell(audio(1, text="One moment, please.", seconds=2.0), AgentAudioDone(1, 1))
    line.run(1.5)
    assert line.taken(Transfer, HangUp, CarryOut) == []
    line.run(1.0)
    assert line.taken(Transfer, HangUp, CarryOut) == [then]
    line.run(1.0)
    assert line.taken(Transfer, HangUp, CarryOut) == []


def test_what_follows_is_done_although_nothing_was_said():
    line = Line()
    asked(line)
    done(line, TO_SALES)
    line.tell(AgentAudioDone(1, 1))
    line.run(0.5)
    assert line.taken(Transfer) == [TO_SALES]


def test_what_follows_is_done_although_the_words_before_it_failed():
    line = Line()
    asked(line)
    done(line, TO_SALES)
    line.tell(ProviderFailed(1, 1, "llm", "gone", retryable=True))
    line.run(0.1)
    assert line.taken(Transfer) == [TO_SALES]
    assert line.taken(Say) == []


def test_what_follows_is_done_although_the_words_before_it_broke_off():
    line = Line()
    asked(line)
    done(line, TO_SALES)
    line.tell(audio(1, text="I am putting", seconds=0.5), ProviderFailed(1, 1, "tts", "gone", retryable=True))
    line.run(1.0)
    assert line.taken(Transfer) == [TO_SALES]


def test_a_caller_who_talks_over_the_words_keeps_what_follows_from_being_done():
    line = Line()
    asked(line)
    done(line, TO_SALES)
    line.tell(audio(1, text="I am putting you through.", seconds=4.0), AgentAudioDone(1, 1))
    line.run(1.0)
    line.run(1.5, 0.9)
    line.run(3.0)
    assert [(type(d), d.turn) for d in line.taken(Transfer, Interrupt)] == [(Interrupt, 1)]
    (result,) = [m for m in messages(line) if m.role == "tool"]
    assert result.content == f"Connecting. {INTERRUPTED}"


def test_a_tool_that_ends_after_its_answer_was_interrupted_is_told_in_the_next_prompt():
    line = Line()
    asked(line)
    line.run(1.5, 0.9)
    line.run(0.4)
    interrupt, guess = line.taken(Interrupt, Speculate)
    assert (interrupt.turn, guess.turn) == (1, 2)
    assert [m.content for m in guess.history if m.role == "tool"] == [NO_RESULT_YET]
    done(line, TO_SALES)
    line.run(2.0)
    assert line.taken(Transfer) == []
    assert [m.content for m in messages(line) if m.role == "tool"] == [f"Connecting. {INTERRUPTED}"]


def test_a_cough_while_a_tool_runs_costs_nothing():
    line = Line()
    asked(line)
    line.run(0.2, 0.9)
    line.run(1.0)
    done(line)
    line.tell(audio(1, text="Done."), AgentAudioDone(1, 1))
    line.run(1.5)
    assert line.taken(Interrupt) == []
    assert messages(line)[-1] == Message("assistant", "Done.")


def test_an_answer_that_used_a_tool_is_not_tried_again():
    line = Line()
    asked(line)
    done(line)
    line.taken()
    line.tell(ProviderFailed(1, 1, "llm", "gone", retryable=True))
    line.run(0.1)
    assert line.taken(Speculate, Adopt) == []


def test_two_tools_of_one_answer_keep_their_order():
    line = Line()
    asked(line)
    done(line)
    line.tell(ToolCall(1, 1, "t2", "look_up", {}))
    line.run(0.1)
    assert line.taken(RunTool) == [RunTool(1, 1, "t2", "look_up", {})]
    line.conversation.tool_done(ToolDone(1, 1, "t2", "Found."), line.now)
    assert [m.content for m in messages(line) if m.role == "tool"] == ["Connecting.", "Found."]


def test_nothing_follows_after_the_end_of_the_call():
    line = Line()
    asked(line)
    line.conversation.end(line.now)
    line.taken()
    done(line, TO_SALES)
    assert line.conversation.decisions == []


def test_sound_before_the_tool_does_not_wait_for_it():
    line = Line()
    line.run(0.5, 0.9)
    line.run(0.2)
    said = AgentAudio(1, 1, b"\x10" * 4000, text="Let me see.")
    line.tell(CallerSpeech(1, 1, "Is it open?", final=False), said, ToolCall(1, 1, "t1", "look_up", {}))
    line.run(1.5)
    assert len(line.taken(RunTool)) == 1
    done(line)
    line.tell(audio(1, text="It is open."), AgentAudioDone(1, 1))
    line.run(1.5)
    assert messages(line)[-1] == Message("assistant", "Let me see. It is open.")
