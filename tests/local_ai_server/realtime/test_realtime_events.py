"""Events of `/v1/realtime`, right and wrong: settings in both shapes, items, tools, answers, hostile clients."""

import asyncio
import base64
import json

import pytest

from local_ai_server.realtime.session_config import SessionConfig
from model_worker.errors import WorkerUnavailable
from tests.local_ai_server.fake_services import FakeServices, settle
from tests.local_ai_server.realtime.realtime_rig import Talk, message, quiet, speech, writes

TOOL = {
    "type": "function",
    "name": "transfer",
    "description": "Puts the caller through to a person.",
    "parameters": {"type": "object", "properties": {}},
}


@pytest.fixture
async def talk():
    talk = Talk()
    talk.services.llm.answer = writes("It is noon.")
    yield talk
    await talk.session.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def refused(talk, kind, **fields):
    n = len(talk.client.of("error"))
    await talk.send(kind, **fields)
    assert len(talk.client.of("error")) == n + 1, talk.client.sent[-1]
    return talk.client.sent[-1]["error"]


GA = {
    "type": "realtime",
    "instructions": "Be brief.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "turn_detection": {"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 800},
            "transcription": {"model": "whisper-1", "language": "en"},
        },
        "output": {"format": {"type": "audio/pcma"}, "voice": "joe", "speed": 1.2},
    },
    "tools": [TOOL],
    "tool_choice": "required",
    "max_output_tokens": 100,
}
BETA = {
    "instructions": "Be brief.",
    "modalities": ["text", "audio"],
    "input_audio_format": "g711_ulaw",
    "output_audio_format": "g711_alaw",
    "turn_detection": {"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 800},
    "input_audio_transcription": {"model": "whisper-1", "language": "en"},
    "voice": "joe",
    "speed": 1.2,
    "tools": [TOOL],
    "tool_choice": "required",
    "max_response_output_tokens": 100,
}


def test_both_shapes_say_the_same():
    assert SessionConfig().updated(GA) == SessionConfig().updated(BETA) != SessionConfig()


async def test_the_session_states_what_it_is_set_to(talk):
    await talk.send("session.update", session=GA)
    stated = talk.client.sent[-1]["session"]
    assert SessionConfig().updated(stated) == SessionConfig().updated(GA)
    assert stated["model"] == "gpt-realtime"
    await talk.send("session.update", session={"instructions": "Be long."})
    stated = talk.client.sent[-1]["session"]
    assert (stated["instructions"], stated["audio"]["output"]["voice"]) == ("Be long.", "joe")


async def test_a_client_of_the_beta_is_told_in_its_own_words():
    talk = Talk(dialect="beta")
    talk.services.llm.answer = writes("It is noon.")
    assert talk.client.kinds() == ["session.created", "conversation.created"]
    assert talk.client.sent[0]["session"]["input_audio_format"] == "pcm16"
    await talk.send("session.update", session=BETA | {"tools": []})
    assert SessionConfig().updated(talk.client.sent[-1]["session"]) == SessionConfig().updated(BETA | {"tools": []})
    await talk.ask("What time is it?")
    await talk.client.event("response.done")
    assert talk.client.kinds()[3:] == [
        "conversation.item.created",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio_transcript.delta",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    response = talk.client.sent[-1]["response"]
    assert (response["modalities"], response["output_audio_format"]) == (["text", "audio"], "g711_alaw")
    assert response["output"][0]["content"] == [{"type": "audio", "transcript": "It is noon."}]
    await talk.session.close()


@pytest.mark.parametrize(
    "session, param",
    [
        ({"type": "transcription"}, "session.type"),
        ({"voice": "nobody"}, "voice"),
        ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "session.audio.input.format.type"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 12_345}}}}, "session.audio.input.format.rate"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": [1]}}}}, "session.audio.input.format.rate"),
        ({"audio": []}, "session.audio"),
        ({"input_audio_format": "mp3"}, "session.input_audio_format"),
        ({"turn_detection": {"type": "magic"}}, "session.turn_detection.type"),
        ({"turn_detection": {"threshold": 7}}, "session.turn_detection.threshold"),
        ({"turn_detection": {"idle_timeout_ms": 5000}}, "session.turn_detection.idle_timeout_ms"),
        ({"instructions": "x" * 100_000}, "session.instructions"),
        ({"tools": [TOOL] * 65}, "session.tools"),
        ({"tools": [{"type": "mcp"}]}, "session.tools.0.type"),
        ({"output_modalities": []}, "session.output_modalities"),
        ({"max_output_tokens": 0}, None),
    ],
)
async def test_what_a_session_cannot_be_is_refused_and_changes_nothing(talk, session, param):
    error = await refused(talk, "session.update", session={"instructions": "Changed."} | session, event_id="e1")
    assert error["event_id"] == "e1"
    assert param in (error["param"], None)
    await talk.send("session.update", session={})
    assert talk.client.sent[-1]["session"]["instructions"] == "Be kind."


