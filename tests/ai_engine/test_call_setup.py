"""Which context a call gets, and what of it reaches the conversation."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from ai_engine.asterisk.reconcile import Fallback
from ai_engine.call_setup import choose_context, destination, phrases_for, settings_for
from ai_engine.context_parts import set_answers
from ai_engine.contexts import Context
from ai_engine.conversation.conversation_settings import ConversationSettings, GreetingMode, Phrases
from ai_engine.conversation.decisions import FallBack, HangUp, Transfer
from ai_engine.conversation_section import DECIDED_BY_CONTEXT

MONDAY_NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
MONDAY_NIGHT = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)
ENGINES = Fallback("parley-fallback", "s", 1)


def context(**keys: Any) -> Context:
    return Context(greeting="Hello.", prompt="x", **keys)


HOURS = {"time_zone": "UTC", "monday": "09:00-17:00"}
CONTEXTS = {
    "default": context(),
    "shop": context(hours=HOURS, closed_context="night"),
    "night": context(hours={"time_zone": "UTC", "monday": "closed"}, closed_context="default"),
    "always": context(hours=HOURS),
}


@pytest.mark.parametrize(
    ("asked_for", "now", "name"),
    [
        (None, MONDAY_NINE, "default"),
        ("", MONDAY_NINE, "default"),
        ("shop", MONDAY_NINE, "shop"),
        ("shop", MONDAY_NIGHT, "night"),  # whose own hours are not asked
        ("always", MONDAY_NIGHT, "always"),  # has hours to speak of, and nobody else to answer
        ("nobody", MONDAY_NINE, "default"),
    ],
)
def test_hours_choose_the_context(asked_for, now, name):
    choice = choose_context(CONTEXTS, "default", asked_for, now)
    assert choice.name == name
    assert choice.context is CONTEXTS[name]
    assert choice.unknown == ("nobody" if asked_for == "nobody" else "")


@pytest.mark.parametrize(
    ("asked_for", "dialed", "now", "name"),
    [
        (None, "701", MONDAY_NINE, "shop"),
        (None, "701", MONDAY_NIGHT, "night"),
        (None, "702", MONDAY_NINE, "always"),
        (None, "800", MONDAY_NINE, "default"),
        ("always", "701", MONDAY_NINE, "always"),
        ("nobody", "701", MONDAY_NINE, "shop"),
    ],
)
def test_the_dialled_number_chooses_where_the_dialplan_does_not(asked_for, dialed, now, name):
    numbers = {"shop": ["701"], "always": ["_70X"]}
    contexts = {
        name: each.model_copy(update={"dialed_numbers": numbers.get(name, ())}) for name, each in CONTEXTS.items()
    }
    assert choose_context(contexts, "default", asked_for, now, dialed=dialed).name == name


def test_a_closed_context_speaks_of_the_hours_that_led_to_it():
    choice = choose_context(CONTEXTS, "default", "shop", MONDAY_NIGHT)
    assert choice.hours is CONTEXTS["shop"].hours


def test_everything_that_a_context_decides_reaches_the_settings():
    chosen = context(
        greeting_mode="wait",
        greeting_wait_s=3,
        greeting_delay_s=1,
        interruptible_greeting=False,
        silence_policy={"ask_after_s": 2, "ask_times": 3, "hang_up_after_s": 9},
        max_call_s=100,
        time_warning_s=10,
        fallback={"after_failures": 1},
    )
    base = ConversationSettings()
    settings = settings_for(chosen, base)
    assert settings.greeting_mode is GreetingMode.WAIT
    changed = {f.name for f in dataclasses.fields(base) if getattr(settings, f.name) != getattr(base, f.name)}
    assert changed == (DECIDED_BY_CONTEXT - {"frame_ms"}) | {"max_failures"}
    assert settings_for(context(), ConversationSettings(max_failures=7)).max_failures == 7


def test_every_sentence_of_a_context_reaches_the_conversation():
    names = [field.name for field in dataclasses.fields(Phrases)]
    keys: dict[str, Any] = {name: f"This is {name}." for name in names if name != "disclosure"}
    chosen = Context(prompt="x", disclose_ai="This is disclosure.", **keys)
    phrases = phrases_for(chosen.for_call(call_id="c1", now=MONDAY_NINE))
    for name in names:
        said = getattr(phrases, name)
        assert (said if isinstance(said, str) else said[0]) == f"This is {name}."


def test_a_caller_who_was_cut_off_is_told_so_at_once_in_place_of_the_greeting():
    chosen = context(
        greeting_mode="wait", greeting_delay_s=2.0, reconnected="We were cut off, {caller_name}.", disclose_ai=True
    )
    settings = settings_for(chosen, ConversationSettings(), cut_off=True)
    assert (settings.greeting_mode, settings.greeting_delay_s) == (GreetingMode.AGENT, 0.0)
    texts = chosen.for_call(call_id="c1", now=MONDAY_NINE, caller_name="Ann")
    phrases = phrases_for(texts, cut_off=True)
    assert phrases.greeting == "We were cut off, Ann."
    assert phrases.disclosure == phrases_for(texts).disclosure != ""


def test_what_a_caller_hears_who_was_cut_off_or_has_no_room_is_rendered_ahead():
    lines = context(reconnected="We were cut off.", busy="All lines are busy.", disclose_ai="I am a machine.")
    assert {"I am a machine. We were cut off.", "All lines are busy."} <= set(lines.lines_to_render())


@pytest.mark.parametrize(
    ("fallback", "goes_to"),
    [
        ({}, ENGINES),
        ({"act": "hang_up"}, None),
        ({"act": "transfer", "extension": "600"}, Fallback(None, "600", 1)),
        ({"act": "transfer", "extension": "600", "dialplan_context": "desk"}, Fallback("desk", "600", 1)),
    ],
)
def test_where_a_caller_goes_when_nothing_works(fallback, goes_to):
    assert destination(context(fallback=fallback), ENGINES) == goes_to


def test_before_a_context_is_known_callers_go_to_the_engines_fallback():
    assert destination(None, ENGINES) == ENGINES


def test_set_phrases_become_what_the_conversation_does():
    rules = context(
        set_phrases=[
            {"id": "person", "meaning": "person", "keys": "0", "act": "transfer", "extension": "600"},
            {"id": "emergency", "meaning": "emergency", "answer": "Please hang up and dial 112."},
            {"id": "bye", "said": ["goodbye", "[that is|that's] all"], "act": "hang_up", "answer": "Goodbye."},
            {"id": "nobody", "said": "nobody", "act": "fallback"},
        ]
    ).set_phrases
    found = set_answers(rules, "en")
    assert found is not None
    assert found.phrases.match("Operator, please.") == "person"
    assert found.answers["person"].then == Transfer("600", "", "set phrase person")
    assert found.answers["emergency"].text == "Please hang up and dial 112."
    assert found.answers["emergency"].then is None
    assert found.answers["bye"].then == HangUp("set phrase bye")
    assert found.answers["nobody"].then == FallBack("set phrase nobody")
    assert set_answers((), "en") is None
