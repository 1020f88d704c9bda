"""Chat completions by the embedded model: what it says is its own affair, the forms it is held to are not."""

import asyncio
import json

import pytest
from chat_server import TRANSFER, talking

from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard

pytestmark = pytest.mark.models
PERSONA = {"role": "system", "content": "You answer the telephone of a bicycle shop. " * 8}
QUESTION = [PERSONA, {"role": "user", "content": "Are you open on Friday? My name is Ann."}]
SCHEMA = {
    "type": "object",
    "properties": {"day": {"enum": ["Monday", "Friday"]}, "hour": {"type": "integer", "minimum": 9, "maximum": 17}},
    "required": ["day", "hour"],
    "additionalProperties": False,
}


@pytest.fixture
async def client(tmp_path):
    try:
        find_model("SmolLM2-135M-Instruct-Q8_0")
    except ModelMissing as missing:
        pytest.skip(str(missing))
    environment = {"LOCAL_AI_MODE": "full", "ENABLE_STT": "false", "ENABLE_TTS": "false", "SERVICE_TIMEOUT": "110"}
    switchboard = Switchboard.from_settings(read_settings(tmp_path / "no.env", environment))
    await switchboard.start()
    async with talking(switchboard) as client:
        yield client
    await switchboard.stop()


async def test_the_embedded_model_by_openais_client(client):
    def ask(**fields):
        return client.chat.completions.create(
            **{"model": "SmolLM2-135M-Instruct-Q8_0", "messages": QUESTION, "temperature": 0} | fields
        )

    first = await ask(max_tokens=6, prompt_cache_key="ann")
    assert first.choices[0].finish_reason in ("stop", "length")
    usage = first.usage
    assert usage.prompt_tokens > 80
    assert 1 <= usage.completion_tokens <= 6

    figures = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = [chunk async for chunk in await ask(max_tokens=6, prompt_cache_key="ann", **figures)]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == first.choices[0].message.content
    cached = chunks[-1].usage.prompt_tokens_details.cached_tokens
    assert cached >= usage.prompt_tokens - 2  # all but what llama.cpp reads again to begin

    form = {"type": "json_schema", "json_schema": {"name": "when", "schema": SCHEMA, "strict": True}}
    held = json.loads((await ask(response_format=form, max_tokens=60)).choices[0].message.content)
    assert held["day"] in ("Monday", "Friday") and 9 <= held["hour"] <= 17
    (choice,) = (await ask(tools=[TRANSFER], tool_choice="required")).choices
    (call,) = choice.message.tool_calls
    assert json.loads(call.function.arguments)["to"] in ("sales", "ops")

    async with asyncio.timeout(60):
        stream = await ask(stream=True, max_tokens=600, prompt_cache_key="ann")
        async for _ in stream:
            break
        await stream.close()
        assert (await ask(max_tokens=2, prompt_cache_key="ann")).usage.completion_tokens <= 2
