"""The `ollama` language model against a stand-in of /api/chat.

The stand-in is true to docs.ollama.com/api/chat, /api/streaming and /api/errors: lines of JSON over chunked HTTP/1.1,
`done` with the last; an error within a stream is a line with `error`.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.config_file import ConfigError
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed, ToolWanted
from ai_engine.providers.components.llm.ollama import ChatReader, LineDecoder, ollama_language_model
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from ai_engine.tools.tool import ToolSpec
from openai_wire.errors import LlmUnavailable
from tests.openai_stand_in import DROP, HANG, StandIn
from voice_core.history import Message, ToolUse
from voice_wire.audio import MULAW_8K
from voice_wire.messages import Sampling

QUESTION = (Message("system", "You are Joe."), Message("user", "Are you open?"))
CALL = CallInfo("c1", "default", "You are Joe.", "en", None, MULAW_8K)
LOOK_UP = ToolSpec("look_up", "Looks it up.", {"type": "object", "properties": {"day": {"type": "string"}}})


def line(content="", *, done=None, **message):
    fields = {"role": "assistant", "content": content, **message}
    chunk = {"model": "qwen3:4b", "created_at": "2026-11-21T20:00:00Z", "message": fields, "done": done is not None}
    if done is not None:
        chunk |= {"done_reason": done, "total_duration": 1, "eval_count": 3}
    return json.dumps(chunk, ensure_ascii=False).encode() + b"\n"


HELLO = [line("Hello"), line(" there"), line(done="stop")]


class OllamaStandIn(StandIn):
    async def _answer(self, reader, writer, method, path, headers, body):
        if (method, path) != ("POST", "/api/chat"):
            return await self._whole(writer, 404, {}, "404 page not found")
        self.asked.append(json.loads(body))
        if isinstance(self.script, tuple):
            return await self._whole(writer, *self.script)
        return await self._stream(reader, writer, self.script)


@pytest.fixture
def server():
    stand_in = OllamaStandIn()
    stand_in.script = HELLO
    yield stand_in
    stand_in.stop()


@pytest.fixture
async def model(server, tmp_path):
    services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path))

    def make(**options):
        options = {"base_url": server.url.removesuffix("/v1"), "model": "qwen3:4b", "timeout_s": 30, **options}
        return ollama_language_model(CallScope(CALL, services), options)

    yield make
    await services.clients.close()


async def pieces(model, messages=QUESTION, tools=(), **sampling):
    async with model.reply(messages, sampling=Sampling(**sampling), speculative=False, tools=tools) as output:
        return [piece async for piece in output]


async def answer(model, messages=QUESTION, **sampling):
    return "".join(await pieces(model, messages, **sampling))


async def test_the_model_stays_loaded_with_the_window_asked_for(server, model):
    llm = model(num_ctx=8192)
    await llm.start()
    assert await pieces(llm, temperature=0.2, repetition_penalty=1.1, max_tokens=40, stop=("\n",)) == [
        "Hello",
        " there",
    ]
    await llm.stop()
    assert server.asked == [
        {
            "model": "qwen3:4b",
            "messages": [
                {"role": "system", "content": "You are Joe."},
                {"role": "user", "content": "Are you open?"},
            ],
            "stream": True,
            "keep_alive": -1,
            "options": {
                "temperature": 0.2, "repeat_penalty": 1.1, "num_predict": 40, "stop": ["\n"], "num_ctx": 8192,
            },
        }
    ]  # fmt: skip


@pytest.mark.parametrize("keep_alive", ["30m", 600])
async def test_how_long_it_stays_and_whether_it_thinks_can_be_said(server, model, keep_alive):
    await answer(model(keep_alive=keep_alive, thinking=False))
    assert (server.asked[0]["keep_alive"], server.asked[0]["think"]) == (keep_alive, False)
    assert "num_ctx" not in server.asked[0]["options"]


async def test_a_warm_up_loads_the_model_and_reads_the_prompt(server, model):
    await model().warm(QUESTION)
    assert server.asked[0]["options"]["num_predict"] == 1


@pytest.mark.parametrize(
    "script",
    [
        [line(thinking="He wants hours."), line("We are open."), line(done="stop")],
        [line("<think>He wants"), line(" hours.</th"), line("ink> We are open."), line(done="stop")],
    ],
)
async def test_thoughts_are_never_spoken(server, model, script):
    server.script = script
    assert await answer(model()) == "We are open."


async def test_tools_are_offered_and_asked_for_last(server, model):
    wanted = [{"function": {"name": "look_up", "arguments": {"day": "Sunday"}}}]
    server.script = [line("Let me see.", tool_calls=wanted), line(done="stop")]
    use = ToolUse("a1", "look_up", '{"day": "Monday"}')
    messages = [*QUESTION, Message("assistant", "", use), Message("tool", "Closed.", use)]
    assert await pieces(model(), messages, tools=(LOOK_UP,)) == [
        "Let me see.",
        ToolWanted("look_up", '{"day": "Sunday"}'),
    ]
    (asked,) = server.asked
    assert asked["tools"] == [LOOK_UP.as_function()]
    assert asked["messages"][2:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "look_up", "arguments": {"day": "Monday"}}}],
        },
        {"role": "tool", "tool_name": "look_up", "content": "Closed."},
    ]
    assert await answer(model()) == "Let me see."


@pytest.mark.parametrize(
    ("script", "retryable", "words"),
    [
        ((404, {}, '{"error": "model \'qwen3:4b\' not found"}'), False, "not found.*`model`"),
        ((500, {}, '{"error": "llama runner process has terminated"}'), True, "terminated"),
        ((503, {}, '{"error": "server busy, please try again"}'), True, "busy"),
        ((429, {}, '{"error": "too many requests"}'), False, "too many"),
        ((400, {}, '{"error": "qwen3:4b does not support tools"}'), False, "support tools"),
        ([line("We are"), b'{"error": "an error was encountered while running the model"}\n'], True, "encountered"),
        ([line("We are"), DROP], True, "hung up|broke off"),
        ([line("We are")], True, "hung up"),
        ([b"{not json\n"], True, "no piece"),
        ([b"[1]\n"], True, "no piece"),
    ],
)
async def test_a_failure_is_told_for_what_it_is_and_the_next_answer_is_whole(server, model, script, retryable, words):
    llm = model()
    server.script = script
    with pytest.raises(ComponentFailed, match=words) as failed:
        await answer(llm)
    assert (failed.value.component, failed.value.retryable) == ("llm", retryable)
    server.script = HELLO
    assert await answer(llm) == "Hello there"


@pytest.mark.parametrize("script", [[HANG], [line("We are"), HANG]])
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


async def test_a_silent_server_is_told(server, model):
    server.script = [line("We are"), HANG]
    with pytest.raises(ComponentFailed, match=r"silent for 0\.2 s"):
        await answer(model(timeout_s=0.2))


def test_a_model_must_be_named(model):
    with pytest.raises(ConfigError, match="`model`"):
        model(model=None)


@given(st.data())
def test_however_the_bytes_are_cut_the_text_is_the_same(data):
    stream = b"".join([line("Grüß "), line("Gott 🙂"), line(done="stop")])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder, reader, said = LineDecoder(), ChatReader(), ""
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        for item in decoder.feed(stream[begin:end]):
            said += reader.read(item)
    assert (said, reader.done_reason, decoder.end()) == ("Grüß Gott 🙂", "stop", [])


NAMES = st.sampled_from(["message", "content", "tool_calls", "function", "done", "error"])
CHUNKS = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=12,
)


@given(CHUNKS)
def test_whatever_comes_is_text_or_an_error(chunk):
    try:
        assert isinstance(ChatReader().read(json.dumps(chunk)), str)
    except LlmUnavailable as error:
        assert str(error)
