"""OpenAI's own Python client over a real socket, released protocol and beta; who may connect; with the real models."""

import asyncio
import base64
import socket
import subprocess
import sys
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from local_ai_server.app import build_app
from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.main import HttpServer, uvicorn_config
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from tests.local_ai_server.fake_services import FakeServices
from tests.local_ai_server.realtime.realtime_rig import LevelJudges, hears, quiet, says, speech, writes
from voice_wire.audio import resample

TOKEN = "a long random word"
DEADLINE_S = 60


@asynccontextmanager
async def serving(switchboard, **variables):
    """The port of a server that ends when it is left."""
    settings = Settings.model_validate(variables)
    app = build_app(settings, switchboard)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HttpServer(uvicorn_config(app, settings))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1], app
        finally:
            server.should_exit = True
            await task
            await app.state.chat_sessions.close()
            await app.state.model_changes.close()
            app.state.judges.close()


@pytest.fixture
async def served(monkeypatch):
    monkeypatch.setattr("local_ai_server.app.SpeechJudges", LevelJudges)
    services = FakeServices()
    services.stt.answer, services.tts.answer = hears("What time is it?"), says
    services.llm.answer = writes("It is noon. That is all I know about it.")
    async with serving(services.switchboard, LOCAL_WS_AUTH_TOKEN=TOKEN, LOCAL_WS_MAX_SESSIONS="2") as (port, _):
        yield port, services


def client(port, token=TOKEN):
    where = f"127.0.0.1:{port}/v1"  # the beta would else take wss
    return AsyncOpenAI(api_key=token, base_url=f"http://{where}", websocket_base_url=f"ws://{where}", max_retries=0)


async def say(connection, pcm, step=4800):
    for at in range(0, len(pcm), step):
        await connection.input_audio_buffer.append(audio=base64.b64encode(pcm[at : at + step]).decode())


async def until(connection, *kinds):
    """The events up to the first of one of these kinds."""
    events = []
    async with asyncio.timeout(DEADLINE_S):
        async for event in connection:
            assert event.type != "error", event
            events.append(event)
            if event.type in kinds:
                return events
    raise AssertionError("the connection has ended")


async def test_openais_client_talks_with_the_server(served):
    port, services = served
    async with client(port) as openai, openai.realtime.connect(model="gpt-realtime") as connection:
        (created,) = await until(connection, "session.created")
        assert created.session.type == "realtime"
        assert created.session.audio.input.turn_detection.type == "server_vad"
        await connection.session.update(
            session={
                "type": "realtime",
                "instructions": "Be kind.",
                "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}},
            }
        )
        (updated,) = await until(connection, "session.updated")
        assert updated.session.audio.input.turn_detection.silence_duration_ms == 300
        await say(connection, quiet(0.3) + speech(1.0) + quiet(0.5))
        events = await until(connection, "response.done")
        by_type = {event.type: event for event in events}
        said = by_type["conversation.item.input_audio_transcription.completed"]
        assert said.transcript == "What time is it?"
        done = by_type["response.done"].response
        assert (done.status, done.usage.input_tokens) == ("completed", 30)
        item = done.output[0]
        assert item.content[0].transcript == "It is noon. That is all I know about it."
        sound = b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")
        assert sound
        await connection.conversation.item.truncate(item_id=item.id, content_index=0, audio_end_ms=100)
        (truncated,) = await until(connection, "conversation.item.truncated")
        assert truncated.audio_end_ms == 100
        await connection.conversation.item.retrieve(item_id=item.id)
        (retrieved,) = await until(connection, "conversation.item.retrieved")
        assert retrieved.item.content[0].transcript in ("It is", "It is noon.")
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And now?"}]}
        await connection.conversation.item.create(item=message)
        await connection.response.create(response={"output_modalities": ["text"]})
        events = await until(connection, "response.done")
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == "It is noon. That is all I know about it."
    assert services.llm.calls[-1].args["messages"][-1]["content"] == "And now?"


