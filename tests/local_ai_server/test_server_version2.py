"""Version 2 as the existing clients speak it (PROTOCOL: docs/protocol.md and the ecosystem's own field lists)."""

import asyncio
import base64
import json

import numpy as np
import pytest
from fake_services import FakeServices, ListClient, make_session, settle

from local_ai_server.answer_format import answer_format
from model_worker.errors import WorkerUnavailable
from voice_wire.messages import ResponseFormat


class Talk:
    def __init__(self, **options):
        self.services = FakeServices(**options)
        self.client = ListClient()
        self.session = make_session(self.services, self.client)

    def send(self, **fields):
        self.session.receive(json.dumps(fields))

    async def next(self, kind):
        return (await self.client.until(lambda: self.client.of(kind)))[-1]


@pytest.fixture
async def talk():
    talk = Talk()
    yield talk
    await talk.session.close()


def speech(seconds, rate_hz=16_000):
    """Noise as loud as speech."""
    return np.random.default_rng(1).normal(0, 3000, round(seconds * rate_hz)).astype("<i2").tobytes()


def quiet(seconds, rate_hz=16_000):
    return bytes(2 * round(seconds * rate_hz))


async def test_a_whole_turn_in_mode_full(talk):
    talk.send(type="set_mode", mode="full", call_id="c1", segment_silence_ms=200)
    assert talk.client.sent[-1].mode == "full"
    talk.session.receive(speech(0.5) + quiet(0.4))
    audio = await talk.client.until(talk.client.audio)
    heard, answer, announced = talk.client.sent[1:4]
    assert (heard.type, heard.is_final, heard.stt_backend, heard.call_id) == (
        "stt_result",
        True,
        "faster_whisper",
        "c1",
    )
    assert (answer.type, answer.text) == ("llm_response", f"You said {heard.text}.")
    assert (announced.type, announced.encoding, announced.sample_rate_hz) == ("tts_audio", "mulaw", 8000)
    assert announced.byte_length == len(audio[0])
    assert not talk.client.of("done")


async def test_mode_stt_ends_with_the_words(talk):
    talk.send(type="set_mode", mode="stt", segment_silence_ms=200)
    for at in range(0, 20):
        talk.session.receive((speech(0.4) + quiet(0.4))[at * 1280 : (at + 1) * 1280])
    await talk.next("stt_result")
    await settle()
    assert [m.type for m in talk.client.sent] == ["mode_ready", "stt_result"]


async def test_one_audio_message_with_nothing_after_it_is_an_utterance(talk):
    talk.send(type="set_mode", mode="stt", segment_silence_ms=100)
    data = base64.b64encode(speech(0.5, 8000)).decode()
    talk.send(type="audio", data=data, rate=8000, request_id="r1", mode="stt")
    result = await talk.next("stt_result")
    assert result.request_id == "r1"
    assert talk.services.stt.calls[0].args["sample_rate_hz"] == 8000


async def test_silence_alone_is_no_turn(talk):
    talk.send(type="set_mode", mode="stt", segment_silence_ms=100)
    talk.session.receive(quiet(2))
    await asyncio.sleep(0.2)
    assert not talk.services.stt.calls


async def test_without_stt_the_final_says_so(talk):
    talk.services.stt.error = WorkerUnavailable("it is starting")
    talk.send(type="set_mode", mode="full", segment_silence_ms=100)
    talk.session.receive(speech(0.3) + quiet(0.2))
    result = await talk.next("stt_result")
    assert (result.error, result.stt_backend, result.text) == ("stt_unavailable", "faster_whisper", "")


async def test_the_server_keeps_the_history(talk):
    for text in ("one", "two"):
        talk.send(type="llm_request", text=text, call_id="c1", request_id="same")
        await talk.client.until(lambda text=text: [m for m in talk.client.of("llm_response") if text in m.text])
    messages = talk.services.llm.calls[1].args["messages"]
    assert [m["content"] for m in messages[1:]] == ["one", "You said one.", "two"]
    assert messages[0]["role"] == "system"
    assert {m.request_id for m in talk.client.of("llm_response")} == {"same"}


