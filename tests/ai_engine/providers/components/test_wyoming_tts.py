"""The `wyoming` voice against a stand-in of such a server."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed
from ai_engine.providers.components.tts.wyoming import wyoming_text_to_speech
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from tests.speech_stand_in import tone
from tests.wyoming_stand_in import DROP, HANG, WyomingStandIn, packed, sound
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, decode

TONE = tone(0.5, rate_hz=22_050)


@pytest.fixture
async def server():
    stand_in = WyomingStandIn()
    stand_in.script = sound(TONE)
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
def voice(server, tmp_path):
    def make(context_voice=None, **options):
        services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path))
        call = CallInfo("c1", "default", "You are Joe.", "en", context_voice, MULAW_8K)
        options = {"url": server.url, "timeout_s": 30, **options}
        return wyoming_text_to_speech(CallScope(call, services), options)

    return make


async def speak(tts, text="Good day.", audio_format=PCM_8K):
    async with tts.speak(text, audio_format=audio_format, speculative=False) as output:
        return b"".join([piece async for piece in output])


@pytest.mark.parametrize("audio_format", [MULAW_8K, ALAW_8K, PCM_8K, PCM_16K])
@pytest.mark.parametrize("size", [2048, 1001, 1_000_000])
async def test_its_sound_comes_in_the_format_asked_for(server, voice, audio_format, size):
    server.script = sound(TONE, size=size)
    tts = voice()
    await tts.start()
    pcm = decode(await speak(tts, audio_format=audio_format), audio_format.encoding).astype(np.float64)
    await tts.stop()
    assert pcm.size == pytest.approx(0.9 * audio_format.sample_rate_hz, rel=0.01)
    peak_hz = np.argmax(np.abs(np.fft.rfft(pcm))) * audio_format.sample_rate_hz / pcm.size
    assert peak_hz == pytest.approx(220, abs=5)
    assert np.abs(pcm).max() == pytest.approx(0.2 * 32767, rel=0.05)


async def test_it_is_asked_as_the_options_and_the_context_say(server, voice):
    await speak(voice())
    await speak(voice(voice="en_US-lessac-medium"))
    await speak(voice("nova", voice="other", speaker="p239"), "Grüß Gott.")
    assert [asked["voice"] for asked in server.asked] == [
        {"language": "en"},
        {"name": "en_US-lessac-medium"},
        {"name": "nova", "speaker": "p239"},
    ]
    assert server.asked[2]["text"] == "Grüß Gott."
    assert len({voice().voice, voice("nova").voice, voice("nova", speaker="p239").voice}) == 3


async def test_sound_comes_as_it_is_made(server, voice):
    server.script = [*sound(TONE)[:4], HANG]
    async with voice().speak("Good day.", audio_format=PCM_8K, speculative=True) as output:
        assert await asyncio.wait_for(anext(aiter(output)), 30)
    await asyncio.wait_for(server.hung_up.wait(), 30)


@pytest.mark.parametrize(
    ("script", "retryable", "words"),
    [
        ([*sound(TONE)[:4], DROP], True, "it hung up"),
        ([DROP], True, "it hung up"),
        ([packed("error", {"text": "no such voice"})], True, "no such voice"),
        (sound(b""), True, "spoke nothing"),
        (sound(TONE, channels=2), False, "16-bit mono"),
        (sound(TONE, width=4), False, "16-bit mono"),
        (sound(TONE, rate_hz=11_025), False, "one rate of 8000"),
        (sound(TONE[:8000])[:-1] + sound(TONE, rate_hz=16_000), False, "16-bit mono"),
        ([b"\0\0\0\0\n"], False, "no Wyoming event"),
    ],
)
async def test_a_failure_is_told_for_what_it_is_and_the_next_phrase_is_whole(server, voice, script, retryable, words):
    tts = voice()
    server.script = script
    with pytest.raises(ComponentFailed, match=words) as failed:
        await speak(tts)
    assert (failed.value.component, failed.value.retryable) == ("tts", retryable)
    server.script = sound(TONE)
    assert await speak(tts)


async def test_of_what_cannot_be_spoken_nothing_is_the_right_sound(server, voice):
    server.script = sound(b"")
    assert await speak(voice(), "…") == b""


async def test_a_server_that_is_away_or_silent_is_told(server, voice):
    server.script = [*sound(TONE)[:3], HANG]
    with pytest.raises(ComponentFailed, match=r"silent for 0\.2 s.*raise `timeout_s`"):
        await speak(voice(timeout_s=0.2))
    with pytest.raises(ComponentFailed, match="correct `url`"):
        await speak(voice(url="tcp://127.0.0.1:1"))


@pytest.mark.parametrize("script", [[HANG], [*sound(TONE)[:3], HANG]])
async def test_leaving_a_phrase_ends_the_servers_work(server, voice, script):
    server.script = script
    speaking = asyncio.create_task(speak(voice()))
    while not server.asked:
        await asyncio.sleep(0.01)
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking
    await asyncio.wait_for(server.hung_up.wait(), 30)
