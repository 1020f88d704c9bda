"""What a chat completion may ask for, field by field, and that nothing that is sent brings the server down."""

import json
import re
from pathlib import Path

import httpx
import pytest
from chat_server import HELLO, TRANSFER
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import local_ai_server
from local_ai_server.app import build_app
from local_ai_server.http_api.chat_fields import IGNORED, REFUSED, ChatRequest
from local_ai_server.settings import Settings
from tests.local_ai_server.fake_services import FakeServices

DOCS = Path(local_ai_server.__file__).parent.parent / "docs" / "http-api.md"
OPENAIS = set(__import__("openai").types.chat.completion_create_params.CompletionCreateParamsBase.__annotations__)


async def post(body, *, raw=None):
    transport = httpx.ASGITransport(build_app(Settings(), FakeServices().switchboard), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        content = json.dumps(body).encode() if raw is None else raw
        return await http.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})


def test_each_of_openais_fields_is_decided_on_and_documented():
    served = set(ChatRequest.model_fields)
    assert OPENAIS - served - set(IGNORED) - set(REFUSED) == set()
    assert not set(IGNORED) & set(REFUSED) | served & (set(IGNORED) | set(REFUSED))
    chapter = DOCS.read_text().partition("## Chat")[2].partition("\n## ")[0]
    assert {*served, *IGNORED, *REFUSED} - set(re.findall(r"`([a-z_]+)`", chapter)) == set()


@pytest.mark.parametrize("name", IGNORED)
async def test_what_changes_no_answer_is_taken(name):
    assert (await post({"messages": HELLO, name: {"a": 1}})).status_code == 200


@pytest.mark.parametrize("name", REFUSED)
async def test_what_would_be_promised_in_vain_is_refused(name):
    refused = await post({"messages": HELLO, name: {"a": 1}})
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, f"{name}: {REFUSED[name]}")
    for nothing in (None, False, {}, []):
        assert (await post({"messages": HELLO, name: nothing})).status_code == 200


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = [{"type": "image_url", "image_url": {"url": "data:,"}}]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "messages: Field required"),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": HELLO, "temprature": 1}, "temprature: no such field"),
        ({"messages": HELLO, "n": 2}, "n: Input should be 1"),
        ({"messages": HELLO, "temperature": 9}, "temperature: "),
        ({"messages": HELLO, "max_tokens": 0}, "max_tokens: "),
        ({"messages": HELLO, "stop": ""}, "stop"),
        ({"messages": HELLO, "modalities": ["audio"]}, "modalities.0: Input should be 'text'"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "half a character"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, r"messages\[0\]: its role is none of system, developer"),
        ({"messages": [{"role": "user", "content": None}]}, r"messages\[0\].content: it is neither text nor"),
        ({"messages": [{"role": "user", "content": IMAGE}]}, r"messages\[0\].content\[0\]: images are not understood"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, r"content\[0\]: a part is"),
        ({"messages": [{"role": "user", "content": "x" * 200_001}]}, "more than 200000 characters"),
        ({"messages": [{"role": "user", "content": "x" * 200_000}] * 6}, "more than 1000000 characters"),
        ({"messages": [*HELLO, {"role": "tool", "tool_call_id": "c", "content": "x"}]}, "names no call"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": 1}]}]}, r"tool_calls\[0\]: a call has an id"),
        ({"messages": HELLO, "tool_choice": "required"}, "there are no tools"),
        ({"messages": HELLO, "tool_choice": {"type": "function"}}, 'tool_choice: write "auto"'),
        ({"messages": HELLO, "tools": [{"type": "custom", "custom": {}}]}, r"tools\[0\]: only tools of type function"),
        ({"messages": HELLO, "tools": [{"type": "function"}]}, "a tool needs a name"),
        (
            {"messages": HELLO, "tools": [TRANSFER], "tool_choice": {"type": "function", "function": {"name": "f"}}},
            "no tool is called f",
        ),
        ({"messages": HELLO, "response_format": {"type": "xml"}}, "none of text, json_object, json_schema"),
        ({"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {}}}, "response_format: write"),
        (
            {"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/a"}}}},
            "response_format: the schema cannot be used",
        ),
    ],
)
async def test_a_refusal_says_which_field_and_why(body, reason):
    refused = await post(body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_message")
    assert re.search(reason, error["message"])


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"seed": ' + b"9" * 5000]
)
async def test_what_is_no_request_is_refused(raw):
    assert (await post(None, raw=raw)).status_code in (400, 422)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["\ud800", "auto"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
role = st.sampled_from(["system", "developer", "user", "assistant", "tool"]) | anything
part = st.fixed_dictionaries({}, optional={"type": st.sampled_from(["text", "file"]) | anything, "text": anything})
message = st.fixed_dictionaries(
    {},
    optional={
        "role": role,
        "content": st.text(max_size=5) | st.lists(part, max_size=2) | anything,
        "tool_calls": st.lists(st.just(CALL) | anything, max_size=2) | anything,
        "tool_call_id": st.just("c") | anything,
        "name": anything,
    },
)
tool = st.just(TRANSFER) | st.fixed_dictionaries({"type": st.just("function"), "function": anything}) | anything
form = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["json_schema", "json_object"]),
        "json_schema": st.fixed_dictionaries({"schema": anything}),
    }
)
bodies = st.fixed_dictionaries(
    {"messages": st.lists(message, max_size=3) | st.just(HELLO) | anything},
    optional=dict.fromkeys(sorted({*ChatRequest.model_fields, *IGNORED, *REFUSED} - {"messages"}), anything)
    | {"tools": st.lists(tool, max_size=2), "response_format": form | anything, "stream": st.booleans()},
)


@given(bodies)
@settings(max_examples=150)
async def test_no_body_makes_the_server_fail(body):
    answer = await post(body)
    assert answer.status_code < 500, answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.endswith("data: [DONE]\n\n")


def test_what_was_said_is_not_repeated():
    with pytest.raises(ValidationError) as refused:
        ChatRequest.model_validate({"messages": "my name is Ann"})
    assert "Ann" not in str(refused.value)
