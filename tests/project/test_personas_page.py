"""docs/personas.md: its examples are valid, and each key it promises has one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_engine.contexts import Context

PAGE = (Path(__file__).parents[2] / "docs" / "personas.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
KEYS = tuple(
    """
    language voice provider prompt greeting greeting_mode greeting_wait_s greeting_delay_s interruptible_greeting
    disclose_ai recording.enabled recording.notice recording.pause_on_keys_s known_answers.accept_score
    known_answers.margin known_answers.near_score known_answers.coverage_weight known_answers.pairs.id
    known_answers.pairs.questions known_answers.pairs.answer set_phrases.id set_phrases.meaning set_phrases.said
    set_phrases.keys set_phrases.act set_phrases.answer set_phrases.extension set_phrases.dialplan_context
    keypad.wait_s keypad.max_keys keypad.secret keypad.secret_after are_you_there filler farewell apology giving_up
    reconnected busy no_information silence_policy.ask_after_s silence_policy.ask_times silence_policy.hang_up_after_s
    max_call_s time_warning time_warning_s time_up fallback.act fallback.extension fallback.dialplan_context
    fallback.after_failures hours.time_zone hours.monday hours.holidays hours.special_days closed_context dialed_numbers
""".split()  # noqa: SIM905 - sixty names read better without quotes
)


def keys_in(data: Any, under: str = "") -> set[str]:
    if isinstance(data, list):
        return set().union(*(keys_in(each, under) for each in data))
    if not isinstance(data, dict):
        return {under}
    return {under}.union(*(keys_in(value, f"{under}.{key}".lstrip(".")) for key, value in data.items()))


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_is_valid(example):
    Context(**{"greeting": "Hello.", "prompt": "You are Joe.", **yaml.safe_load(example)})


def test_each_key_has_an_example():
    shown = set().union(*(keys_in(yaml.safe_load(example)) for example in EXAMPLES))
    assert [key for key in KEYS if key not in shown] == []
    assert {key.partition(".")[0] for key in KEYS} <= set(Context.model_fields)


def test_each_ready_persona_is_named():
    folder = Path(__file__).parents[2] / "config" / "contexts"
    assert [file.name for file in folder.glob("*.yaml") if f"`{file.name}`" not in PAGE] == []
