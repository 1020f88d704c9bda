"""`/api/audio`: one spoken turn in any form, conversations that go on, silence, and what cannot be."""

import asyncio
import base64
import io
import wave

import httpx
import numpy as np
import pytest

from local_ai_server.app import build_app
from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.turns import spoken_turns
from model_worker.errors import WorkerUnavailable
from tests.local_ai_server.fake_services import FakeServices
from tests.local_ai_server.realtime.realtime_rig import LevelJudges, hears, quiet, says, speech, writes
from voice_wire.audio import encode


class Served:
    def __init__(self, monkeypatch, **variables):
        monkeypatch.setattr("local_ai_server.app.SpeechJudges", LevelJudges)
        self.services = FakeServices()
        self.services.stt.answer, self.services.tts.answer = hears("What time is it?"), says
        self.services.llm.answer = writes("It is noon. That is all.")
        self.app = build_app(Settings.model_validate(variables), self.services.switchboard)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1:8765")

    async def form(self, audio, **fields):
        return await self.http.post("/api/audio", files={"file": ("x", audio)}, data=fields, timeout=60)

    async def json(self, audio, **fields):
        return await self.http.post(
            "/api/audio", json={"audio": base64.b64encode(audio).decode(), **fields}, timeout=60
        )

    def lines(self):
        asked = [call for call in self.services.llm.calls if call.method == "generate"]
        return [(m["role"], m["content"]) for m in asked[-1].args["messages"]]

    async def close(self):
        await self.http.aclose()
        await self.app.state.chat_sessions.close()
        await self.app.state.model_changes.close()
        self.app.state.judges.close()


@pytest.fixture
async def served(monkeypatch):
    served = Served(monkeypatch, LOCAL_LLM_SYSTEM_PROMPT="Be kind.", LOCAL_MAX_UTTERANCE="20")
    yield served
    await served.close()
    assert served.app.state.judges.open_streams == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


def wav(pcm, rate_hz=16_000):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate_hz, 0, "NONE", ""))
        writer.writeframes(pcm)
    return file.getvalue()


def said(rate_hz=16_000):
    return quiet(1.5, rate_hz) + speech(1.0, rate_hz) + quiet(2.0, rate_hz)


@pytest.mark.parametrize("form", ["form", "json"])
async def test_a_recording_is_answered_with_words_and_sound(served, form):
    answer = await getattr(served, form)(wav(said()))
    assert answer.status_code == 200, answer.text
    turn = answer.json()
    assert (turn["speech"], turn["transcript"]) == (True, "What time is it?")
    assert turn["reply"] == "It is noon. That is all."
    with wave.open(io.BytesIO(base64.b64decode(turn["audio"]))) as sound:
        assert (sound.getframerate(), sound.getsampwidth(), sound.getnchannels()) == (24_000, 2, 1)
        assert sound.getnframes() == sum(240 * len(phrase) for phrase in ("It is noon.", "That is all."))
    assert served.lines() == [("system", "Be kind."), ("user", "What time is it?")]
    assert 0 < turn["timings"]["transcript_ms"] <= turn["timings"]["first_audio_ms"] <= turn["timings"]["total_ms"]


async def test_silence_around_the_speech_is_not_decoded(served):
    await served.form(wav(said()))
    assert len(served.services.stt.calls[0].body) / 2 / 16_000 == pytest.approx(0.3 + 1.0 + 0.2, abs=0.1)


async def test_sound_without_a_header_is_what_the_fields_say(served):
    mulaw = encode(np.frombuffer(said(8000), "<i2"), "mulaw")
    turn = (await served.form(mulaw, encoding="mulaw", sample_rate="8000")).json()
    assert turn["speech"]
    assert len(served.services.stt.calls[0].body) / 2 / 16_000 == pytest.approx(1.5, abs=0.1)


async def test_nothing_is_made_of_silence(served):
    turn = (await served.form(wav(quiet(2)))).json()
    assert (turn["speech"], turn["transcript"], turn["reply"], turn["audio"]) == (False, "", "", None)
    assert not served.services.stt.calls
    served.services.stt.answer = hears("")
    turn = (await served.form(wav(said()))).json()
    assert (turn["speech"], turn["reply"]) == (False, "")
    assert not served.services.llm.calls


