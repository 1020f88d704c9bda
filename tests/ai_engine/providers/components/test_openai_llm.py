"""The `openai` language model against a stand-in that answers, refuses and breaks off as its script says."""

from __future__ import annotations

import asyncio
import json

import pytest

from ai_engine.config_file import ConfigError
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed
from ai_engine.providers.components.llm.fitting import without_older_half
from ai_engine.providers.components.llm.openai import openai_language_model
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from tests.openai_stand_in import DONE, DROP, HANG, HELLO, StandIn, delta
from voice_core.history import Message
from voice_wire.audio import MULAW_8K
from voice_wire.messages import Sampling

QUESTION = (Message("system", "You are Joe."), Message("user", "Are you open?"))
CALL = CallInfo("c1", "default", "You are Joe.", "en", None, MULAW_8K)
KEY = "sk-a-secret-that-nobody-may-see"


@pytest.fixture
def server():
    stand_in = StandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture
async def services(tmp_path):
    made = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path), environment={"OPENAI_API_KEY": KEY, "EMPTY": ""})
    yield made
    await made.clients.close()


@pytest.fixture
def model(server, services):
    def make(**options):
        options = {"base_url": server.url, "timeout_s": 30, **options}
        return openai_language_model(CallScope(CALL, services), options)

    return make


async def answer(model, messages=QUESTION, **sampling):
    async with model.reply(messages, sampling=Sampling(**sampling), speculative=False) as output:
        return "".join([piece async for piece in output])


async def test_an_answer_comes_in_pieces_by_the_servers_own_words(server, model):
    server.models["data"][0]["owned_by"] = "llamacpp"
    llm = model()
    await llm.start()
    sampling = {"temperature": 0.2, "repetition_penalty": 1.1, "max_tokens": 40, "stop": ("\n",)}
    assert await answer(llm, **sampling) == "Hello there"
    (asked,) = server.asked
    assert asked["model"] == "tiny"
    assert asked["messages"] == [
        {"role": "system", "content": "You are Joe."},
        {"role": "user", "content": "Are you open?"},
    ]
    assert (asked["max_tokens"], asked["stop"], asked["temperature"]) == (40, ["\n"], 0.2)
    assert asked["repeat_penalty"] == 1.1
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}


async def test_calls_share_one_connection(server, model):
    for _ in range(3):
        llm = model()
        await llm.start()
        assert await answer(llm) == "Hello there"
        await llm.stop()
    assert server.connections == 1


@pytest.mark.parametrize(
    "script",
    [
        [delta("<think>He wants"), delta(" hours.</th"), delta("ink> We are open."), delta("", "stop"), DONE],
        [delta(reasoning_content="He wants hours."), delta("We are open."), delta("", "stop"), DONE],
    ],
)
async def test_thoughts_are_never_spoken(server, model, script):
    server.script = script
    assert await answer(model()) == "We are open."


async def test_a_model_that_begins_in_a_thought_is_known_by_its_name(server, model):
    server.models["data"][0]["id"] = "DeepSeek-R1-Distill"
    server.script = [delta("He wants hours."), delta("</think>"), delta("\n\nWe are open."), delta("", "stop"), DONE]
    assert await answer(model()) == "We are open."


async def test_a_key_comes_from_the_environment_and_is_never_told(server, model, services):
    server.key = KEY
    llm = model(key="OPENAI_API_KEY")
    assert await answer(llm) == "Hello there"
    server.script = (401, {}, f'{{"error": {{"message": "Incorrect API key provided: {KEY}"}}}}')
    with pytest.raises(ComponentFailed, match="set OPENAI_API_KEY to a key that it accepts") as refused:
        await answer(llm)
    assert KEY not in f"{refused.value} {services!r} {services.clients!r}"


@pytest.mark.parametrize(
    "script",
    [
        (400, {}, json.dumps({"error": {"message": "x" * 290 + KEY}})),
        (500, {}, "x" * 290 + KEY),
        [delta("We"), {"error": {"message": f"the upstream refused {KEY}"}}],
        [f"data: {KEY}\n\n".encode()],
        (200, {"content-type": "application/json"}, json.dumps({"error": {"message": f"no, {KEY}"}})),
    ],
)
async def test_no_error_shows_a_part_of_the_key(server, model, script):
    llm = model(key="OPENAI_API_KEY")
    server.script = script
    with pytest.raises(ComponentFailed) as failed:
        await answer(llm)
    assert KEY[:10] not in str(failed.value)


