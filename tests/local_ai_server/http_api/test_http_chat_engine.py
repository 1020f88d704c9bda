"""The call engine's own `openai` components, by configuration only, against the server's `/v1`."""

import asyncio
import json

import pytest
from chat_server import TRANSFER, chooses, serving

from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed, ToolWanted
from ai_engine.providers.components.llm.openai import openai_language_model
from ai_engine.providers.components.stt.openai import openai_speech_to_text
from ai_engine.providers.components.tts.openai import openai_text_to_speech
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from ai_engine.tools.tool import ToolSpec
from tests.local_ai_server.fake_services import FakeServices
from voice_core.history import Message, ToolUse
from voice_wire.audio import MULAW_8K, PCM_8K
from voice_wire.messages import Sampling

CALL = CallInfo("c1", "default", "You are Joe.", "en", None, MULAW_8K)
QUESTION = (Message("system", "You are Joe."), Message("user", "hi"))
FUNCTION = TRANSFER["function"]
TOOL = ToolSpec(FUNCTION["name"], FUNCTION["description"], FUNCTION["parameters"])
TOKEN = "a long random word"


@pytest.fixture
def server():
    return FakeServices()


@pytest.fixture
async def url(server):
    async with serving(server.switchboard, LOCAL_WS_AUTH_TOKEN=TOKEN) as url:
        yield url


@pytest.fixture
async def component(url, tmp_path):
    services = Services(
        "ws://127.0.0.1:1", "", RenderedSpeech(tmp_path), environment={"LOCAL_WS_AUTH_TOKEN": TOKEN, "WRONG": "x"}
    )

    def make(maker, **options):
        options = {"base_url": url, "key": "LOCAL_WS_AUTH_TOKEN", "timeout_s": 30, **options}
        return maker(CallScope(CALL, services), options)

    yield make
    await services.clients.close()


@pytest.fixture
def model(component):
    return lambda **options: component(openai_language_model, **options)


async def answer(model, messages=QUESTION, *, tools=(), **sampling):
    async with model.reply(messages, sampling=Sampling(**sampling), speculative=False, tools=tools) as output:
        return [piece async for piece in output]


def sessions(server):
    return [call.args["session"] for call in server.llm.calls if call.method == "generate"]


@pytest.mark.parametrize("options", [{}, {"model": "local"}, {"model": "m"}])
async def test_it_is_found_among_hearing_and_voice_and_answers(server, model, options):
    llm = model(**options)
    await llm.start()
    assert await answer(llm, temperature=0.2, repetition_penalty=1.1, top_k=3) == ["You", " said", " hi."]
    (call,) = server.llm.calls
    assert call.args["sampling"] == {"temperature": 0.2, "repetition_penalty": 1.1, "top_k": 3, "max_tokens": 160}


async def test_a_call_keeps_its_place_in_the_prefix_cache_and_shares_it_with_none(server, model):
    first, second = model(), model()
    await first.warm(QUESTION[:1], tools=[TOOL])
    assert len(server.llm.calls) == 1  # a warm-up decides nothing
    for llm in (first, second, first):
        await answer(llm)
    a, b, c, d = sessions(server)
    assert a == b == d != c


async def test_a_tool_is_wanted_and_its_result_is_told(server, model):
    server.llm.answer = chooses("transfer", to="ops")
    llm = model()
    (wanted,) = [piece for piece in await answer(llm, tools=[TOOL]) if piece]
    assert isinstance(wanted, ToolWanted)
    assert (wanted.name, json.loads(wanted.arguments)) == ("transfer", {"to": "ops"})
    use = ToolUse("abc", "transfer", '{"to": "ops"}')
    await answer(llm, [*QUESTION, Message("assistant", "", use), Message("tool", "They are busy.", use)])
    told = server.llm.calls[-1].args["messages"]
    assert told[-1]["content"] == 'The tool transfer was called with {"to": "ops"}. Its result: They are busy.'


async def test_a_reply_that_nobody_wants_any_more_ends_in_the_model(server, model):
    server.llm.held = True
    llm = model()

    async def begin():
        async with llm.reply(QUESTION, sampling=Sampling(), speculative=True) as output:
            async for _ in output:
                break

    beginning = asyncio.create_task(begin())
    async with asyncio.timeout(20):
        while not server.llm.calls:
            await asyncio.sleep(0.01)
        server.llm.calls[0].release(1)
        await beginning
        while not server.llm.calls[0].cancelled or server.switchboard.service("llm").running:
            await asyncio.sleep(0.01)
    server.llm.held = False
    assert await answer(llm) == ["You", " said", " hi."]
    assert len(set(sessions(server))) == 1


async def test_a_wrong_token_is_told(model):
    with pytest.raises(ComponentFailed, match="set WRONG to a key that it accepts"):
        await model(key="WRONG").start()


async def test_it_hears_by_the_same_door(component):
    utterance = component(openai_speech_to_text).stream(1, lambda partial: None)
    utterance.send(bytes((0, 32)) * 8_000)  # loud enough to be something
    assert (await utterance.decode(speculative=False)).text.endswith("bytes")


async def test_it_speaks_by_the_same_door(server, component):
    server.tts.answer = lambda method, args, body: ([({"audio_ms": 500.0}, bytes(24_000))], {"audio_ms": 500.0})
    voice = component(openai_text_to_speech)
    async with voice.speak("Good day.", audio_format=PCM_8K, speculative=False) as output:
        sound = b"".join([piece async for piece in output])
    assert len(sound) == pytest.approx(8_000, rel=0.02)
    assert server.tts.calls[0].args["text"] == "Good day."
