"""The `openai` voice against a stand-in that speaks, refuses and breaks off as its script says."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from ai_engine.config_file import ConfigError
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed
from ai_engine.providers.components.tts.openai import openai_text_to_speech
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from tests.speech_stand_in import DROP, HANG, SpeechStandIn, tone, wav
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, AudioFormat, decode

KEY = "sk-very-secret-4471"


@pytest.fixture
def server():
    stand_in = SpeechStandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture
async def voice(server, tmp_path):
    services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path), environment={"OPENAI_API_KEY": KEY})

    def make(context_voice=None, **options):
        call = CallInfo("c1", "default", "You are Joe.", "en", context_voice, MULAW_8K)
        options = {"base_url": server.url, "timeout_s": 30, **options}
        return openai_text_to_speech(CallScope(call, services), options)

    yield make
    await services.clients.close()


async def speak(tts, text="Good day.", audio_format=PCM_8K):
    async with tts.speak(text, audio_format=audio_format, speculative=False) as output:
        return b"".join([piece async for piece in output])


def spectrum_peak_hz(pcm, rate_hz):
    return np.argmax(np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))) * rate_hz / pcm.size


@pytest.mark.parametrize("audio_format", [MULAW_8K, ALAW_8K, PCM_8K, PCM_16K, AudioFormat("linear16", 24_000)])
@pytest.mark.parametrize("wrapped", [False, True])
async def test_its_sound_comes_in_the_format_asked_for(server, voice, audio_format, wrapped):
    sound = tone(0.5)
    server.script = [wav(sound)] if wrapped else [sound]
    server.content_type = "audio/wav" if wrapped else "audio/pcm"
    audio = await speak(voice(), audio_format=audio_format)
    pcm = decode(audio, audio_format.encoding).astype(np.float64)
    assert pcm.size == pytest.approx(0.9 * audio_format.sample_rate_hz, rel=0.01)
    assert spectrum_peak_hz(pcm, audio_format.sample_rate_hz) == pytest.approx(220, abs=5)
    assert np.abs(pcm).max() == pytest.approx(0.2 * 32767, rel=0.05)


async def test_it_is_asked_as_the_options_and_the_context_say(server, voice):
    await speak(voice("nova", model="gpt-4o-mini-tts", speed=1.25))
    await speak(voice(voice="echo"))
    first, second = server.asked
    assert (first["model"], first["voice"], first["speed"]) == ("gpt-4o-mini-tts", "nova", 1.25)
    assert (first["input"], first["response_format"]) == ("Good day.", "pcm")
    assert second["voice"] == "echo"


def test_sound_that_would_differ_has_another_name(voice):
    names = {voice().voice, voice("nova").voice, voice(speed=1.1).voice, voice(model="other").voice}
    assert len(names) == 4


async def test_a_key_comes_from_the_environment_and_is_never_told(server, voice):
    server.key = KEY
    assert await speak(voice(key="OPENAI_API_KEY"))
    with pytest.raises(ComponentFailed, match="refused the key"):
        await speak(voice())
    with pytest.raises(ConfigError, match="`key` names GROQ_API_KEY, which is not set"):
        voice(key="GROQ_API_KEY")


@pytest.mark.parametrize(
    ("script", "retryable", "words"),
    [
        ((503, {}, b'{"detail": "loading"}'), True, "loading"),
        ((429, {}, b'{"error": {"message": "slow down"}}'), False, "no room now"),
        ((400, {}, b'{"detail": {"message": "no such voice"}}'), False, "no such voice"),
        ((404, {}, b"{}"), False, "`base_url` is the address up to and with its version"),
        ([tone(0.3), DROP], True, "broke off"),
        ([b""], True, "spoke nothing"),
    ],
)
async def test_a_failure_is_told_for_what_it_is_and_the_next_phrase_is_whole(server, voice, script, retryable, words):
    tts = voice()
    server.script = script
    with pytest.raises(ComponentFailed, match=words) as failed:
        await speak(tts)
    assert (failed.value.component, failed.value.retryable) == ("tts", retryable)
    server.script = None
    assert await speak(tts)


async def test_of_what_cannot_be_spoken_nothing_is_the_right_sound(server, voice):
    server.script = [b""]
    assert await speak(voice(), "…") == b""


async def test_no_error_shows_a_part_of_the_key(server, voice):
    server.script = (500, {}, b"x" * 290 + KEY.encode())
    with pytest.raises(ComponentFailed) as failed:
        await speak(voice(key="OPENAI_API_KEY"))
    assert KEY[:8] not in str(failed.value)


@pytest.mark.parametrize("script", [[HANG], [tone(0.3), HANG]])
async def test_leaving_a_phrase_ends_the_servers_work(server, voice, script):
    server.script = script
    speaking = asyncio.create_task(speak(voice()))
    while not server.asked:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking
    assert await asyncio.to_thread(server.hung_up.wait, 30)