async def test_its_beta_talks_with_the_server(served):
    port, _ = served
    async with client(port) as openai, openai.beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:
        await until(connection, "conversation.created")
        await connection.session.update(session={"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"})
        (updated,) = await until(connection, "session.updated")
        assert updated.session.input_audio_format == "g711_ulaw"
        await connection.session.update(session={"input_audio_format": "pcm16"})
        await until(connection, "session.updated")
        await say(connection, quiet(0.3) + speech(1.0) + quiet(0.7))
        events = await until(connection, "response.done")
        assert any(event.type == "response.audio.delta" for event in events)
        assert events[-1].response.output[0].content[0].transcript.startswith("It is noon.")


async def test_a_client_that_vanishes_in_mid_answer_leaves_its_place_and_no_work(served):
    port, services = served
    services.llm.held = True
    openai = client(port)
    connection = await openai.realtime.connect(model="m").enter()
    await connection.response.create()
    await until(connection, "response.created")
    while not services.llm.calls:
        await asyncio.sleep(0.01)
    connection._connection.transport.abort()
    async with asyncio.timeout(DEADLINE_S):
        while not services.llm.calls[0].cancelled:
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            while "local_ai_sessions 0.0" not in (await http.get(f"http://127.0.0.1:{port}/metrics")).text:
                await asyncio.sleep(0.01)
    await openai.close()


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Bearer {TOKEN}", "Origin": "http://localhost"}, 403),
    ],
)
async def test_strangers_and_browsers_are_refused_before_the_socket_opens(served, headers, status):
    port, _ = served
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{port}/v1/realtime", additional_headers=headers):
            pass
    assert refused.value.response.status_code == status
    assert TOKEN not in refused.value.response.body.decode()


async def test_beyond_the_places_there_is_none(served):
    port, _ = served
    url, headers = f"ws://127.0.0.1:{port}/v1/realtime", {"Authorization": f"Bearer {TOKEN}"}
    async with connect(url, additional_headers=headers), connect(url, additional_headers=headers):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, additional_headers=headers):
                pass
    assert refused.value.response.status_code == 503


def spoken(text):
    """A question at 24 kHz, by the embedded voice."""
    voice = find_model("en_US-joe-medium")
    command = [sys.executable, "-m", "piper", "-m", str(voice), "--output-raw"]
    raw = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
    return resample(np.frombuffer(raw, "<i2").astype(np.int16), 22_050, 24_000).astype("<i2").tobytes()


@pytest.mark.models
async def test_a_spoken_question_is_answered_aloud_and_the_answer_interrupted_by_the_next():
    try:
        question = spoken("What is the capital of France?")
        for name in ("whisper-tiny.en", "SmolLM2-135M-Instruct-Q8_0", "silero_vad"):
            find_model(name)
    except ModelMissing as missing:
        pytest.skip(str(missing))
    settings = Settings.model_validate({"LOCAL_AI_MODE": "full"})
    switchboard = Switchboard.from_settings(settings)
    await switchboard.start()
    try:
        async with (
            serving(switchboard) as (port, _),
            client(port) as openai,
            openai.realtime.connect(model="local") as connection,
        ):
            await until(connection, "session.created")
            await connection.session.update(
                session={
                    "type": "realtime",
                    "instructions": "Tell a story of what you are asked.",
                    "max_output_tokens": 80,
                }
            )
            await until(connection, "session.updated")
            await say(connection, quiet(0.5) + question + quiet(0.8))
            events = await until(connection, "response.output_audio.delta")
            said = next(e for e in events if e.type == "conversation.item.input_audio_transcription.completed")
            assert "capital of france" in said.transcript.lower()
            await say(connection, question)
            events = await until(connection, "input_audio_buffer.speech_started")
            if not any(e.type == "response.done" for e in events):
                events = await until(connection, "response.done")
                assert events[-1].response.status == "cancelled"
            await say(connection, quiet(0.8))
            events = await until(connection, "response.done")
            sound = b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")
            samples = np.frombuffer(sound, "<i2").astype(float)
            assert samples.size > 12_000
            assert np.sqrt(np.mean(samples**2)) > 200
            assert events[-1].response.output[0].content[0].transcript
    finally:
        await switchboard.stop()
