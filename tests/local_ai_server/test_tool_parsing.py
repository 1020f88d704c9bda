"""Tool calls as the families of models write them, whole and broken."""

import pytest

from local_ai_server.backends.llm.speakable import speakable
from local_ai_server.tool_parsing import MAX_CALLS, parse_calls, read_json

NAMES = {"transfer", "hang_up"}
SALES = ("transfer", {"to": "sales"})


@pytest.mark.parametrize(
    ("text", "calls", "rest"),
    [
        ('<tool_call>{"name": "transfer", "arguments": {"to": "sales"}}</tool_call>', [SALES], ""),
        ('One moment. <tool_call>\n{"name": "transfer", "arguments": {"to": "sales"}}', [SALES], "One moment."),
        ('<tool_call>{"name": "transfer", "arguments": "{\\"to\\": \\"sales\\"}"}</tool_call>', [SALES], ""),
        ('[TOOL_CALLS] [{"name": "transfer", "arguments": {"to": "sales"}}]', [SALES], ""),
        ('<|python_tag|>{"name": "transfer", "parameters": {"to": "sales"}}', [SALES], ""),
        ('<function=transfer>{"to": "sales"}</function>', [SALES], ""),
        ("<tool_call><function=transfer><parameter=to>sales</parameter></function></tool_call>", [SALES], ""),
        ('```json\n{"tool": "transfer", "args": {"to": "sales"}}\n```', [SALES], ""),
        ('{"name": "transfer", "parameters": {"to": "sales"}}', [SALES], ""),
        ('{"type": "function", "function": {"name": "transfer", "arguments": {"to": "sales"}}}', [SALES], ""),
        ('[{"name": "transfer", "arguments": {"to": "sales"}}, {"name": "hang_up"}]', [SALES, ("hang_up", {})], ""),
        ('Sure.\ntransfer(to="sales")', [SALES], "Sure."),
        ("hang_up()", [("hang_up", {})], ""),
        ('```python\ntransfer(to="sales")\n```', [SALES], ""),
        ("We are open from nine to five.", [], "We are open from nine to five."),
        ("Call me(maybe)", [], "Call me(maybe)"),
        ("print(1)", [], "print(1)"),
        ("```\nsome code\n```", [], "```\nsome code\n```"),
    ],
)
def test_a_call_is_found_and_taken_out_of_the_text(text, calls, rest):
    parsed = parse_calls(text, NAMES)
    assert [(call.name, call.arguments) for call in parsed.calls] == calls
    assert parsed.text == rest
    assert parsed.failures == 0


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "transfer", "arguments": {"to": </tool_call>',
        "<tool_call>transfer to sales</tool_call>",
        '<tool_call>{"to": "sales"}</tool_call>',
        "[TOOL_CALLS] nothing",
        "transfer(sales)",
        "transfer(to=__import__)",
    ],
)
def test_a_broken_call_is_counted_and_never_spoken(text):
    parsed = parse_calls(text, NAMES)
    assert (parsed.calls, parsed.failures, parsed.text) == ([], 1, "")


def test_what_would_take_for_ever_or_run_code_does_neither():
    for text in ("[" * 50_000, '{"a":' * 50_000, "transfer(" + "(" * 5000 + ")", "<tool_call>" * 5000, "\n" * 16_000):
        assert parse_calls(text, NAMES).calls == []
    many = '<tool_call>{"name": "hang_up"}</tool_call>' * 50
    assert len(parse_calls(many, NAMES).calls) == MAX_CALLS


def test_calls_written_as_code_stand_on_lines_of_their_own():
    assert [(c.name, c.arguments) for c in parse_calls('Yes.\n\n  transfer(to="sales") \n', NAMES).calls] == [SALES]
    assert parse_calls('I could transfer(to="sales") you.', NAMES).calls == []


def test_lines_become_spaces_however_long_the_white_space_is():
    assert speakable("one \n\n two\nthree  four") == "one two three  four"
    assert speakable(" " * 200_000) == " " * 200_000


def test_json_is_found_with_words_around_it():
    assert read_json('Here you are: {"a": [1]} and so on') == {"a": [1]}
    assert read_json('"none"') == "none"
    assert read_json("no json [") is None
