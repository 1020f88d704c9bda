"""Chat completions over a real socket: answers, streams, tools and forms as OpenAI's own client reads them."""

import asyncio
import json
import socket

import httpx
import openai
import pytest
from chat_server import HANG_UP, HELLO, TRANSFER, chooses, serving, talking

from model_worker.errors import CallFailed, WorkerDied
from tests.local_ai_server.fake_services import FakeServices


@pytest.fixture
def services():
    return FakeServices()


async def ask(client, **fields):
    return await client.chat.completions.create(**{"model": "local", "messages": HELLO} | fields)


async def until(met):
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.01)


async def test_what_is_loaded_is_listed_the_language_model_first(services):
    async with talking(services.switchboard) as client:
        listed = (await client.models.list()).data
        assert [(m.kind, m.id, m.owned_by) for m in listed] == [
            ("llm", "m", "parley"),
            ("stt", "m-stt", "parley"),
            ("tts", "m-tts", "parley"),
        ]
        assert (await client.models.retrieve("default")).id == "m"
        assert (await client.models.retrieve("m-tts")).voices == ["joe"]
        with pytest.raises(openai.NotFoundError, match="there are: m, m-stt, m-tts, default, local"):
            await client.models.retrieve("gpt-4o")


@pytest.mark.parametrize("model", ["m", "default", "local"])
async def test_a_whole_answer_and_its_cost(services, model):
    async with talking(services.switchboard) as client:
        answer = await ask(client, model=model)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "You said hi.", "stop")
    assert (answer.object, answer.model, choice.message.tool_calls) == ("chat.completion", "m", None)
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 3, 12)
    assert usage.prompt_tokens_details.cached_tokens == 7


@pytest.mark.parametrize("model", ["gpt-4o", "m-stt", ""])
async def test_no_other_model_is_pretended(services, model):
    async with talking(services.switchboard) as client:
        with pytest.raises(openai.NotFoundError, match="there are: m,") as refused:
            await ask(client, model=model)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_a_model_that_was_told_of_is_answered_for_by_the_next(services):
    async with talking(services.switchboard) as client:
        await client.models.list()
        other = FakeServices().switchboard.service("llm")
        other.plan = type(other.plan)(load={}, model_path=other.plan.model_path.with_name("n.gguf"), concurrency=2)
        services.switchboard.assign("llm", other)
        assert (await ask(client, model="m")).model == "n"


async def test_the_events_of_a_stream_are_openais(services):
    body = {"model": "m", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    async with serving(services.switchboard) as url, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{url}/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    (name,) = {chunk.pop("id") for chunk in chunks}
    assert name.startswith("chatcmpl-")
    assert {(c.pop("object"), c.pop("model"), type(c.pop("created"))) for c in chunks} == {
        ("chat.completion.chunk", "m", int)
    }

    def one(delta, reason=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {"choices": [choice], "usage": None}

    assert chunks == [
        one({"role": "assistant", "content": ""}),
        *[one({"content": text}) for text in ("You", " said", " hi.")],
        one({}, "stop"),
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 7},
            },
        },
    ]


async def test_figures_are_streamed_to_those_who_ask(services):
    async with talking(services.switchboard) as client:
        chunks = [chunk async for chunk in await ask(client, stream=True)]
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_an_answer_of_nothing_is_an_answer(services):
    services.llm.answer = lambda method, args, body: ([], {"finish_reason": "length", "dropped_messages": 3})
    async with talking(services.switchboard) as client:
        answer = await ask(client)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("", "length")
        assert answer.truncated == {"dropped_messages": 3, "cut": False}
        (only,) = [chunk async for chunk in await ask(client, stream=True)]
        assert (only.choices[0].delta.role, only.choices[0].finish_reason) == ("assistant", "length")
        assert only.truncated == {"dropped_messages": 3, "cut": False}


async def test_what_is_asked_reaches_the_model(services):
    said = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": " two"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "Nothing there."},
        {"role": "user", "content": "And now?"},
    ]  # fmt: skip
    wishes = {"temperature": 0.3, "top_p": 0.9, "presence_penalty": 0.1, "frequency_penalty": 0.2, "seed": -3}
    own = {"top_k": 4, "min_p": 0.1, "repeat_penalty": 1.2, "sanitize_output": True}
    async with talking(services.switchboard) as client:
        await ask(client, messages=said, max_completion_tokens=7, max_tokens=9, stop="\n", extra_body=own, **wishes)
        await ask(client)
    asked, plain = (call.args for call in services.llm.calls if call.method == "generate")
    assert asked["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "One two"},
        {"role": "system", "content": 'The tool look was called with {"at": 1}. Its result: Nothing there.'},
        {"role": "user", "content": "And now?"},
    ]
    sampling = asked["sampling"]
    assert 0 <= sampling.pop("seed") < 2**32
    del own["repeat_penalty"], wishes["seed"]
    assert sampling == {**wishes, **own, "repetition_penalty": 1.2, "max_tokens": 7, "stop": ["\n"]}
    assert plain["sampling"] == {"max_tokens": 1024}


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "transfer"}}])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_that_the_model_wants(services, choice, stream):
    services.llm.answer = chooses("transfer", to="ops")
    async with talking(services.switchboard) as client:
        asked = {"tools": [HANG_UP, TRANSFER], "tool_choice": choice}
        if stream:
            figures = {"stream_options": {"include_usage": True}}
            async with client.chat.completions.stream(model="m", messages=HELLO, **figures, **asked) as events:
                answer = await events.get_final_completion()
        else:
            answer = await ask(client, **asked)
    (choice_made,) = answer.choices
    (call,) = choice_made.message.tool_calls
    assert (choice_made.finish_reason, choice_made.message.content) == ("tool_calls", None)
    assert (call.type, call.function.name, json.loads(call.function.arguments)) == (
        "function",
        "transfer",
        {"to": "ops"},
    )
    assert call.id.startswith("call_")
    questions = len([c for c in services.llm.calls if c.method == "generate"])
    assert answer.usage.prompt_tokens == 9 * questions


