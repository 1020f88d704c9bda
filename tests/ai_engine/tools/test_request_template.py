"""Requests with variables: whatever is said stays a value."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.tools.request_template import (
    RequestTemplateError,
    Text,
    UrlTemplate,
    ValueRefused,
    as_text,
    at_path,
    fill_json,
    json_variables,
    one_line,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(path=st.text(), query=st.text())
def test_host_and_further_path_are_never_a_value(path: str, query: str) -> None:
    template = UrlTemplate("https://crm.example:8443/customers/{path}/orders?q={query}&n=1#{path}")
    try:
        url = template.fill({"path": path, "query": query})
    except ValueRefused:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "crm.example:8443")
    assert url.isascii()
    assert parts.path.count("/") == 3
    assert ".." not in unquote(parts.path).split("/")
    assert unquote(parts.path, errors="strict") == f"/customers/{path.encode(errors='replace').decode()}/orders"
    assert parse_qs(parts.query, keep_blank_values=True)["n"] == ["1"]


@pytest.mark.parametrize("value", ["..", ".", "a/..", "../x", "..\\x", "", "  ", None, "x" * 1001])
def test_values_that_lead_elsewhere_in_the_path_are_refused(value: str | None) -> None:
    with pytest.raises(ValueRefused):
        UrlTemplate("https://crm.example/customers/{id}").fill({"id": value})


def test_values_in_the_query_may_be_empty_and_hold_anything() -> None:
    template = UrlTemplate("https://crm.example/find?q={q}&p={p}")
    assert template.fill({"q": "../&a=b #", "p": 7}) == "https://crm.example/find?q=..%2F%26a%3Db%20%23&p=7"
    assert template.fill({}) == "https://crm.example/find?q=&p="


@pytest.mark.parametrize(
    "source",
    ["https://{host}/x", "https://crm.{zone}/x", "https://crm.example:{port}/", "{scheme}://crm.example/",
     "https://a{x}", "https://a{x}/", "https://a:{x}/y",
     "crm.example/{x}", "ftp://crm.example/", "https://a/{x!r}", "https://a/{x:>9}", "https://a/{x.y}",
     "https://a/{", "", "https://a{{b{x}"],
)  # fmt: skip
def test_templates_whose_host_is_not_fixed_are_errors(source: str) -> None:
    with pytest.raises(RequestTemplateError):
        UrlTemplate(source)


@given(st.dictionaries(st.sampled_from("abc"), JSON))
def test_values_of_a_body_are_json_and_nothing_more(values: dict[str, Any]) -> None:
    body = {"alone": "{a}", "within": "x {b} y", "list": ["{c}", 1, None, {"deep": "{a}"}], "plain": "{{a}}"}
    filled = json.loads(json.dumps(fill_json(body, values)))
    assert list(filled) == list(body)
    assert filled["alone"] == values.get("a")
    assert filled["within"] == f"x {as_text(values.get('b'))} y"
    assert filled["list"] == [values.get("c"), 1, None, {"deep": values.get("a")}]
    assert filled["plain"] == "{a}"
    assert json_variables(body) == {"a", "b", "c"}


def test_a_key_of_a_body_that_is_no_text_is_an_error() -> None:
    with pytest.raises(RequestTemplateError, match="in quotes"):
        json_variables({1: "x"})


@given(st.text())
def test_a_header_is_one_line(value: str) -> None:
    line = one_line(value)
    assert line.isascii()
    assert not line or line.isprintable()


@pytest.mark.parametrize(
    ("path", "found"),
    [("", {"a": [{"b": 1}], "0": "zero"}), ("a.0.b", 1), ("a.1", None), ("a.b", None), ("a.-1", None), ("0", "zero"),
     ("a.0.b.c", None), ("nothing", None), ("a.²", None)],
)  # fmt: skip
def test_paths_into_an_answer(path: str, found: Any) -> None:
    assert at_path({"a": [{"b": 1}], "0": "zero"}, path) == found


@given(JSON, st.text())
def test_any_path_into_any_answer_is_something_or_nothing(answer: Any, path: str) -> None:
    as_text(at_path(answer, path))


def test_a_sentence_takes_paths() -> None:
    text = Text.parse("{order.0.day} {{x}}", paths=True)
    assert text.fill(lambda path: path.upper()) == "ORDER.0.DAY {x}"
    for bad in ("{a..b}", "{}", "{.a}"):
        with pytest.raises(RequestTemplateError):
            Text.parse(bad, paths=True)