async def test_openais_voices_are_ours(talk):
    await talk.send("session.update", session={"audio": {"output": {"voice": "alloy"}}})
    assert talk.client.sent[-1]["session"]["audio"]["output"]["voice"] is None


async def test_an_answer_in_writing(talk):
    await talk.send("session.update", session={"output_modalities": ["text"], "temperature": 0.3})
    await talk.ask("What time is it?")
    response = (await talk.client.event("response.done"))["response"]
    text = "".join(event["delta"] for event in talk.client.of("response.output_text.delta"))
    assert text == "It is noon." == response["output"][0]["content"][0]["text"]
    assert not talk.services.tts.calls
    assert talk.services.llm.calls[0].args["sampling"] == {"temperature": 0.3}


async def test_a_response_may_have_its_own_settings_and_input(talk):
    await talk.send("conversation.item.create", item=message("Something else."))
    own = {
        "instructions": "Be rude.",
        "output_modalities": ["text"],
        "max_output_tokens": 5,
        "conversation": "none",
        "input": [message("Only this.")],
        "metadata": {"topic": "x"},
    }
    await talk.send("response.create", response=own)
    response = (await talk.client.event("response.done"))["response"]
    assert talk.lines() == [("system", "Be rude."), ("user", "Only this.")]
    assert talk.services.llm.calls[0].args["sampling"]["max_tokens"] == 5
    assert (response["metadata"], response["conversation_id"]) == ({"topic": "x"}, None)
    await talk.send("response.create")
    await talk.client.event("response.done", 2)
    assert talk.lines() == [("system", "Be kind."), ("user", "Something else.")], "it left nothing behind"


async def test_items_come_in_order_and_go(talk):
    for name, after in (("b", None), ("c", None), ("a", "root"), ("bb", "b")):
        await talk.send("conversation.item.create", item=message(name) | {"id": name}, previous_item_id=after)
    assert [event["previous_item_id"] for event in talk.client.of("conversation.item.added")] == [None, "b", None, "b"]
    await talk.send("conversation.item.delete", item_id="c")
    assert talk.client.sent[-1]["type"] == "conversation.item.deleted"
    await talk.send("conversation.item.create", item=message("I said so.", "assistant"))
    await talk.send("response.create")
    await talk.client.event("response.done")
    assert [text for _, text in talk.lines()] == ["Be kind.", "a", "b", "bb", "I said so."]
    assert (await refused(talk, "conversation.item.create", item=message("x") | {"id": "a"}))["param"] == "item.id"
    for kind in ("delete", "retrieve", "truncate"):
        assert (await refused(talk, f"conversation.item.{kind}", item_id="c"))["code"] == "item_not_found"
    assert (await refused(talk, "conversation.item.truncate", item_id="a", audio_end_ms=1))["param"] == "item_id"


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        {"type": "reasoning"},
        {"type": "message", "role": "judge", "content": []},
        {"type": "message", "role": "user", "content": "text"},
        {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "x"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": 5}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * 100_001}]},
        {"type": "function_call", "name": "f", "arguments": "{"},
        {"type": "function_call_output", "call_id": "c"},
        message("x") | {"id": ""},
        message("x") | {"id": 5},
    ],
)
async def test_what_is_no_item_is_refused(talk, item):
    assert (await refused(talk, "conversation.item.create", item=item))["type"] == "invalid_request_error"
    assert not talk.client.of("conversation.item.added")


def wants_transfer(method, args, body):
    """A model that calls the tool when it is asked to choose, and speaks of its outcome."""
    asked = "response_format" in args
    text = '"transfer"' if asked else "You are being put through."
    return [({"text": text}, b"")], {"finish_reason": "stop"}


