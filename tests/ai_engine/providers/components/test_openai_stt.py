"""The `openai` speech-to-text against a stand-in of `/audio/transcriptions`."""

from __future__ import annotations

import asyncio
import io
import wave

import pytest
from aiohttp import web

from ai_engine.config_file import ConfigError
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed, SttTraits
from ai_engine.providers.components.stt.openai import MAX_UTTERANCE_S, openai_speech_to_text
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from voice_wire.audio import MULAW_8K, PCM_8K, PCM_16K

KEY = "sk-very-secret-2210"
SECOND = b"\x01\x00" * 8000


class StandIn:
    """`answer` is what it says next: words, or (status, body); `hang` keeps it from saying anything."""

    def __init__(self):
        self.answer = "Are you open?"
        self.key = None
        self.asked = []
        self.hang = False
        self.hung_up = asyncio.Event()

    async def transcribe(self, request):
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            said = f"Incorrect API key provided: {request.headers.get('authorization')}"
            return web.json_response({"error": {"message": said}}, status=401)
        form = await request.post()
        with form["file"].file as sent:
            content = sent.read()
        with wave.open(io.BytesIO(content)) as sound:
            assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
            fields = {name: form.get(name) for name in ("model", "language", "response_format")}
            self.asked.append({**fields, "rate": sound.getframerate(), "samples": sound.getnframes()})
        if self.hang:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.hung_up.set()
                raise
        if isinstance(self.answer, tuple):
            status, body = self.answer
            return web.Response(status=status, text=body, content_type="application/json")
        return web.json_response({"text": self.answer})


@pytest.fixture
async def server():
    stand_in = StandIn()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/v1/audio/transcriptions", stand_in.transcribe)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield stand_in
    await runner.cleanup()


@pytest.fixture
async def hearing(server, tmp_path):
    services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path), environment={"OPENAI_API_KEY": KEY})

    def make(output_format=MULAW_8K, language="en-GB", **options):
        call = CallInfo("c1", "default", "You are Joe.", language, None, output_format)
        options = {"base_url": server.url, "timeout_s": 30, **options}
        return openai_speech_to_text(CallScope(call, services), options)

    yield make
    await services.clients.close()


def partial(text, backend):
    raise AssertionError("the API streams nothing")


async def test_a_turn_is_sent_whole_and_again_when_more_was_said(server, hearing):
    stt = hearing()
    utterance = stt.stream(1, partial)
    utterance.send(SECOND)
    early = await utterance.decode(speculative=True)
    assert (early.text, early.stt_backend) == ("Are you open?", "openai:whisper-1")
    assert await utterance.decode(speculative=False) == early  # nothing new was said: not asked again
    utterance.send(SECOND)
    server.answer = " Are you open on Sunday? "
    assert (await utterance.decode(speculative=False)).text == "Are you open on Sunday?"
    assert [asked["samples"] for asked in server.asked] == [8000, 16000]
    assert server.asked[0] == {
        "model": "whisper-1", "language": "en", "response_format": "json", "rate": 8000, "samples": 8000,
    }  # fmt: skip


@pytest.mark.parametrize(("line", "heard"), [(MULAW_8K, PCM_8K), (PCM_16K, PCM_16K)])
async def test_a_wide_line_is_heard_wide(server, hearing, line, heard):
    stt = hearing(line, model="whisper-large-v3", language="de")
    assert stt.input_format == heard
    utterance = stt.stream(1, partial)
    utterance.send(SECOND)
    await utterance.decode(speculative=False)
    (asked,) = server.asked
    assert (asked["rate"], asked["model"], asked["language"]) == (heard.sample_rate_hz, "whisper-large-v3", "de")


async def test_it_is_gated_as_all_that_decode_whole_turns_are(hearing):
    told = []
    hearing().on_change(told.append)
    assert told == [SttTraits("openai:whisper-1", needs_gating=True)]


async def test_hardly_any_sound_is_no_word_and_an_endless_turn_is_cut(server, hearing):
    utterance = hearing().stream(1, partial)
    utterance.send(SECOND[:800])
    assert (await utterance.decode(speculative=False)).text == ""
    assert not server.asked
    for _ in range(MAX_UTTERANCE_S + 5):
        utterance.send(SECOND)
    await utterance.decode(speculative=False)
    assert server.asked[0]["samples"] == 8000 * MAX_UTTERANCE_S
    utterance.drop()
    assert (await utterance.decode(speculative=False)).text == ""


async def test_a_key_comes_from_the_environment_and_is_never_told(server, hearing):
    server.key = KEY
    utterance = hearing(key="OPENAI_API_KEY").stream(1, partial)
    utterance.send(SECOND)
    assert (await utterance.decode(speculative=False)).text == "Are you open?"
    server.key = "another"
    utterance.send(SECOND)
    with pytest.raises(ComponentFailed, match="set OPENAI_API_KEY to a key that it accepts") as refused:
        await utterance.decode(speculative=False)
    assert KEY not in str(refused.value)
    with pytest.raises(ConfigError, match="`key` names GROQ_API_KEY, which is not set"):
        hearing(key="GROQ_API_KEY")


@pytest.mark.parametrize(
    ("answer", "retryable", "words"),
    [
        ((503, '{"detail": "loading"}'), True, "loading"),
        ((429, '{"error": {"message": "slow down"}}'), False, "slow down"),
        ((400, '{"error": {"message": "could not be decoded"}}'), False, "could not be decoded"),
        ((404, "{}"), False, "see `base_url`"),
        ((200, "<html>"), False, "something else than a transcript"),
        ((200, '{"text": null}'), False, "something else than a transcript"),
    ],
)
async def test_a_failure_is_told_for_what_it_is_and_the_next_decode_is_whole(server, hearing, answer, retryable, words):
    utterance = hearing().stream(1, partial)
    utterance.send(SECOND)
    server.answer = answer
    with pytest.raises(ComponentFailed, match=words) as failed:
        await utterance.decode(speculative=False)
    assert (failed.value.component, failed.value.retryable) == ("stt", retryable)
    server.answer = "Hello?"
    assert (await utterance.decode(speculative=False)).text == "Hello?"


async def test_a_server_that_is_away_or_silent_is_told(server, hearing):
    server.hang = True
    utterance = hearing(timeout_s=0.2).stream(1, partial)
    utterance.send(SECOND)
    with pytest.raises(ComponentFailed, match=r"silent for 0\.2 s.*raise `timeout_s`"):
        await utterance.decode(speculative=False)
    nowhere = hearing(base_url="http://127.0.0.1:1/v1").stream(1, partial)
    nowhere.send(SECOND)
    with pytest.raises(ComponentFailed, match="correct `base_url`") as failed:
        await nowhere.decode(speculative=False)
    assert failed.value.retryable


async def test_a_decode_that_is_given_up_ends_the_servers_work(server, hearing):
    server.hang = True
    utterance = hearing().stream(1, partial)
    utterance.send(SECOND)
    decoding = asyncio.create_task(utterance.decode(speculative=True))
    while not server.asked:
        await asyncio.sleep(0.01)
    decoding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await decoding
    await asyncio.wait_for(server.hung_up.wait(), 30)