async def test_a_conversation_goes_on_and_others_do_not_see_it(served):
    for text in ("one", "two"):
        served.services.stt.answer = hears(text)
        turn = (await served.form(wav(said()), session_id="a", system="Be brief.", voice="joe")).json()
        assert turn["session_id"] == "a"
    assert [text for _, text in served.lines()] == ["Be brief.", "one", "It is noon. That is all.", "two"]
    assert served.services.tts.calls[0].args["voice"] == "joe"
    for session in ({"session_id": "b"}, {}):
        await served.form(wav(said()), **session)
        assert len(served.lines()) == 2


async def test_a_turn_that_fails_leaves_the_conversation_as_it_was(served):
    served.services.tts.error = WorkerUnavailable("it is starting")
    answer = await served.form(wav(said()), session_id="a")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "tts_unavailable")
    served.services.tts.error = None
    await served.form(wav(said()), session_id="a")
    assert len(served.lines()) == 2


async def test_idle_conversations_and_the_oldest_beyond_the_limit_are_forgotten(served, monkeypatch):
    monkeypatch.setattr(spoken_turns, "MAX_CONVERSATIONS", 2)
    for name in ("a", "b", "c", "a"):
        await served.form(wav(said()), session_id=name)
    assert len(served.lines()) == 2, "a went when c came"
    monkeypatch.setattr(spoken_turns, "IDLE_S", -1.0)
    await served.form(wav(said()), session_id="a")
    assert len(served.lines()) == 2


@pytest.mark.parametrize(
    "body, status, about",
    [
        ({"audio": "!!!"}, 400, "base64"),
        ({}, 400, "audio"),
        ({"audio": "", "session": "x"}, 400, "session"),
        ({"audio": "AAAA", "session_id": ""}, 400, "session_id"),
        ({"audio": "AAAA", "encoding": "mp9"}, 400, "encoding"),
        ({"audio": "AAAA", "encoding": "linear16", "sample_rate": 12_345}, 400, "sample rate"),
        ({"audio": "AAAA", "encoding": "linear16"}, 400, "half a sample"),
        ({"audio": "AAAAAAAA", "voice": "nobody", "encoding": "linear16"}, 400, "nobody"),
        ({"audio": base64.b64encode(quiet(21)).decode(), "encoding": "linear16"}, 413, "LOCAL_MAX_UTTERANCE"),
        ({"audio": base64.b64encode(wav(bytes(32_000 * 21))).decode()}, 413, "LOCAL_MAX_UTTERANCE"),
        ({"audio": base64.b64encode(b"no sound at all").decode()}, 400, ""),
    ],
)
async def test_what_cannot_be_a_turn_is_refused_with_the_reason(served, body, status, about):
    answer = await served.http.post("/api/audio", json=body)
    assert answer.status_code == status, answer.text
    assert about in answer.json()["error"]["message"]


async def test_a_form_without_a_file_is_refused(served):
    answer = await served.http.post("/api/audio", data={"voice": "joe"})
    assert (answer.status_code, "`file`" in answer.text) == (400, True)


@pytest.mark.models
@pytest.mark.slow
async def test_a_spoken_question_is_answered_by_the_embedded_models():
    try:
        for name in ("whisper-tiny.en", "SmolLM2-135M-Instruct-Q8_0", "silero_vad", "en_US-joe-medium"):
            find_model(name)
    except ModelMissing as missing:
        pytest.skip(str(missing))
    settings = Settings.model_validate({"LOCAL_AI_MODE": "full"})
    switchboard = Switchboard.from_settings(settings)
    await switchboard.start()
    app = build_app(settings, switchboard)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8765") as http:
            question = await http.post("/synthesize", json={"text": "What is the capital of France?"}, timeout=60)
            recording = {"file": ("question.wav", question.content)}
            turn = (await http.post("/api/audio", files=recording, timeout=120)).json()
            assert "capital of france" in turn["transcript"].lower()
            assert turn["reply"]
            assert len(base64.b64decode(turn["audio"])) > 24_000
            hum = 800 * np.sin(2 * np.pi * 50 * np.arange(32_000) / 16_000)
            silent = {"file": ("hum.wav", wav(hum.astype("<i2").tobytes()))}
            turn = (await http.post("/api/audio", files=silent, timeout=120)).json()
            assert (turn["speech"], turn["reply"]) == (False, "")
    finally:
        await app.state.chat_sessions.close()
        await switchboard.stop()
        await app.state.model_changes.close()
        app.state.judges.close()
