"""Turns over `/v1/realtime`: said, answered, interrupted and heard; on fake services and a clock of the test's."""

import asyncio
import base64

import numpy as np
import pytest

from model_worker.errors import WorkerUnavailable
from tests.local_ai_server.fake_services import settle
from tests.local_ai_server.realtime.realtime_rig import RATE_HZ, Talk, hears, message, quiet, speech, writes
from voice_wire.audio import encode


@pytest.fixture
async def talk():
    talk = Talk()
    talk.services.stt.answer = hears("What time is it?")
    talk.services.llm.answer = writes("It is noon. I think it will be one o'clock soon, and then two.")
    yield talk
    await talk.session.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "no task is left"
    assert talk.judges.open_streams == 0


SPOKEN_TURN = [
    "session.created",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


async def test_a_spoken_turn_is_told_in_the_protocols_order(talk):
    await talk.say()
    done = (await talk.client.event("response.done"))["response"]
    assert talk.client.kinds() == SPOKEN_TURN
    started = talk.client.of("input_audio_buffer.speech_started")[0]
    stopped = talk.client.of("input_audio_buffer.speech_stopped")[0]
    assert abs(started["audio_start_ms"] - 500) < 64
    assert abs(stopped["audio_end_ms"] - 1500) < 64
    user, agent = (event["item"] for event in talk.client.of("conversation.item.done"))
    assert user["id"] == started["item_id"] == stopped["item_id"]
    assert user["content"] == [{"type": "input_audio", "transcript": "What time is it?"}]
    assert agent["content"][0]["transcript"].startswith("It is noon. I think")
    assert (done["status"], done["output"]) == ("completed", [agent])
    assert done["usage"]["input_tokens"] == 30
    assert done["usage"]["input_token_details"]["cached_tokens"] == 20
    assert talk.lines() == [("system", "Be kind."), ("user", "What time is it?")]
    assert len({event["event_id"] for event in talk.client.sent}) == len(talk.client.sent)
    assert len(talk.client.sound()) == sum(2 * round(RATE_HZ * n / 100) for n in (11, 50))


async def test_what_is_decoded_is_the_turn_and_a_little_before_it(talk):
    await talk.say()
    await talk.client.event("response.done")
    call = talk.services.stt.calls[0]
    assert (call.args["encoding"], call.args["sample_rate_hz"]) == ("linear16", RATE_HZ)
    assert len(call.body) / 2 / RATE_HZ == pytest.approx(0.3 + 1.0 + 0.2, abs=0.08)


async def test_the_next_turn_knows_the_one_before(talk):
    for n in (1, 2):
        await talk.say()
        await talk.client.event("response.done", n)
        talk.now += 60
    assert [role for role, _ in talk.lines()] == ["system", "user", "assistant", "user"]


async def test_a_whole_turn_in_one_event_is_a_turn(talk):
    await talk.hear(quiet(0.5), speech(1.0), quiet(0.7), step_ms=60_000)
    await talk.client.event("response.done")
    assert talk.client.kinds() == SPOKEN_TURN


async def test_speech_over_the_answer_ends_it_and_the_history_keeps_what_was_heard(talk):
    talk.services.llm.answer = writes("One two three four five six seven eight nine ten eleven twelve.", "Yes?")
    talk.services.tts.held = True
    await talk.say()
    (await talk.called(talk.services.tts)).release()
    await talk.client.event("response.output_audio.delta")
    talk.now += 0.2
    await talk.hear(speech(0.5))
    done = (await talk.client.event("response.done"))["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    assert done["output"][0]["status"] == "incomplete"
    await settle()
    assert talk.services.llm.calls[0].cancelled or talk.services.tts.calls[-1].cancelled
    told = len(talk.client.of("response.output_audio.delta"))
    talk.services.tts.held = False
    await talk.hear(quiet(0.7))
    await talk.client.event("response.done", 2)
    assert told == 1 or talk.client.of("response.output_audio.delta")[told]["response_id"] != done["id"]
    heard = talk.lines()[2]
    assert heard[0] == "assistant"
    assert heard[1] and "One two three four".startswith(heard[1]), heard


async def test_all_sound_was_sent_and_a_part_of_it_heard(talk):
    talk.services.llm.answer = writes("One two three four five six seven eight nine ten.", "Yes?")
    await talk.say()
    await talk.client.event("response.done")
    talk.now += 0.25
    await talk.say()
    await talk.client.event("response.done", 2)
    assert talk.client.of("response.done")[0]["response"]["status"] == "completed"
    said = talk.lines()[2][1]
    assert said and said != "One two three four five six seven eight nine ten."


async def test_the_client_knows_best_what_was_heard(talk):
    talk.services.llm.answer = writes("One two three four five six seven eight nine ten.")
    await talk.say()
    item = (await talk.client.event("response.done"))["response"]["output"][0]
    too_much = 10_000
    for end_ms in (too_much, -1, "5", True):
        await talk.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=end_ms)
        assert talk.client.sent[-1]["error"]["param"] == "audio_end_ms"
    await talk.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=240)
    assert talk.client.sent[-1]["type"] == "conversation.item.truncated"
    await talk.send("conversation.item.retrieve", item_id=item["id"])
    assert talk.client.sent[-1]["item"]["content"][0]["transcript"] == "One two three four five"
    talk.now += 60
    await talk.say()
    await talk.client.event("response.done", 2)
    assert talk.lines()[2] == ("assistant", "One two three four five")


