"""The personas that come with the project: each is whole, can be made one's own, and fits a small model."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
import yaml

from ai_engine.context_parts import set_answers
from ai_engine.contexts import Context, load_contexts
from ai_engine.conversation.decisions import FallBack, HangUp
from voice_core.words import tokens

FOLDER = Path(__file__).parents[2] / "config" / "contexts"
READY = ["clinic", "restaurant", "help_desk", "after_hours"]
ALL = [*READY, "default"]
NOW = datetime(2026, 11, 24, 20, 30, tzinfo=UTC)
MOST_PROMPT_WORDS = 100
"""150 to 170 tokens: a fifth of a context window of 768, of which the last turns and the answer need the rest."""
MOST_ANSWER_WORDS = 45
"""17 s of speech."""


@cache
def contexts() -> dict[str, Context]:
    return load_contexts(FOLDER)


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def test_there_is_one_for_each_trade():
    assert set(contexts()) == set(ALL)


@pytest.mark.parametrize("name", READY)
def test_each_says_what_has_to_be_replaced(name):
    text = text_of(name)
    head = text.partition("\ngreeting:")[0]
    assert "TEMPLATE" in head
    assert "docs/personas.md" in head
    marked = [line for line in text.splitlines() if "YOURS" in line and not line.startswith("# A ")]
    assert len(marked) >= 5
    for key in ("known_answers:", "dialed_numbers:"):
        assert any(key in line for line in marked), key


@pytest.mark.parametrize("name", READY)
def test_each_decides_what_a_receptionist_needs(name):
    written = yaml.safe_load(text_of(name))
    for key in (
        "greeting",
        "prompt",
        "silence_policy",
        "are_you_there",
        "filler",
        "farewell",
        "max_call_s",
        "fallback",
    ):
        assert key in written, key
    assert re.search(r"^(# )?hours:", text_of(name), re.MULTILINE)
    assert len(contexts()[name].known_answers.pairs) >= 8
    assert all(len(pair.questions) >= 3 for pair in contexts()[name].known_answers.pairs)


@pytest.mark.parametrize("name", READY)
def test_a_person_and_help_are_had_whatever_the_model_thinks(name):
    context = contexts()[name]
    found = set_answers(context.set_phrases, context.language)
    assert found is not None
    for said in ("Operator.", "A human, please.", "Can I speak to a real person?"):
        assert found.phrases.match(said) == "person"
    assert found.phrases.match_keys("0") == "person"
    for said in ("This is an emergency!", "I can't breathe."):
        assert found.phrases.match(said) == "emergency"
    person = found.answers["person"]
    assert isinstance(person.then, FallBack) or (name == "after_hours" and "nobody is here" in person.text)
    assert found.answers["emergency"].text


@pytest.mark.parametrize(
    ("name", "said", "phrase"),
    [
        ("after_hours", "No, nothing else.", "that-is-all"),
        ("after_hours", "That's all, thank you.", "that-is-all"),
        ("after_hours", "That is all I know about it.", None),
        ("help_desk", "I clicked on a strange link.", "security"),
        ("help_desk", "We got hacked!", "security"),
        ("help_desk", "My laptop was stolen.", "security"),
        ("help_desk", "My laptop is slow.", None),
        ("restaurant", "Can I speak to Rosa?", "person"),
        ("clinic", "I would like to talk to the doctor, please.", "person"),
    ],
)
def test_what_else_acts_by_itself(name, said, phrase):
    context = contexts()[name]
    found = set_answers(context.set_phrases, context.language)
    assert found is not None
    assert found.phrases.match(said) == phrase
    if phrase == "that-is-all":
        assert isinstance(found.answers[phrase].then, HangUp)


@pytest.mark.parametrize("name", ALL)
def test_prompts_are_short_enough_for_small_windows(name):
    context = contexts()[name]
    prompt = context.for_call(call_id="c1", now=NOW, caller_name="Ann Example").system_prompt
    assert len(prompt.split()) <= MOST_PROMPT_WORDS
    assert "{" not in prompt


@pytest.mark.parametrize("name", ALL)
def test_answers_are_short_and_no_wording_stands_twice(name):
    seen: dict[str, str] = {}
    for pair in contexts()[name].known_answers.pairs:
        assert len(pair.answer.split()) <= MOST_ANSWER_WORDS, pair.id
        for question in pair.questions:
            words = " ".join(tokens(question))
            assert seen.setdefault(words, pair.id) == pair.id, question


@pytest.mark.parametrize("name", ["restaurant", "help_desk", "after_hours"])
def test_no_known_answer_is_out_of_reach_behind_a_set_phrase(name):
    context = contexts()[name]
    found = set_answers(context.set_phrases, context.language)
    assert found is not None
    hidden = [q for pair in context.known_answers.pairs for q in pair.questions if found.phrases.match(q)]
    assert hidden == []


@pytest.mark.parametrize("name", ALL)
def test_what_is_commented_out_works_when_it_is_not(name, tmp_path):
    keys = "|".join(Context.model_fields)
    switched_on, within = [], False
    for line in text_of(name).splitlines():
        begins = re.match(rf"# ({keys}):( |$)", line) is not None
        within = begins or (within and re.match(r"#  +[a-z_]+:", line) is not None)
        switched_on.append(line[2:] if within else line)
    switched = "\n".join(switched_on)
    assert switched.count("\n# ") < text_of(name).count("\n# ")
    for other in ALL:
        (tmp_path / f"{other}.yaml").write_text(text_of(other), encoding="utf-8")
    # `hours` and the like may stand both ways in one file; the one that was commented out is what is tried.
    (tmp_path / f"{name}.yaml").write_text(switched, encoding="utf-8")
    loaded = load_contexts(tmp_path)[name]
    assert loaded.dialed_numbers or name == "default"
    assert loaded.closed_context == "after_hours" or name == "after_hours"


def test_a_closed_shop_names_its_next_opening():
    context = contexts()["after_hours"]
    prompt = context.for_call(call_id="c1", now=NOW.replace(hour=23, minute=50)).system_prompt
    assert "opens again tomorrow at 9" in prompt or "opens again at 9" in prompt, prompt
