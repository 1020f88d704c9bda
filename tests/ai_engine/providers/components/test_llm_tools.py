"""Tools through the language models: how they are offered, how a call comes back, and how a result is told."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from stand_in_server import StandInServer

from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.circuit_breaker import BreakerLimits, CircuitBreaker
from ai_engine.providers.components.chain import Chain, Member
from ai_engine.providers.components.component import ToolWanted
from ai_engine.providers.components.llm.chain import ChainedLanguageModel
from ai_engine.providers.components.llm.fitting import without_older_half
from ai_engine.providers.components.llm.local import LocalLanguageModel
from ai_engine.providers.components.llm.openai import openai_language_model
from ai_engine.providers.components.local_socket import LocalSocket, LocalSocketSettings
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from ai_engine.tools.tool import ToolSpec
from tests.openai_stand_in import DONE, DROP, HELLO, StandIn, delta
from voice_core.history import Message, ToolUse
from voice_wire.audio import MULAW_8K
from voice_wire.messages import LlmRequest, Sampling

QUESTION = (Message("system", "You are Joe."), Message("user", "A table for two, please."))
BOOK = ToolSpec("book", "Books a table.", {"type": "object", "properties": {"people": {"type": "integer"}}})
FUNCTION = {
    "type": "function",
    "function": {"name": "book", "description": "Books a table.", "parameters": dict(BOOK.parameters)},
}
USE = ToolUse("abc123def", "book", '{"people": 2}')
USED = (*QUESTION, Message("assistant", "", USE), Message("tool", "Booked.", USE))


def call_delta(name=None, arguments="", index=0):
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return delta(tool_calls=[{"index": index, "id": "call_1", "type": "function", "function": function}])


CALLS = [call_delta("book", ""), call_delta(None, '{"peo'), call_delta(None, 'ple": 2}'), delta("", "tool_calls"), DONE]


@pytest.fixture
def server():
    stand_in = StandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture
async def model(server, tmp_path):
    services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path))
    call = CallInfo("c1", "default", "You are Joe.", "en", None, MULAW_8K)
    yield openai_language_model(CallScope(call, services), {"base_url": server.url, "timeout_s": 30})
    await services.clients.close()


async def pieces(model, messages=QUESTION, tools=(BOOK,)):
    async with model.reply(messages, sampling=Sampling(), speculative=False, tools=tools) as output:
        return [piece async for piece in output if piece != ""]


async def test_a_call_is_put_together_from_its_pieces(server, model):
    server.script = [delta("Let me see."), *CALLS]
    assert await pieces(model) == ["Let me see.", ToolWanted("book", '{"people": 2}')]
    assert server.asked[0]["tools"] == [FUNCTION]


async def test_two_calls_of_one_answer(server, model):
    second = [call_delta("book", '{"people": 3}', index=1)]
    server.script = [*CALLS[:3], *second, *CALLS[3:]]
    assert await pieces(model) == [ToolWanted("book", '{"people": 2}'), ToolWanted("book", '{"people": 3}')]


async def test_without_tools_the_request_names_none(server, model):
    server.script = CALLS
    assert await pieces(model, tools=()) == []
    assert "tools" not in server.asked[0]


async def test_what_tools_did_is_told_in_the_servers_own_form(server, model):
    server.script = HELLO
    await pieces(model, USED)
    assert server.asked[0]["messages"][2:] == [
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "abc123def", "type": "function", "function": {"name": "book", "arguments": '{"people": 2}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "abc123def", "content": "Booked."},
    ]


async def test_a_warm_up_has_the_tools_too(server, model):
    server.models["data"][0]["owned_by"] = "llamacpp"
    server.script = HELLO
    await model.warm(QUESTION, tools=(BOOK,))
    assert server.asked[0]["tools"] == [FUNCTION]


def test_no_result_is_left_without_its_call():
    later = (Message("user", "Thanks."), Message("assistant", "Goodbye."))
    shorter = without_older_half((*USED, *later, Message("user", "One more thing.")))
    roles = [message.role for message in shorter]
    assert roles[0] == "system"
    assert "tool" not in roles or roles.index("assistant") < roles.index("tool")
    assert shorter[-1].content == "One more thing."


async def test_the_next_of_a_chain_is_offered_the_same_tools(server, model, tmp_path):
    other = StandIn()
    try:
        server.script = [delta("Let me "), DROP]
        other.script = [delta("see."), *CALLS]
        services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path))
        call = CallInfo("c1", "default", "", "en", None, MULAW_8K)
        second = openai_language_model(CallScope(call, services), {"base_url": other.url, "timeout_s": 30})
        members = [Member(n, m, CircuitBreaker(BreakerLimits()), 30.0) for n, m in (("a", model), ("b", second))]
        chained = ChainedLanguageModel(Chain("llm", members, clock=time.monotonic))
        said = await pieces(chained)
        assert "".join(piece for piece in said if isinstance(piece, str)) == "Let me see."
        assert said[-1] == ToolWanted("book", '{"people": 2}')
        assert [asked["tools"] for asked in (server.asked[0], other.asked[0])] == [[FUNCTION], [FUNCTION]]
        await services.clients.close()
    finally:
        other.stop()


# --- the local server -------------------------------------------------------------------------------------------------


async def local(messages, *, tools, calls):
    async with StandInServer() as server:
        server.tool_calls = calls
        socket = LocalSocket(LocalSocketSettings(url=server.url, token="open sesame"), call_id="c1")
        llm = LocalLanguageModel(socket)
        await llm.start()
        try:
            async with asyncio.timeout(30):
                said = await pieces(llm, messages, tools)
        finally:
            await llm.stop()
        return said, server.of(LlmRequest)[0]


async def test_the_local_server_decides_before_it_answers():
    said, request = await local(QUESTION, tools=(BOOK,), calls=[{"name": "book", "parameters": {"people": 2}}])
    assert [(tool.name, json.loads(tool.arguments)) for tool in said] == [("book", {"people": 2})]
    assert request.tools == [FUNCTION]


async def test_the_local_server_answers_where_it_wants_no_tool():
    said, _ = await local(QUESTION, tools=(BOOK,), calls=[])
    assert said == ["Hel", "lo."]


async def test_a_request_without_tools_is_as_it_ever_was():
    said, request = await local(QUESTION, tools=(), calls=[{"name": "book", "parameters": {}}])
    assert said == ["Hel", "lo."]
    assert request.tools is None


async def test_schemas_are_offered_without_what_grammars_do_not_know():
    odd = {"type": "object", "$id": "x", "patternProperties": {"a": {}}, "properties": {"b": {"$anchor": "y"}}}
    _, request = await local(QUESTION, tools=(ToolSpec("odd", "Odd.", odd),), calls=[])
    assert request.tools[0]["function"]["parameters"] == {"type": "object", "properties": {"b": {}}}
    assert "$id" in odd


async def test_a_tool_under_way_is_a_sign_of_life(server, model):
    server.script = CALLS
    async with model.reply(QUESTION, sampling=Sampling(), speculative=False, tools=(BOOK,)) as output:
        said = [piece async for piece in output]
    assert said[0] == ""
    assert said[-1] == ToolWanted("book", '{"people": 2}')


async def test_small_models_are_told_in_words_what_a_tool_did():
    _, request = await local(USED, tools=(), calls=[])
    assert [(m.role, m.content) for m in request.messages[2:]] == [
        ("system", 'The tool book was called with {"people": 2}. Its result: Booked.')
    ]
