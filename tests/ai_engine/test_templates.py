"""Templates: what may stand in braces, and what a value can do to a prompt (nothing)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.templates import MAX_VALUE_CHARACTERS, Template, TemplateError, clean_value


def test_variables_are_filled_in():
    template = Template.parse("Hello {caller_name}, you called {dialed_number} about {ai_order}.")
    assert template.variables == {"caller_name", "dialed_number", "ai_order"}
    assert template.fill({"caller_name": "Ann", "dialed_number": "700"}) == "Hello Ann, you called 700 about ."


def test_doubled_braces_are_braces():
    template = Template.parse('Answer as {{"ok": true}}.')
    assert template.constant
    assert template.fill({}) == 'Answer as {"ok": true}.'


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{caller_nam}", "did you mean {caller_name}?"),
        ("{weather}", "known are caller_name"),
        ("{AI_ORDER}", "unknown variable {AI_ORDER}"),
        ("{caller_name.__class__}", "unknown variable"),
        ("{caller_name[0]}", "unknown variable"),
        ("{caller_name!r}", "takes no format"),
        ("{caller_name:>1000000000}", "takes no format"),
        ("{}", "unknown variable {}"),
        ("{0}", "unknown variable {0}"),
        ("open { brace", "write {{ and }}"),
        ("close } brace", "write {{ and }}"),
    ],
)
def test_what_is_no_variable_is_an_error_that_says_the_fix(source, complaint):
    with pytest.raises(TemplateError) as error:
        Template.parse(source)
    assert complaint in str(error.value)


def test_a_value_is_never_expanded_again():
    template = Template.parse("{caller_name} / {call_id}")
    assert template.fill({"caller_name": "{call_id} {{x}}", "call_id": "secret"}) == "{call_id} {{x}} / secret"


@given(st.text(max_size=2000))
def test_a_value_is_one_short_line_of_visible_characters(value):
    cleaned = clean_value(value)
    assert len(cleaned) <= MAX_VALUE_CHARACTERS
    assert cleaned == cleaned.strip()
    assert not any(unicodedata.category(c)[0] == "C" or c in "\r\n\u2028\u2029" for c in cleaned)
    assert clean_value(cleaned) == cleaned


@given(st.text(max_size=100), st.text(max_size=300))
def test_filling_never_fails_and_keeps_the_literal_text(literal, value):
    source = literal.replace("{", "{{").replace("}", "}}") + "{caller_name}"
    assert Template.parse(source).fill({"caller_name": value}) == literal + clean_value(value)