@pytest.mark.parametrize("name", ["GROQ_API_KEY", "EMPTY"])
def test_a_key_that_is_not_set_is_told_before_any_call(model, name):
    with pytest.raises(ConfigError, match=f"`key` names {name}, which is not set: set it in .env"):
        model(key=name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "127.0.0.1:8000"}, "write it as http://host:port/v1"),
        ({"base_url": "http://me:secret@host/v1"}, "leave the key out of the address"),
        ({"base_url": "http://host/v1?api_key=secret"}, "leave out what follows the path"),
        ({"key": "sk-123456"}, "`key`"),
        ({"tiemout_s": 3}, "did you mean `timeout_s`"),
    ],
)
def test_options_that_cannot_be_are_refused(model, options, words):
    with pytest.raises(ConfigError, match=words):
        model(**options)


async def test_a_server_with_several_models_wants_one_named(server, model):
    server.models["data"].append({"id": "big", "owned_by": "vllm"})
    with pytest.raises(ComponentFailed, match="several models; set `model` to one of them: tiny, big"):
        await model().start()
    assert await answer(model(model="big")) == "Hello there"
    assert server.asked[0]["model"] == "big"


@pytest.mark.parametrize(
    ("script", "retryable", "words"),
    [
        ((500, {}, "{}"), True, "answered 500"),
        ((503, {}, '{"error": "Loading model"}'), True, "Loading model"),
        ((429, {"retry-after": "7"}, '{"error": {"message": "Slow down"}}'), False, "asks to wait 7 s"),
        ((404, {}, '{"error": {"message": "no such model"}}'), False, "see `base_url`"),
        ([delta("We are"), DROP], True, "hung up|broke off"),
        ([b"data: {not json\n\n"], True, "no chunk"),
        ([delta("We"), {"error": {"message": "out of memory"}}], True, "out of memory"),
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


async def test_a_server_that_is_away_is_found_when_it_comes(server, model):
    server.models_status = 503
    llm = model()
    with pytest.raises(ComponentFailed) as failed:
        await llm.start()
    assert failed.value.retryable
    server.models_status = 200
    await llm.start()
    assert await answer(llm) == "Hello there"


async def test_all_who_wait_for_a_server_hear_of_one_failure(server, model):
    server.models_status = 503
    llms = [model() for _ in range(8)]
    outcomes = await asyncio.gather(*(llm.start() for llm in llms), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ComponentFailed}
    assert server.listed == 1
    server.models_status = 200
    await llms[0].start()


async def test_another_model_at_the_same_address_is_found(server, model):
    llm = model()
    assert await answer(llm) == "Hello there"
    server.models["data"][0]["id"] = "other"
    server.script = (404, {}, '{"error": {"message": "The model `tiny` does not exist."}}')
    with pytest.raises(ComponentFailed):
        await answer(llm)
    server.script = HELLO
    assert await answer(llm) == "Hello there"
    assert [asked["model"] for asked in server.asked] == ["tiny", "tiny", "other"]


@pytest.mark.parametrize(("status", "refused"), [(400, True), (422, True), (429, False), (500, False), (401, False)])
async def test_a_request_that_is_refused_for_itself_says_so(server, model, status, refused):
    server.script = (status, {}, '{"error": {"message": "no"}}')
    with pytest.raises(ComponentFailed) as failed:
        await answer(model())
    assert failed.value.refused == refused


async def test_characters_come_whole_however_the_bytes_are_cut(server, model):
    data = b"".join(
        f"data: {json.dumps(event, ensure_ascii=False) if isinstance(event, dict) else event}\r\n\r\n".encode()
        for event in [delta("Grüß Gott, "), delta("六時から 🙂"), delta("", "stop"), DONE]
    )
    server.script = [data[at : at + 1] for at in range(len(data))]
    assert await answer(model()) == "Grüß Gott, 六時から 🙂"


async def test_an_event_without_end_is_no_answer(server, model):
    server.script = [delta("We")] + [b"data: " + b"x" * 65536 + b"\n"] * 20 + [HANG]
    with pytest.raises(ComponentFailed, match="more than"):
        await answer(model())


async def test_an_empty_answer_is_an_answer(server, model):
    server.script = [delta(role="assistant", text=""), delta("", "stop"), DONE]
    assert await answer(model()) == ""


@pytest.mark.parametrize("script", [[HANG], [delta("We are"), HANG]])
async def test_leaving_an_answer_ends_the_servers_work(server, model, script):
    server.script = script
    llm = model()

    async def ask():
        async with llm.reply(QUESTION, sampling=Sampling(), speculative=False) as output:
            async for _ in output:
                pass

    asking = asyncio.create_task(ask())
    while not server.asked:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await asyncio.to_thread(server.hung_up.wait, 30)


async def test_a_stream_that_is_left_early_is_closed(server, model):
    server.script = [delta("We are"), HANG]
    async with model().reply(QUESTION, sampling=Sampling(), speculative=True) as output:
        async for piece in output:
            assert piece == "We are"
            break
    assert await asyncio.to_thread(server.hung_up.wait, 30)


async def test_a_prompt_too_long_loses_its_older_half(server, model):
    history = [Message("user" if n % 2 == 0 else "assistant", f"line {n}") for n in range(9)]
    too_long = (400, {}, '{"error": {"message": "This model\'s maximum context length is 64 tokens"}}')
    server.script = too_long
    llm = model()
    with pytest.raises(ComponentFailed, match="maximum context length"):
        await answer(llm, [QUESTION[0], *history])
    sent = [[line["content"] for line in asked["messages"]] for asked in server.asked]
    assert [len(lines) for lines in sent] == [10, 6, 4]
    assert all(lines[0] == "You are Joe." and lines[-1] == "line 8" for lines in sent)


async def test_a_field_that_a_model_does_not_take_is_left_out_from_then_on(server, model):
    said = "Unsupported value: 'temperature' does not support 0.4 with this model. Only the default (1) is supported."
    server.refuses = {"temperature": said, "stop": "Unsupported parameter: 'stop' is not supported with this model."}
    llm = model()
    for _ in range(2):
        assert await answer(llm, temperature=0.4, stop=("\n",), top_p=0.9) == "Hello there"
    assert len(server.asked) == 2
    assert {name for asked in server.asked for name in asked} & {"temperature", "stop", "top_p"} == {"top_p"}


async def test_an_effort_that_a_model_does_not_know_is_not_named_to_it_again(server, model):
    server.models = {"data": [{"id": "gpt-5.1", "owned_by": "system"}]}
    server.refuses = {"reasoning_effort": "Unsupported value: 'none' is not supported with the 'gpt-5.1' model."}
    llm = model()
    for _ in range(2):
        assert await answer(llm) == "Hello there"
    assert [asked.get("reasoning_effort") for asked in server.asked] == [None, None]


async def test_what_every_request_needs_is_not_left_out(server, model):
    server.refuses = {"messages": "Unsupported parameter: 'messages' is not supported with this model."}
    with pytest.raises(ComponentFailed, match="messages"):
        await answer(model())


@pytest.mark.parametrize(
    ("roles", "left"),
    [
        (["system", "user"], [0, 1]),
        (["user"], [0]),
        (["system"], [0]),
        (["system", "user", "assistant", "user"], [0, 2, 3]),
    ],
)
def test_what_is_left_of_a_prompt(roles, left):
    messages = [Message(role, str(n)) for n, role in enumerate(roles)]
    assert [int(message.content) for message in without_older_half(messages)] == left


@pytest.mark.parametrize(("owner", "asked"), [("vllm", 1), ("openai", 0), ("somebody", 0)])
async def test_a_warm_up_is_made_only_where_prompts_are_kept(server, model, owner, asked):
    server.models["data"][0]["owned_by"] = owner
    await model().warm([*QUESTION, Message("assistant", "Yes.")])
    assert len(server.asked) == asked
    if asked:
        assert server.asked[0]["messages"][-1] == {"role": "user", "content": ""}
        assert server.asked[0]["max_tokens"] == 1


async def test_connections_end_with_the_engine(server, model, services):
    llm = model()
    assert await answer(llm) == "Hello there"
    await services.clients.close()
    with pytest.raises(RuntimeError, match="closed"):
        await answer(llm)