async def test_speech_comes_whole_in_base64(talk):
    talk.send(type="tts_request", text="Hello there.", call_id="c1", request_id="t")
    answer = await talk.next("tts_response")
    assert base64.b64decode(answer.audio_data) == b"Hello there"
    assert (answer.encoding, answer.sample_rate_hz, answer.byte_length) == ("mulaw", 8000, 11)
    assert (answer.text, answer.call_id, answer.request_id) == ("Hello there.", "c1", "t")


async def test_a_barge_in_stops_everything_of_this_session(talk):
    talk.services.llm.held = True
    talk.send(type="llm_request", text="one")
    await settle()
    talk.send(type="Barge-In", call_id="c1", request_id="b")
    assert talk.client.sent[-1].to_json().count('"status":"ok"') == 1
    talk.services.llm.calls[0].release()
    await settle()
    assert not talk.client.of("llm_response")
    assert talk.services.llm.calls[0].cancelled


async def test_an_interrupted_answer_does_not_enter_the_history(talk):
    talk.services.llm.held = True
    talk.send(type="llm_request", text="one")
    await settle()
    talk.send(type="barge_in")
    talk.services.llm.held = False
    talk.send(type="llm_request", text="two")
    await talk.next("llm_response")
    assert [m["content"] for m in talk.services.llm.calls[1].args["messages"][1:]] == ["two"]


@pytest.mark.parametrize("data", ["not base64!", "AAA", base64.b64encode(b"odd").decode()])
async def test_bad_audio_is_refused(talk, data):
    talk.send(type="audio", data=data, request_id="r")
    assert talk.client.sent[0].code == "invalid_message"


async def test_half_a_sample_is_refused(talk):
    talk.session.receive(b"\x00")
    assert talk.client.sent[0].code == "invalid_message"


async def test_an_llm_that_is_not_there_is_an_error_with_the_request():
    talk = Talk(without=("llm",))
    talk.send(type="llm_request", text="one", request_id="r")
    error = await talk.next("error")
    assert (error.code, error.request_id) == ("llm_unavailable", "r")
    await talk.session.close()


async def test_what_a_request_says_of_its_answer_counts(talk):
    schema = {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}
    talk.send(
        type="llm_request",
        text="one",
        sampling={"max_tokens": 7},
        response_format={"type": "json_schema", "json_schema": schema},
    )
    await talk.next("llm_response")
    args = talk.services.llm.calls[0].args
    assert args["sampling"]["max_tokens"] == 7
    read = args["response_format"]["json_schema"]
    assert read["properties"]["n"]["type"] == "integer", "references are followed"


BAD_FORMATS = [
    {"type": "json_schema"},
    {"type": "json_schema", "json_schema": {"type": "colour"}},
    {"type": "json_schema", "json_schema": {"type": "object", "properties": {"a": {"$ref": "https://example.org"}}}},
    {"type": "json_schema", "json_schema": {"type": "object", "properties": {"a": {"$ref": "#"}}}},
    {"type": "json_schema", "json_schema": {"type": "object", "title": "x" * 20_000}},
]


@pytest.mark.parametrize("wanted", BAD_FORMATS)
async def test_a_form_that_no_answer_can_have_is_refused_with_the_reason(talk, wanted):
    talk.send(type="llm_request", text="one", request_id="r", response_format=wanted)
    error = await talk.next("error")
    assert (error.code, error.request_id) == ("invalid_message", "r")
    assert error.message.startswith("response_format: ")
    assert not talk.services.llm.calls


def test_the_form_of_an_answer_need_not_be_an_object():
    wanted = ResponseFormat(type="json_schema", json_schema={"type": "array", "items": {"type": "string"}})
    assert answer_format(wanted)["response_format"]["json_schema"]["type"] == "array"
    assert answer_format(ResponseFormat(type="text")) == {}
    assert answer_format(ResponseFormat(type="json_object")) == {"response_format": {"type": "json_object"}}
