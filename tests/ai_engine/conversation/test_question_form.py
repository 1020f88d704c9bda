import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.conversation.english_words import stem, subject_words
from ai_engine.conversation.question_form import bindings, read_question, spanned_weekdays


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Are you open on Sundays?", {"sunday"}),
        ("tomorrow or on Christmas", {"tomorrow", "christmas"}),
        ("forty-two", {"42"}),
        ("one hundred and forty dollars", {"140", "140 dollar"}),
        ("one hundred and five", {"105"}),
        ("twenty miles", {"20", "20 mile"}),
        ("at 3 or at seven", {"3", "7"}),
        ("two hundred and three", {"203"}),
        ("do you have one", set()),
        ("are you open at one", {"1"}),
        ("for one day", {"1", "1 day"}),
        ("Is Tom Becker there?", {"name:tom", "name:becker"}),
        ("IS TOM THERE?", set()),
        ("What do I pay? It is OK.", {"name:ok"}),
        ("", set()),
    ],
)
def test_bindings(text: str, expected: set[str]) -> None:
    assert bindings(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Monday to Wednesday from nine", {"monday", "tuesday", "wednesday"}),
        ("Friday through Sunday", {"friday", "saturday", "sunday"}),
        ("Sunday to Monday", {"sunday", "monday"}),
        ("Monday and Friday", set()),
    ],
)
def test_a_span_of_weekdays_holds_those_between(text: str, expected: set[str]) -> None:
    assert spanned_weekdays(text) == expected


@pytest.mark.parametrize(
    ("raw", "text", "clauses"),
    [
        ("Hi, could you tell me what time you open?", "what time you open", 1),
        ("Uh, yeah, where are you?", "where are you", 1),
        ("what's your name and who is the owner", "what is your name who is the owner", 2),
        ("How much is it? And do you take cards?", "how much is it do you take cards", 2),
        ("salt and pepper, do you have that", "salt and pepper do you have that", 1),
        ("I have a flat tire, can you fix it?", "i have a flat tire can you fix it", 1),
    ],
)
def test_politeness_goes_and_clauses_are_counted(raw: str, text: str, clauses: int) -> None:
    form = read_question(raw)
    assert form.text == text
    assert len(form.clauses) == clauses


@pytest.mark.parametrize("raw", ["I like bikes.", "okay", "thank you", "My name is Tom.", "you"])
def test_statements_do_not_ask(raw: str) -> None:
    assert not read_question(raw).asks


@pytest.mark.parametrize(
    ("raw", "pronouns"),
    [
        ("How much is it?", {"it"}),
        ("What does it cost to replace the chain?", set()),
        ("how long does that take", {"that"}),
        ("I have an electric bike, do you repair those?", set()),
    ],
)
def test_pronouns_without_antecedent(raw: str, pronouns: set[str]) -> None:
    assert read_question(raw).pronouns == pronouns


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("how much is a repair", "what do you charge to fix something"),
        ("where is your shop", "what is your address"),
        ("do you rent bicycles", "can i hire a bike"),
    ],
)
def test_words_of_the_same_meaning_are_one_subject(one: str, other: str) -> None:
    assert subject_words(one) & subject_words(other)


@pytest.mark.parametrize(
    ("word", "stemmed"),
    [("parties", "party"), ("churches", "church"), ("stopping", "stop"), ("bus", "bus"), ("lights", "light")],
)
def test_stems(word: str, stemmed: str) -> None:
    assert stem(word) == stemmed


@given(st.text())
def test_any_text_is_accepted(raw: str) -> None:
    form = read_question(raw)
    assert form.text == form.text.lower()
