"""Frames of `/v1/realtime` that want to break it: each is answered with an error, and the session goes on."""

import asyncio
import json

import pytest

from tests.local_ai_server.realtime.realtime_rig import Talk, message, writes


@pytest.fixture
async def talk():
    talk = Talk()
    talk.services.llm.answer = writes("It is noon.")
    yield talk
    await talk.session.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "frame",
    [
        '{"type": "session.update", "session": {"instructions": "\\ud800"}}',
        '{"type": "no.such.event", "event_id": "\\ud800"}',
        '{"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": '
        '[{"type": "input_text", "text": "\\ud800"}]}}',
        '{"type": "response.create", "response": {"metadata": {"a": "\\ud800"}}}',
        '{"type": "response.create", "response": {"metadata": {"a": NaN}}}',
        f'{{"type": "response.create", "response": {{"metadata": {{"a": {nested(950)}}}}}}}',
        '{"type": "session.update", "session": {"tools": [{"name": "a", "parameters": '
        f'{{"a": {nested(260)}}}}}]}}}}',
        f'{{"type": "conversation.item.truncate", "audio_end_ms": {"9" * 5000}}}',
    ],
)
async def test_what_no_answer_could_repeat_is_refused(talk, frame):
    await talk.session.take(frame)
    await talk.ask("What time is it?")
    done = await talk.client.event("response.done")
    assert done["response"]["status"] == "completed"
    assert [error["error"]["code"] for error in talk.client.of("error")] == ["invalid_json"]
    for event in talk.client.sent:
        json.dumps(event, ensure_ascii=False).encode()


async def test_a_frame_of_very_many_parts_is_not_read(talk):
    wrong = ", ".join(["1"] * 50_002)
    await talk.session.take(f'{{"type": "session.update", "session": {{"output_modalities": [{wrong}]}}}}')
    assert [error["error"]["code"] for error in talk.client.of("error")] == ["invalid_event"]


@pytest.mark.parametrize("call_id", [[1], {"a": 1}, 7, "x" * 513])
@pytest.mark.parametrize("kind", ["function_call", "function_call_output"])
async def test_the_id_of_a_call_is_a_short_text(talk, kind, call_id):
    item = {"type": kind, "name": "a", "arguments": "{}", "output": "", "call_id": call_id}
    await talk.send("conversation.item.create", item=item)
    assert [error["error"]["param"] for error in talk.client.of("error")] == ["item.call_id"]


async def test_the_parts_of_an_item_are_bounded_together(talk):
    part = {"type": "input_text", "text": "x" * 60_000}
    item = {"type": "message", "role": "user", "content": [part, part]}
    await talk.send("conversation.item.create", item=item)
    assert [error["error"]["param"] for error in talk.client.of("error")] == ["item.content"]


async def test_a_conversation_keeps_no_more_text_than_a_model_could_read(talk):
    for n in range(15):
        await talk.send("conversation.item.create", item=message(f"{n}" + "x" * 90_000))
    await talk.send("response.create")
    await talk.client.event("response.done")
    heads = [text[:2].rstrip("x") for role, text in talk.lines() if role == "user"]
    assert heads == [str(n) for n in range(4, 15)]
