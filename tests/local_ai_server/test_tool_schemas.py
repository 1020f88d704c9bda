"""Tools come from outside: what cannot be used is refused with the reason, whatever it is."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_ai_server.errors import ServeError
from local_ai_server.tool_schemas import MAX_SCHEMA_BYTES, MAX_TOOLS, read_tools

DAY = {"type": "object", "properties": {"day": {"enum": ["Monday", "Friday"]}}, "required": ["day"]}


def tool(schema=None, name="book", **fields):
    return {"name": name, "description": "Books.", "parameters": schema, **fields}


def test_both_forms_are_read_and_only_the_allowed_ones_kept():
    tools = [{"type": "function", "function": tool(DAY)}, tool(None, "hang_up"), tool(DAY, "secret")]
    assert [t.name for t in read_tools(tools, None)] == ["book", "hang_up", "secret"]
    assert [t.name for t in read_tools(tools, ["hang_up", "unknown"])] == ["hang_up"]
    assert read_tools(tools, []) == ()


def test_a_tool_that_is_not_allowed_harms_nobody():
    assert [t.name for t in read_tools([tool({"type": "nonsense"}, "bad"), tool(DAY)], ["book"])] == ["book"]


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


BOMB = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/l0"}},
    "$defs": {f"l{i}": {"anyOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 9} for i in range(9)} | {"l9": {"type": "string"}},
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "nonsense"},
        ["no", "object"],
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": 5}},
        {"type": "object", "required": "day"},
        {"type": "object", "properties": {"a": {"$ref": "http://evil.example/schema.json"}}},
        {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}},
        {"type": "object", "properties": {"a": {"$dynamicRef": "#x"}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "a*a*a*a*b"}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "["}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "a?" * 33 + "a" * 33}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": ".{0,200}.{,200}.{1,200}x"}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a|a)" * 19 + "b"}}},
        {"type": "object", "properties": {f"a{i}": {"type": "string", "pattern": ".*.*x"} for i in range(9)}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "a{1,99999999999}"}}},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 5, "maxLength": 2}}},
        {"type": "object", "properties": {"a": {"type": "array", "minItems": 5, "maxItems": 2}}},
        {"type": "object", "properties": {"a": {"type": "integer", "minimum": 5, "exclusiveMaximum": 5}}},
        {"type": "object", "properties": {"a": {"unevaluatedItems": {"$ref": "http://127.0.0.1:9/x.json"}}}},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": -1}}},
        {"type": "object", "properties": {"a": {"enum": ["x" * MAX_SCHEMA_BYTES]}}},
        nested(40),
        BOMB,
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema):
    with pytest.raises(ServeError) as refused:
        read_tools([tool(schema)], None)
    assert refused.value.code == "invalid_message"
    assert "book" in str(refused.value)


@pytest.mark.parametrize(
    "tools",
    [
        [tool()] * 2,
        [tool(name="a b")],
        [tool(name="")],
        [{"description": "no name"}],
        [{"function": "x"}],
        [tool(name=5)],
        [tool(description=5)],
        [tool(name=f"t{i}") for i in range(MAX_TOOLS + 1)],
    ],
)
def test_tools_that_are_none_are_refused(tools):
    with pytest.raises(ServeError) as refused:
        read_tools(tools, None)
    assert refused.value.code == "invalid_message"


def test_references_inside_the_schema_are_followed():
    schema = {
        "type": "object",
        "properties": {"day": {"$ref": "#/$defs/day"}},
        "required": ["day"],
        "$defs": {"day": {"enum": ["Monday"]}},
    }
    (read,) = read_tools([tool(schema)], None)
    assert read.complaint({"day": "Monday"}) is None
    assert "day" in read.complaint({"day": "Sunday"})
    assert "$ref" not in json.dumps(read.grammar_form())


def test_a_complaint_names_the_place():
    (read,) = read_tools([tool(DAY)], None)
    assert "day" in read.complaint({})
    assert read.complaint([]) is not None
    assert read.complaint({"day": "Friday"}) is None


def test_the_grammar_form_bounds_what_the_model_may_write():
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 100_000, "pattern": "^[A-Z]"},
            "list": {"type": "array", "items": {"type": ["string", "null"]}},
            "n": {"type": "integer", "minimum": 1, "multipleOf": 2},
        },
    }
    form = read_tools([tool(schema)], None)[0].grammar_form()
    assert form["properties"]["name"] == {"type": "string", "minLength": 0, "maxLength": 200}
    assert form["properties"]["list"]["maxItems"] == 16
    assert form["properties"]["n"] == {"type": "integer", "minimum": 1}
    assert form["additionalProperties"] is False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "enum", "anyOf", "$ref", "required", "pattern", "a", "not"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(schema=JSON, arguments=JSON)
def test_whatever_the_schema_is_the_answer_is_a_tool_or_a_typed_error(schema, arguments):
    try:
        (read,) = read_tools([tool(schema)], None)
    except ServeError as error:
        assert error.code == "invalid_message"
        return
    json.dumps(read.grammar_form())
    read.complaint(arguments)


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        (r"^\+?[0-9]{7,15}$", "+4930123456", "none"),
        (r"^[0-2]?[0-9]:[0-5][0-9]$", "9:30", "nine"),
        (r"^[^@ ?*+]+@[^@ ]+$", "a@b.example", "a b"),
        (r"^\?\*\+\?\*\+\?\*\+[?*+|]{1,9}$", "?*+?*+?*+|", "a"),
    ],
)
def test_everyday_patterns_are_checked(pattern, fits, does_not):
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    (read,) = read_tools([tool(schema)], None)
    assert read.complaint({"a": fits}) is None
    assert "does not match" in read.complaint({"a": does_not})
    assert "200 characters" in read.complaint({"a": fits * 200})
    assert read.complaint({"a": 3}) is not None


def test_a_number_beyond_all_range_is_a_complaint():
    (read,) = read_tools([tool({"type": "object", "properties": {"a": {"multipleOf": 0.1}}})], None)
    assert "out of range" in read.complaint({"a": float("inf")})


def test_many_large_schemas_are_too_much_together():
    schema = {"type": "object", "properties": {f"field_{i}": {"type": "string"} for i in range(300)}}
    with pytest.raises(ServeError, match="together"):
        read_tools([tool(schema, f"tool_{i}") for i in range(40)], None)
