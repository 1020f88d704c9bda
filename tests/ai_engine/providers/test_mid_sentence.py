"""The component that answers dies in mid-sentence: what the caller hears, and what the history says."""

from __future__ import annotations

import pytest

from ai_engine.providers.components.component import ComponentFailed
from ai_engine.providers.components.llm.chain import GO_ON
from tests.ai_engine.providers.pipeline_call import APOLOGY, HANG, Llm, PipelineCall, Tts, chained

BEGINNING = ["We are open", " from nine", " to six.", " On Sundays", " we are", " closed.", " You may also bo"]
SAID = "We are open from nine to six. On Sundays we are closed. You may also"
END = ["book", " a table", " by telephone."]
WHOLE = f"{SAID} book a table by telephone."
ASKED = "user: When are you open?"
CALL = """
    say when are you open
    until agent
    until quiet
"""
MOST_SILENCE_S = 1.5


def killed(component="llm"):
    return ComponentFailed(component, "the connection was lost", retryable=True)


@pytest.mark.parametrize(
    "goes_on", [END, [*BEGINNING[:-1], " You may also", *(f" {END[0]}", *END[1:])]], ids=["goes on", "begins again"]
)
@pytest.mark.parametrize("how", ["killed", "hangs"])
def test_the_next_language_model_goes_on_where_the_first_was_killed(how, goes_on):
    first, second = Llm([*BEGINNING, killed() if how == "killed" else HANG]), Llm(goes_on)
    with PipelineCall(CALL, llm=chained("llm", first, second, patience_s=2.0), tts=Tts()) as call:
        call.run()
        assert call.history() == [ASKED, f"assistant: {WHOLE}"]
        assert call.longest_silence_s() <= MOST_SILENCE_S
        assert second.asked[-1][-2:] == [f"assistant: {SAID}", f"user: {GO_ON}"]


def test_killed_before_its_first_word_it_is_not_missed():
    first, second = Llm([killed()]), Llm(["We are", " open."])
    with PipelineCall(CALL, llm=chained("llm", first, second), tts=Tts()) as call:
        call.run()
        assert call.history() == [ASKED, "assistant: We are open."]


def test_what_the_caller_heard_before_talking_over_the_second_is_what_the_history_says():
    rest = ["book a table", " by telephone,", " at any hour,", " on any day,", " for any number", " of guests."]
    script = """
        say when are you open
        until agent
        pause 4.6
        say wait a moment please
        until agent
        until quiet
    """
    first, second = Llm([*BEGINNING, killed()], ["Yes?"]), Llm(rest)
    with PipelineCall(script, llm=chained("llm", first, second), tts=Tts()) as call:
        call.run()
        asked, heard, *later = call.history()
        assert asked == ASKED
        heard = heard.removeprefix("assistant: ")
        whole = f"{SAID} {''.join(rest)}"
        assert whole.startswith(heard)
        assert len(SAID) < len(heard) < len(whole)
        assert later == [ASKED, "assistant: Yes?"]
        assert first.asked[-1][-3:] == [ASKED, f"assistant: {heard}", ASKED]


def test_the_next_voice_says_the_rest_of_a_phrase():
    text = "We are open from nine to six on every day of the week."
    first = Tts(breaks={"every day": (16, killed("tts"))})
    second = Tts("ann")
    with PipelineCall(CALL, llm=Llm([text]), tts=chained("tts", first, second)) as call:
        call.run()
        assert call.history() == [ASKED, f"assistant: {text}"]
        assert call.longest_silence_s() <= MOST_SILENCE_S
        (rest,) = second.spoken
        (phrase,) = (spoken for spoken in first.spoken if "every day" in spoken)
        assert phrase.endswith(rest)
        assert len(rest) < len(phrase)


def test_a_voice_that_hangs_is_not_waited_for():
    first, second = Tts(breaks={"We are open.": (3, HANG)}), Tts("ann")
    with PipelineCall(CALL, llm=Llm(["We are open."]), tts=chained("tts", first, second, patience_s=1.0)) as call:
        call.run()
        assert call.history() == [ASKED, "assistant: We are open."]
        assert call.longest_silence_s() <= MOST_SILENCE_S


@pytest.mark.parametrize("alone", [False, True])
def test_where_all_are_dead_an_apology_follows_what_was_said(alone):
    first, second = Llm([*BEGINNING, 3.0, killed()]), Llm([killed()])
    llm = first if alone else chained("llm", first, second)
    with PipelineCall(CALL, llm=llm, tts=Tts()) as call:
        call.run(tail_s=8.0)
        heard = " ".join(line.removeprefix("assistant: ") for line in call.history()[1:])
        assert heard.startswith("We are open from nine to six. On Sundays we are closed.")
        assert heard.endswith(APOLOGY)
        assert call.longest_silence_s() <= MOST_SILENCE_S
