"""The `anthropic` language model against a stand-in that answers, refuses and breaks off as its script says."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.config_file import ConfigError
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed, ToolWanted
from ai_engine.providers.components.llm.anthropic import anthropic_language_model
from ai_engine.providers.components.llm.anthropic_messages import MessageDecoder, MessageReader, messages_request
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from ai_engine.tools.tool import ToolSpec
from openai_wire.errors import LlmError
from tests.anthropic_stand_in import (
    DROP,
    HANG,
    HELLO,
    PING,
    START,
    STOP,
    AnthropicStandIn,
    _complaint,
    block,
    ended,
    event,
    failure,
    text,
)
from voice_core.history import Message, ToolUse
from voice_wire.audio import MULAW_8K
from voice_wire.messages import Sampling

QUESTION = (Message("system", "You are Joe."), Message("user", "Are you open?"))
CALL = CallInfo("c1", "default", "You are Joe.", "en", None, MULAW_8K)
KEY = "sk-ant-a-secret-that-nobody-may-see"
LOOK_UP = ToolSpec("look_up", "Looks it up.", {"type": "object", "properties": {"day": {"type": "string"}}})


@pytest.fixture
def server():
    stand_in = AnthropicStandIn()
    stand_in.key = KEY
    yield stand_in
    stand_in.stop()


@pytest.fixture
async def services(tmp_path):
    made = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path), environment={"ANTHROPIC_API_KEY": KEY})
    yield made
    await made.clients.close()


@pytest.fixture
def model(server, services):
    def make(**options):
        options = {"base_url": server.url, "model": "claude-stand-in", "timeout_s": 30, **options}
        return anthropic_language_model(CallScope(CALL, services), options)

    return make


async def pieces(model, messages=QUESTION, tools=(), **sampling):
    async with model.reply(messages, sampling=Sampling(**sampling), speculative=False, tools=tools) as output:
        return [piece async for piece in output]


async def answer(model, messages=QUESTION, **sampling):
    return "".join(await pieces(model, messages, **sampling))


async def test_an_answer_comes_in_pieces(server, model):
    llm = model()
    await llm.start()
    assert await pieces(llm, max_tokens=40, stop=("\n", "Caller:"), temperature=0.2) == ["Hello", " there"]
    (asked,) = server.asked
    assert asked == {
        "model": "claude-stand-in",
        "max_tokens": 40 + 2048,
        "stream": True,
        "system": [{"type": "text", "text": "You are Joe.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Are you open?"}]}],
        "stop_sequences": ["Caller:"],
    }
    await llm.warm(QUESTION)
    await llm.stop()
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("thinking", "sent"), [(None, None), (True, {"type": "adaptive"}), (False, {"type": "disabled"})]
)
async def test_it_thinks_as_the_options_say(server, model, thinking, sent):
    await answer(model(thinking=thinking), max_tokens=40)
    assert server.asked[0].get("thinking") == sent
    assert server.asked[0]["max_tokens"] == (40 if thinking is False else 2088)


async def test_thoughts_are_never_spoken(server, model):
    thought = [
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "He wants hours."},
            {"type": "signature_delta", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"},
        ),
        *block(1, {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"}),
    ]
    server.script = [START, *thought, *text("\n\nWe are", " open.", index=2), ended(), STOP]
    assert await answer(model()) == "We are open."


def use(call_id, arguments='{"day": "Sunday"}'):
    return ToolUse(call_id, "look_up", arguments)


@pytest.mark.parametrize("tools", [(), (LOOK_UP,)])
@pytest.mark.parametrize(
    "messages",
    [
        [*QUESTION],
        [QUESTION[0], Message("assistant", "Hello!"), QUESTION[1]],
        [QUESTION[0], Message("user", "One."), Message("user", "Two."), Message("assistant", " "), QUESTION[1]],
        [*QUESTION, Message("assistant", "", use("a1")), Message("tool", "Closed.", use("a1"))],
        [*QUESTION, Message("assistant", "", use("a1")), Message("tool", "No.", use("a1")), Message("user", "Why?")],
        [*QUESTION, Message("assistant", "", use("a1")), Message("user", "Well?")],
        [QUESTION[0], Message("tool", "Closed.", use("a1")), QUESTION[1]],
        [*QUESTION, Message("assistant", "", use("a1", "[not json")), Message("tool", "No.", use("a1"))],
    ],
)
async def test_whatever_the_history_holds_the_api_takes_it(server, model, messages, tools):
    assert await answer(model(), messages, tools=tools) == "Hello there"


LINES = st.one_of(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.sampled_from(["", " ", "Yes."])),
    st.sampled_from(["a1", "a2"]).map(lambda name: Message("assistant", "", use(name))),
)


@given(lines=st.lists(LINES, max_size=8))
def test_roles_alternate_and_the_users_is_first(lines):
    whole = []
    for number, line in enumerate(lines):
        named = line.tool and use(f"{line.tool.call_id}{number}")
        whole.append(Message(line.role, line.content, named))
        if named:
            whole.append(Message("tool", "done", named))
    request = messages_request(
        "m", [*whole, QUESTION[1]], max_tokens=9, stop=(), tools=(LOOK_UP,), thinking=None
    )  # fmt: skip
    assert _complaint(request) is None
    roles = [message["role"] for message in request["messages"]]
    assert all(a != b for a, b in itertools.pairwise(roles))


async def test_tools_are_offered_and_asked_for_last(server, model):
    wanted = block(
        1,
        {"type": "tool_use", "id": "toolu_01", "name": "look_up", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"day": "Sun'},
        {"type": "input_json_delta", "partial_json": 'day"}'},
    )
    bare = block(2, {"type": "tool_use", "id": "toolu_02", "name": "look_up", "input": {}})
    server.script = [START, *text("Let me", " see."), *wanted, *bare, ended("tool_use"), STOP]
    assert await pieces(model(), tools=(LOOK_UP,)) == [
        "Let me",
        " see.",
        ToolWanted("look_up", '{"day": "Sunday"}'),
        ToolWanted("look_up", "{}"),
    ]
    assert server.asked[0]["tools"] == [
        {"name": "look_up", "description": "Looks it up.", "input_schema": LOOK_UP.parameters}
    ]
    assert await answer(model()) == "Let me see."


async def test_events_that_are_not_known_are_passed_over(server, model):
    news = [event("weather", sky="blue"), *block(0, {"type": "novel_block"}, {"type": "novel_delta", "x": 1})]
    cited = {"type": "citations_delta", "citation": {"type": "page_location"}}
    server.script = [
        START,
        *news,
        *text("Yes.", index=1),
        *block(2, {"type": "text", "text": ""}, cited),
        ended(),
        STOP,
    ]
    assert await answer(model()) == "Yes."


async def test_the_key_is_never_told(server, model, services):
    server.key = "another"
    with pytest.raises(ComponentFailed, match="set ANTHROPIC_API_KEY to a key that it accepts"):
        await answer(model())
    server.key = None
    server.script = (400, {}, json.dumps(failure("invalid_request_error", "x" * 280 + KEY)))
    with pytest.raises(ComponentFailed) as refused:
        await answer(model())
    assert KEY[:12] not in f"{refused.value} {services!r}"
    with pytest.raises(ConfigError, match="`key` names OTHER_KEY, which is not set"):
        model(key="OTHER_KEY")


def test_a_model_must_be_named(services):
    with pytest.raises(ConfigError, match="`model`"):
        anthropic_language_model(CallScope(CALL, services), {})


@pytest.mark.parametrize(
    ("script", "retryable", "refused", "words"),
    [
        ((529, {}, json.dumps(failure("overloaded_error", "Overloaded"))), True, False, "529: Overloaded"),
        ((500, {}, json.dumps(failure("api_error", "Internal server error"))), True, False, "Internal server error"),
        (
            (429, {"retry-after": "7"}, json.dumps(failure("rate_limit_error", "slow down"))),
            False, False, "asks to wait 7 s",
        ),
        ((404, {}, json.dumps(failure("not_found_error", "model: claude-9"))), False, False, "`model`"),
        ((402, {}, json.dumps(failure("billing_error", "no credit"))), False, False, "no credit"),
        ((400, {}, json.dumps(failure("invalid_request_error", "tools: no"))), False, True, "tools: no"),
        ([START, PING, event("error", error={"type": "overloaded_error", "message": "Busy"})], True, False, "Busy"),
        ([START, event("error", error={"type": "rate_limit_error", "message": "slow"})], False, False, "slow"),
        ([START, *text("We are")[:2], DROP], True, False, "hung up|broke off"),
        ([START, *text("We are")], True, False, "hung up"),
        ([b"event: message_start\ndata: {not json\n\n"], True, False, "no event"),
        ([b"data: [1, 2]\n\n"], True, False, "no event"),
        ([event("content_block_delta", index=3, delta={"type": "input_json_delta", "partial_json": "{"})],
         True, False, "no event"),
        ([START, ended("refusal"), STOP], False, True, "declined"),
    ],
)  # fmt: skip
async def test_a_failure_is_told_for_what_it_is_and_the_next_answer_is_whole(
    server, model, script, retryable, refused, words
):
    llm = model()
    server.script = script
    with pytest.raises(ComponentFailed, match=words) as failed:
        await answer(llm)
    told = failed.value
    assert (told.component, told.retryable, told.refused) == ("llm", retryable, refused)
    server.script = HELLO
    assert await answer(llm) == "Hello there"


@pytest.mark.parametrize(
    "script",
    [
        (400, {}, json.dumps(failure("invalid_request_error", "prompt is too long: 207310 tokens > 200000 maximum"))),
        (413, {}, json.dumps(failure("request_too_large", "Request exceeds the maximum size"))),
        [START, ended("model_context_window_exceeded"), STOP],
    ],
)
async def test_a_prompt_too_long_loses_its_older_half(server, model, script):
    history = [Message("user" if n % 2 == 0 else "assistant", f"line {n}") for n in range(9)]
    server.script = script
    with pytest.raises(ComponentFailed):
        await answer(model(), [QUESTION[0], *history])
    counts = [sum(m["content"][0]["text"].startswith("line") for m in asked["messages"]) for asked in server.asked]
    assert counts == [9, 5, 3]


async def test_pings_are_no_answer(server, model):
    server.script = [START, *[PING, 0.02] * 200, HANG]
    with pytest.raises(ComponentFailed, match=r"silent for 0\.3 s.*raise `timeout_s`"):
        await answer(model(timeout_s=0.3))


async def test_a_slow_first_token_is_waited_for(server, model):
    server.script = [START, 0.2, *HELLO[1:]]
    assert await answer(model()) == "Hello there"


@pytest.mark.parametrize("script", [[HANG], [START, *text("We are")[:2], HANG]])
async def test_leaving_an_answer_ends_the_servers_work(server, model, script):
    server.script = script
    asking = asyncio.create_task(answer(model()))
    while not server.asked:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await asyncio.to_thread(server.hung_up.wait, 30)


@given(st.data())
def test_however_the_bytes_are_cut_the_text_is_the_same(data):
    stream = b"".join([START, PING, *text("Grüß ", "Gott 🙂"), PING, ended(), STOP])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder, reader, said = MessageDecoder(), MessageReader(), ""
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        for item in decoder.feed(stream[begin:end]):
            said += reader.read(item)
    assert (said, reader.complete, decoder.end()) == ("Grüß Gott 🙂", True, [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "delta", "index", "content_block", "error", "text", "x"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(kind=st.sampled_from(["content_block_start", "content_block_delta", "message_delta", "error", "x"]), rest=JSON)
def test_whatever_comes_is_text_or_an_error(kind, rest):
    whole = {**rest, "type": kind} if isinstance(rest, dict) else rest
    try:
        assert isinstance(MessageReader().read(json.dumps(whole)), str)
    except LlmError as error:
        assert str(error)