async def test_an_answer_that_nobody_may_interrupt_is_made_to_its_end(talk):
    turns = {"type": "server_vad", "interrupt_response": False}
    await talk.send("session.update", session={"audio": {"input": {"turn_detection": turns}}})
    talk.services.tts.held = True
    await talk.say()
    await talk.called(talk.services.tts)
    await talk.say()
    await talk.client.event("input_audio_buffer.speech_stopped", 2)
    await settle()
    talk.services.tts.held = False
    talk.services.tts.calls[0].release()
    await talk.client.event("response.done", 2)
    done = [event["response"]["status"] for event in talk.client.of("response.done")]
    assert done == ["completed", "completed"], "the second turn is answered after the first"


async def test_a_turn_that_goes_on_before_the_answer_sounds_is_answered_with_the_rest(talk):
    talk.services.stt.answer = hears("I would like", "a table please.")
    talk.services.llm.held = True
    await talk.say()
    await talk.client.event("response.created")
    await talk.called(talk.services.llm)
    await talk.hear(speech(0.5))
    talk.services.llm.held = False
    await talk.hear(quiet(0.7))
    await talk.client.event("response.done", 2)
    assert [event["response"]["status"] for event in talk.client.of("response.done")] == ["cancelled", "completed"]
    assert talk.lines()[1:] == [("user", "I would like"), ("user", "a table please.")]


async def test_a_cough_in_front_of_the_answer_does_not_cost_it(talk):
    talk.services.stt.answer = hears("What time is it?", "")
    talk.services.llm.held = True
    await talk.say()
    await talk.called(talk.services.llm)
    await talk.hear(speech(0.2))
    talk.services.llm.held = False
    await talk.hear(quiet(0.7))
    await talk.client.event("response.done", 2)
    assert talk.client.sent[-1]["response"]["status"] == "completed"


async def test_noise_without_words_is_not_answered(talk):
    talk.services.stt.answer = hears("")
    await talk.say()
    completed = await talk.client.event("conversation.item.input_audio_transcription.completed")
    await settle()
    assert completed["transcript"] == ""
    assert not talk.services.llm.calls
    assert not talk.client.of("response.created")


