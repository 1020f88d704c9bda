"""Which arguments a caller's words name plainly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.conversation.argument_words import arguments_said

DEPARTMENT = {"type": "string", "enum": ["sales", "front_desk", "accounts"]}
ORDER = {"type": "string", "pattern": "^[0-9]{4}$"}
GUESTS = {"type": "integer", "minimum": 1}


def schema(required: tuple[str, ...] = ("x",), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


@pytest.mark.parametrize(
    ("said", "wanted", "value"),
    [
        ("Put me through to Sales, please.", DEPARTMENT, "sales"),
        ("The front desk!", DEPARTMENT, "front_desk"),
        ("Front, desk?", DEPARTMENT, "front_desk"),
        ("Sales or accounts, I am not sure.", DEPARTMENT, None),
        ("wholesales", DEPARTMENT, None),
        ("Whoever.", {"enum": ["sales"]}, "sales"),
        ("Whoever.", {"enum": ["sales", "shop"], "default": "shop"}, "shop"),
        ("Whoever.", {"const": 3}, 3),
        ("Order 4711", ORDER, "4711"),
        ("five oh two seven", ORDER, "5027"),
        ("it is 50 27", ORDER, "5027"),
        ("12345", ORDER, None),
        ("4711 or 4712", ORDER, None),
        ("4711, yes, 4711", ORDER, "4711"),
        ("oh, I see", ORDER, None),
        ("for four people", GUESTS, 4),
        ("four people at eight", GUESTS, None),
        ("My name is Ada", {"type": "string"}, None),
        ("anything", {"type": "boolean"}, None),
    ],
)
def test_a_value_is_taken_where_exactly_one_is_named(said: str, wanted: dict[str, Any], value: Any) -> None:
    found = arguments_said(said, schema(x=wanted))
    assert found.arguments == ({} if value is None else {"x": value})
    assert found.missing == (("x",) if value is None else ())


@pytest.mark.parametrize(
    ("wanted", "impossible"),
    [(ORDER, True), (GUESTS, True), (DEPARTMENT, False), ({"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"}, False)],
)
def test_no_code_is_made_up_where_the_words_hold_none(wanted: dict[str, Any], impossible: bool) -> None:
    assert arguments_said("I lost it.", schema(x=wanted)).impossible is impossible


def test_what_is_not_required_may_be_missing() -> None:
    found = arguments_said("sales", schema((), x=DEPARTMENT, y=ORDER))
    assert (found.arguments, found.missing, found.impossible) == ({"x": "sales"}, (), False)


@pytest.mark.parametrize("parameters", [{}, {"properties": {"x": True}}, {"properties": {"x": {}}, "required": ["y"]}])
def test_any_schema_is_read(parameters: dict[str, Any]) -> None:
    assert arguments_said("four seven one one", parameters).arguments == {}


@given(st.text())
def test_any_words_are_read(said: str) -> None:
    found = arguments_said(said, schema(x=ORDER, y=GUESTS, z=DEPARTMENT))
    assert len(found.arguments.get("x", "0000")) == 4