async def test_a_function_is_called_and_its_outcome_spoken_of(talk):
    talk.services.llm.answer = wants_transfer
    await talk.send("session.update", session={"tools": [TOOL]})
    await talk.ask("Let me talk to somebody.")
    response = (await talk.client.event("response.done"))["response"]
    (call,) = response["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "transfer", {})
    done = talk.client.of("response.function_call_arguments.done")[0]
    delta = talk.client.of("response.function_call_arguments.delta")[0]
    assert (done["call_id"], done["item_id"]) == (call["call_id"], call["id"])
    assert delta["delta"] == done["arguments"] == call["arguments"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"ok": true}'}
    await talk.send("conversation.item.create", item=output)
    await talk.send("response.create")
    response = (await talk.client.event("response.done", 2))["response"]
    assert response["output"][0]["content"][0]["transcript"] == "You are being put through."
    assert talk.lines()[-1] == ("system", 'The tool transfer was called with {}. Its result: {"ok": true}')


async def test_a_response_that_is_cut_by_its_limit_says_so(talk):
    talk.services.llm.answer = writes("It is", finish_reason="length")
    await talk.ask("What time is it?")
    response = (await talk.client.event("response.done"))["response"]
    assert (response["status"], response["status_details"]["reason"]) == ("incomplete", "max_output_tokens")


@pytest.mark.parametrize("kind", ["llm", "tts"])
async def test_a_model_that_fails_fails_its_response_only(talk, kind):
    link = getattr(talk.services, kind)
    link.error = WorkerUnavailable("it is starting")
    await talk.ask("What time is it?")
    response = (await talk.client.event("response.done"))["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == f"{kind}_unavailable"
    link.error = None
    await talk.send("response.create")
    assert (await talk.client.event("response.done", 2))["response"]["status"] == "completed"


async def test_without_a_language_model_the_reason_is_told():
    talk = Talk(services=FakeServices(without=("llm",)))
    await talk.ask("What time is it?")
    assert (await talk.client.event("response.done"))["response"]["status"] == "failed"
    await talk.session.close()


async def test_one_response_at_a_time_and_it_may_be_cancelled(talk):
    talk.services.llm.held = True
    assert (await refused(talk, "response.cancel"))["code"] == "response_cancel_not_active"
    await talk.ask("What time is it?")
    assert (await refused(talk, "response.create"))["code"] == "conversation_already_has_active_response"
    await talk.called(talk.services.llm)
    assert (await refused(talk, "response.cancel", response_id="other"))["code"] == "response_cancel_not_active"
    await talk.send("response.cancel")
    response = talk.client.sent[-1]["response"]
    assert (response["status"], response["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    await settle()
    assert talk.services.llm.calls[0].cancelled


@pytest.mark.parametrize(
    "frame",
    ["", "{", "[]", "5", '"type"', "{}", '{"type": 5}', '{"type": "nonsense"}', "[" * 100_000, b"\x00\x01", "\ud800"],
)
async def test_what_is_no_event_is_refused_and_the_session_goes_on(talk, frame):
    await talk.session.take(frame)
    assert talk.client.sent[-1]["type"] == "error"
    await talk.ask("What time is it?")
    await talk.client.event("response.done")


@pytest.mark.parametrize("audio", [None, 5, "!!!!", "AAA", "äöü", base64.b64encode(b"odd").decode()])
async def test_what_is_no_sound_is_refused(talk, audio):
    assert (await refused(talk, "input_audio_buffer.append", audio=audio))["param"] == "audio"


async def test_sound_that_is_never_committed_is_bounded():
    talk = Talk(LOCAL_MAX_UTTERANCE="2")
    await talk.send("session.update", session={"turn_detection": None})
    for _ in range(10):
        await talk.hear(speech(1.0))
    errors = talk.client.of("error")
    assert [error["error"]["code"] for error in errors] == ["input_audio_buffer_full"], "said once"
    assert talk.session._listening._hearing._sound.end == 2 * 24_000
    await talk.send("input_audio_buffer.commit")
    await talk.client.event("conversation.item.input_audio_transcription.completed")
    await talk.session.close()


async def test_who_speaks_without_end_is_cut_and_silence_is_not_kept():
    talk = Talk(LOCAL_MAX_UTTERANCE="2")
    await talk.hear(quiet(10))
    assert talk.session._listening._hearing._sound.end - talk.session._listening._hearing._sound.first < 2 * 24_000
    await talk.hear(speech(5))
    await talk.client.event("input_audio_buffer.committed", 2)
    assert max(len(call.body) for call in talk.services.stt.calls) <= 2 * 2.2 * 24_000
    await talk.session.close()


async def test_a_flood_of_events_is_refused_and_sound_is_not_counted():
    talk = Talk(LOCAL_WS_MAX_MESSAGES="20", LOCAL_WS_MAX_CANCELS="3")
    await talk.hear(quiet(5), step_ms=20)
    assert not talk.client.of("error")
    for _ in range(4):
        await talk.send("response.cancel")
    assert talk.client.sent[-1]["error"]["code"] == "rate_limit_exceeded"
    for _ in range(30):
        await talk.send("session.update", session={})
    assert talk.client.sent[-1]["error"]["code"] == "rate_limit_exceeded"
    assert len(talk.client.of("session.updated")) == 17
    talk.now += 11
    await talk.send("session.update", session={})
    assert talk.client.sent[-1]["type"] == "session.updated"
    await talk.session.close()


async def test_the_oldest_items_go_first(talk, monkeypatch):
    monkeypatch.setattr("local_ai_server.realtime.items.MAX_ITEMS", 3)
    for n in range(6):
        await talk.send("conversation.item.create", item=message(f"{n}"))
    await talk.send("response.create")
    await talk.client.event("response.done")
    assert [text for _, text in talk.lines()][1:] == ["3", "4", "5"]


async def test_a_client_that_goes_leaves_no_work_behind():
    talk = Talk()
    talk.services.llm.held = True
    await talk.hear(quiet(0.3), speech(1), quiet(0.7))
    await talk.called(talk.services.llm)
    await talk.hear(speech(0.2))
    await talk.session.close()
    assert talk.services.llm.calls[0].cancelled
    assert talk.judges.open_streams == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