async def test_a_recogniser_that_fails_is_told_and_the_session_goes_on(talk):
    talk.services.stt.error = WorkerUnavailable("it is starting")
    await talk.say()
    failed = await talk.client.event("conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == "stt_unavailable"
    talk.services.stt.error = None
    await talk.say()
    await talk.client.event("response.done")


async def test_without_turn_detection_the_client_commits(talk):
    await talk.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
    await talk.hear(quiet(0.2), speech(0.5), quiet(2))
    await settle()
    assert not talk.services.stt.calls
    await talk.send("input_audio_buffer.commit")
    await talk.send("response.create")
    await talk.client.event("response.done")
    assert len(talk.services.stt.calls[0].body) == 2 * round(2.7 * RATE_HZ)
    assert talk.lines()[-1] == ("user", "What time is it?"), "the answer waits for the transcript"
    await talk.send("input_audio_buffer.commit")
    assert talk.client.sent[-1]["error"]["code"] == "input_audio_buffer_commit_empty"


async def test_what_is_cleared_is_forgotten(talk):
    await talk.hear(speech(0.6))
    await talk.send("input_audio_buffer.clear")
    assert talk.client.sent[-1]["type"] == "input_audio_buffer.cleared"
    await talk.hear(quiet(1))
    await settle()
    assert not talk.services.stt.calls


async def test_there_may_be_nothing_to_clear_or_to_commit(talk):
    await talk.hear(quiet(0.3))
    await talk.send("input_audio_buffer.clear")
    assert talk.client.sent[-1]["type"] == "input_audio_buffer.cleared"
    await talk.send("input_audio_buffer.commit")
    assert talk.client.sent[-1]["error"]["code"] == "input_audio_buffer_commit_empty"


async def test_a_turn_may_be_committed_before_it_ends(talk):
    await talk.hear(quiet(0.3), speech(0.6))
    await talk.send("input_audio_buffer.commit")
    await talk.hear(quiet(1))
    await talk.client.event("conversation.item.input_audio_transcription.completed")
    assert len(talk.client.of("input_audio_buffer.committed")) == 1


@pytest.mark.parametrize("name, rate_hz", [("audio/pcmu", 8000), ("audio/pcma", 8000), ("audio/pcm", 16_000)])
async def test_telephone_sound_is_heard_and_spoken(talk, name, rate_hz):
    form = {"type": name} | ({"rate": rate_hz} if name == "audio/pcm" else {})
    await talk.send("session.update", session={"audio": {"input": {"format": form}, "output": {"format": form}}})
    assert talk.client.sent[-1]["session"]["audio"]["input"]["format"] == form
    pcm = np_speech(rate_hz)
    encoding = {"audio/pcmu": "mulaw", "audio/pcma": "alaw", "audio/pcm": "linear16"}[name]
    audio = base64.b64encode(encode(pcm, encoding)).decode()
    await talk.send("input_audio_buffer.append", audio=audio)
    await talk.client.event("response.done")
    assert talk.services.stt.calls[0].args["sample_rate_hz"] == rate_hz
    assert talk.services.tts.calls[0].args["encoding"] == encoding
    assert talk.services.tts.calls[0].args["sample_rate_hz"] == rate_hz


def np_speech(rate_hz):
    return np.frombuffer(quiet(0.5, rate_hz) + speech(1.0, rate_hz) + quiet(0.7, rate_hz), "<i2").astype(np.int16)


async def test_by_words_a_question_is_answered_sooner_than_a_half_sentence(talk):
    await talk.send("session.update", session={"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}})
    waits = {}
    for text in ("What time is it?", "I would like to book a table for"):
        talk.services.stt.answer = hears(text)
        await talk.hear(quiet(0.3), speech(1.0))
        n = len(talk.client.of("input_audio_buffer.speech_stopped"))
        for step in range(60):
            await talk.hear(quiet(0.1))
            await settle()
            if len(talk.client.of("input_audio_buffer.speech_stopped")) > n:
                waits[text] = step
                break
        talk.now += 60
        await talk.client.event("response.done", n + 1)
    question, half = waits.values()
    assert question < half


async def test_sound_is_made_no_further_ahead_than_it_may_be(talk):
    sentence = "This sentence has about eighty characters in it, which makes it fairly long. "
    talk.services.llm.answer = writes(sentence * 40)
    await talk.send("conversation.item.create", item=message("Tell me everything."))
    await talk.send("response.create")
    await talk.client.event("response.done")
    assert sum(talk.slept) > 5
    assert max(talk.slept) < 5