async def test_no_tool_where_none_is_wanted_or_allowed(services):
    services.llm.answer = chooses("none")
    async with talking(services.switchboard) as client:
        answer = await ask(client, tools=[TRANSFER, HANG_UP])
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("You said hi.", "stop")
        services.llm.answer = chooses("transfer", to="ops")
        assert (await ask(client, tools=[TRANSFER], tool_choice="none")).choices[0].message.tool_calls is None
        some = {"mode": "required", "tools": [{"type": "function", "function": {"name": "hang_up"}}]}
        allowed = await ask(
            client, tools=[TRANSFER, HANG_UP], tool_choice={"type": "allowed_tools", "allowed_tools": some}
        )
        assert [call.function.name for call in allowed.choices[0].message.tool_calls] == ["hang_up"]


async def test_a_form_reaches_the_model(services):
    schema = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
    form = {"type": "json_schema", "json_schema": {"name": "when", "schema": schema, "strict": True}}
    async with talking(services.switchboard) as client:
        await ask(client, response_format=form)
        await ask(client, response_format={"type": "json_object"})
        await ask(client, response_format={"type": "text"})
    forms = [c.args.get("response_format") for c in services.llm.calls if c.method == "generate"]
    assert forms == [{"type": "json_schema", "json_schema": schema}, {"type": "json_object"}, None]


async def test_what_cannot_be_served_has_a_status(services):
    async with talking(FakeServices(without=("llm",)).switchboard) as client:
        with pytest.raises(openai.InternalServerError, match="no llm here") as refused:
            await ask(client, stream=True)
        assert refused.value.status_code == 503
        assert [m.kind for m in (await client.models.list()).data] == ["stt", "tts"]
    services.llm.error = CallFailed("PromptTooLong", "no prompt fits")
    async with talking(services.switchboard) as client:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="no prompt fits") as refused:
                await ask(client, stream=stream)
            assert refused.value.code == "prompt_too_long"


async def test_what_fails_in_the_middle_is_told_in_the_stream(services):
    services.llm.held = True
    async with talking(services.switchboard) as client:
        stream = await asyncio.gather(ask(client, stream=True), until_released(services, 1))
        said = []
        with pytest.raises(openai.APIError, match="worker") as failed:
            async for chunk in stream[0]:
                said.append(chunk.choices[0].delta.content)
                services.llm.error = WorkerDied("the worker died; secret last words")
                services.llm.calls[-1].release()
        assert said == ["", "You"]
        assert failed.value.body["code"] == "worker_failed"


async def until_released(services, pieces):
    await until(lambda: any(c.method == "generate" for c in services.llm.calls))
    services.llm.calls[-1].release(pieces)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_model_works_no_longer_for_a_client_that_left(services, stream):
    services.llm.held = True
    async with serving(services.switchboard) as url:
        async with httpx.AsyncClient(trust_env=False) as http:
            body = {"model": "m", "messages": HELLO, "stream": stream, "prompt_cache_key": "call 1"}
            asking = asyncio.create_task(http.post(f"{url}/chat/completions", json=body))
            await until_released(services, 1)
            asking.cancel()
            await asyncio.wait([asking])
        await until(lambda: services.llm.calls[0].cancelled)
        llm = services.switchboard.service("llm")
        await until(lambda: not llm.running)
        services.llm.held = False
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            assert (await http.post(f"{url}/chat/completions", json=body | {"stream": False})).status_code == 200
            figures = (await http.get(f"{url.removesuffix('/v1')}/metrics")).text
    first, second = (call.args["session"] for call in services.llm.calls)
    assert first == second
    for outcome in ("cancelled", "done"):
        assert f'local_ai_requests_total{{operation="chat",outcome="{outcome}"}} 1.0' in figures


async def test_a_client_that_reads_nothing_does_not_keep_the_model_from_others(services):
    services.llm.answer = lambda method, args, body: ([({"text": "word " * 2000}, b"")] * 1000, {})
    async with serving(services.switchboard) as url:
        body = json.dumps({"messages": HELLO, "stream": True}).encode()
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        deaf = socket.socket()
        with deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", httpx.URL(url).port))
            deaf.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}".encode() + body)
            llm = services.switchboard.service("llm")
            await until(lambda: services.llm.calls)
            await until(lambda: not llm.running)


async def test_calls_need_not_wait_for_requests_that_name_no_conversation(services):
    services.llm.held = True
    async with talking(services.switchboard) as client:
        nameless = [asyncio.create_task(ask(client)) for _ in range(3)]
        llm = services.switchboard.service("llm")
        await until(lambda: llm.waiting == 2)
        named = asyncio.create_task(ask(client, prompt_cache_key="call 1"))
        await until(lambda: llm.running == 2)
        assert llm.waiting == 2
        services.llm.held = False
        for call in services.llm.calls:
            call.release()
        await asyncio.gather(named, *nameless)


async def test_a_token_is_asked_for(services):
    async with talking(services.switchboard, key="wrong", LOCAL_WS_AUTH_TOKEN="right") as client:
        for asking in (client.models.list(), ask(client)):
            with pytest.raises(openai.AuthenticationError):
                await asking
        right = client.with_options(api_key="right")
        assert (await ask(right)).choices[0].message.content == "You said hi."
