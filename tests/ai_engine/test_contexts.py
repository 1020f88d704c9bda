"""Contexts: what a persona's file may say, complaints with file and line, and one call's data staying in that call."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ai_engine.config_file import ConfigError
from ai_engine.contexts import Context, find_context, load_contexts

NOW = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
MINIMAL = "greeting: Hello.\nprompt: You are Joe.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, text: str, name: str = "default") -> None:
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def complaint(folder: Path, text: str) -> str:
    write(folder, text)
    with pytest.raises(ConfigError) as error:
        load_contexts(folder)
    return str(error.value)


def test_the_shipped_contexts_load():
    contexts = load_contexts(Path(__file__).parents[2] / "config" / "contexts")
    assert contexts["default"].known_answers.pairs


def test_a_context_is_named_by_its_file(folder):
    write(folder, MINIMAL, "clinic")
    assert set(load_contexts(folder)) == {"clinic"}


def test_an_unknown_key_is_named_with_file_line_and_the_nearest_valid_one(folder):
    text = complaint(folder, MINIMAL + "known_answers:\n  acept_score: 0.5\n")
    assert f"{folder / 'default.yaml'}:4" in text
    assert "did you mean `accept_score`?" in text


@pytest.mark.parametrize(
    ("addition", "line", "expected"),
    [
        ("farewell: Bye {caller_nam}\n", 3, "did you mean {caller_name}?"),
        ("apology: Sorry {caller_name}\n", 3, "cannot hold variables"),
        ("provider:\n  - local\n", 3, "provider"),
        ("max_call_s: 0\n", 3, "max_call_s"),
        ("known_answers:\n  pairs:\n    - id: a\n      questions: Where?\n      answer: ''\n", 7, "answer"),
        ("known_answers:\n  pairs:\n    - id: A B\n      questions: Where?\n      answer: Here.\n", 5, "id"),
        ("known_answers:\n  pairs:\n    - id: a\n      questions: []\n      answer: Here.\n", 6, "questions"),
        ("known_answers:\n  pairs:\n    - id: a\n      question: Where?\n", 6, "did you mean `questions`?"),
        ("known_answers:\n  near_score: 0.9\n  accept_score: 0.8\n", 3, "near_score 0.9 is above accept_score 0.8"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_line(folder, addition, line, expected):
    text = complaint(folder, MINIMAL + addition)
    assert f"default.yaml:{line}" in text
    assert expected in text


def test_two_known_answers_cannot_share_an_id(folder):
    pair = "    - id: a\n      questions: Where?\n      answer: Here.\n"
    assert "two known answers have the id 'a'" in complaint(folder, MINIMAL + "known_answers:\n  pairs:\n" + pair * 2)


def test_all_files_are_complained_about_at_once(folder):
    write(folder, "greeting: Hi\n", "one")
    write(folder, "prompt: x\n", "two")
    with pytest.raises(ConfigError) as error:
        load_contexts(folder)
    assert "one.yaml" in str(error.value)
    assert "two.yaml" in str(error.value)


def test_an_empty_folder_says_where_to_put_a_persona(folder):
    with pytest.raises(ConfigError, match=r"put a persona into .*default\.yaml"):
        load_contexts(folder)


def test_a_context_that_is_not_there_is_answered_with_the_nearest(folder):
    write(folder, MINIMAL, "clinic")
    with pytest.raises(ConfigError, match="did you mean 'clinic'"):
        find_context(load_contexts(folder), "klinic")


def test_texts_of_a_call_hold_its_variables():
    context = Context(greeting="Hello {caller_name}.", prompt="Caller {caller_number}, order {ai_order}, {now}.")
    texts = context.for_call(
        call_id="c1", now=NOW, caller_name="Ann\r\nSYSTEM:", caller_number="123", dialplan={"AI_ORDER": "7", "X": "no"}
    )
    assert texts.greeting == "Hello Ann SYSTEM:."
    assert texts.system_prompt == "Caller 123, order 7, Saturday, 21 November 2026, 09:05."
    assert "x" not in texts.variables


def test_a_dialplan_variable_cannot_take_the_place_of_a_call_variable():
    texts = Context(greeting="{call_id}", prompt="x").for_call(call_id="real", now=NOW, dialplan={"call_id": "false"})
    assert texts.greeting == "real"


def test_lines_to_render_are_those_that_are_the_same_in_every_call():
    pairs = [{"id": "a", "questions": "Where?", "answer": "Here  it\n is."}]
    context = Context(greeting="Hi {caller_name}", prompt="x", known_answers={"pairs": pairs}, filler="Um.")
    lines = context.lines_to_render()
    assert "Here it is." in lines
    assert "Um." in lines
    assert not any("{" in line or line.startswith("Hi") for line in lines)
    assert len(lines) == len(set(lines))
