"""OpenAI's routes for speech, by OpenAI's own client."""

import io
import wave

import numpy as np
import openai
import pytest
from chat_server import talking
from sound_samples import compressed, pcm16, silence, speech_wav, tone, wav

from local_ai_server.http_api import sound_forms
from model_worker.errors import CallFailed
from tests.local_ai_server.fake_services import FakeServices


def transcribes(method, args, body):
    result = {"text": f"{len(body) // 32} ms", "language": "en", "confidence": 0.5, "no_speech_probability": 0.1}
    return [], result | ({"text": "in English"} if args.get("task") == "translate" else {})


def says(method, args, body):
    chunk = np.frombuffer(pcm16(tone(0.5, args["sample_rate_hz"])), "<i2").tobytes()
    return [({"audio_ms": 500.0}, chunk)], {}


@pytest.fixture
def services():
    services = FakeServices()
    services.stt.answer, services.tts.answer = transcribes, says
    return services


LONG = wav(pcm16(np.concatenate([tone(10), silence(0.5), tone(6)])))


async def test_a_transcription(services):
    async with talking(services.switchboard) as client:
        mp3 = compressed(tone(1, 48_000), "mp3", "libmp3lame")
        for file in (("a.wav", speech_wav()), ("a.mp3", mp3)):
            answer = await client.audio.transcriptions.create(model="whisper-1", file=file, language="en", prompt="Ann")
            assert answer.text.endswith(" ms")
            assert answer.usage.seconds in (1, 2)


async def test_every_response_format(services):
    async with talking(services.switchboard) as client:

        async def ask(form, **more):
            return await client.audio.transcriptions.create(
                model="whisper-1", file=("a.wav", LONG), response_format=form, **more
            )

        assert await ask("text") == "10100 ms 6400 ms\n"
        assert await ask("srt") == (
            "1\n00:00:00,000 --> 00:00:10,000\n10100 ms\n\n2\n00:00:10,500 --> 00:00:16,500\n6400 ms\n\n"
        )
        assert await ask("vtt") == (
            "WEBVTT\n\n00:00:00.000 --> 00:00:10.000\n10100 ms\n\n00:00:10.500 --> 00:00:16.500\n6400 ms\n\n"
        )
        verbose = await ask("verbose_json", timestamp_granularities=["segment"])
        assert (verbose.language, verbose.duration, verbose.text) == ("en", 16.5, "10100 ms 6400 ms")
        first = verbose.segments[0]
        assert (first.id, first.start, first.end, first.text) == (0, 0.0, 10.0, "10100 ms")
        assert (first.avg_logprob, first.no_speech_prob) == (-0.6931, 0.1)
        with pytest.raises(openai.BadRequestError, match="response_format"):
            await ask("diarized_json")
        with pytest.raises(openai.BadRequestError, match="timestamp_granularities"):
            await ask("verbose_json", timestamp_granularities=["word"])


async def test_a_stream_of_text(services):
    async with talking(services.switchboard) as client:
        events = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", LONG), stream=True)
        found = [event async for event in events]
    assert [event.delta for event in found[:-1]] == ["10100 ms", " 6400 ms"]
    assert (found[-1].type, found[-1].text) == ("transcript.text.done", "10100 ms 6400 ms")


async def test_a_stream_that_cannot_begin_is_an_error_with_a_status(services):
    services.stt.error = CallFailed("UnknownLanguage", "no such language")
    async with talking(services.switchboard) as client:
        with pytest.raises(openai.BadRequestError, match="no such language"):
            await client.audio.transcriptions.create(model="x", file=("a.wav", LONG), stream=True)


async def test_a_stream_that_breaks_off_says_so(services):
    def breaks(method, args, body):
        if services.stt.calls:
            raise CallFailed("Oh", "broken")
        return transcribes(method, args, body)

    services.stt.answer = breaks
    async with talking(services.switchboard) as client:
        events = await client.audio.transcriptions.create(model="x", file=("a.wav", LONG), stream=True)
        with pytest.raises(openai.APIError, match="broken"):
            _ = [event async for event in events]
        assert services.switchboard.service("stt").running == 0


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_a_translation(services):
    async with talking(services.switchboard) as client:
        answer = await client.audio.translations.create(model="whisper-1", file=("a.wav", speech_wav()))
        assert answer.text == "in English"
        assert services.stt.calls[0].args["task"] == "translate"
        services.stt.error = CallFailed("TaskNotSupported", "this model does not translate")
        with pytest.raises(openai.BadRequestError, match="does not translate"):
            await client.audio.translations.create(model="whisper-1", file=("a.wav", speech_wav()))


async def test_speech_in_every_form(services):
    async with talking(services.switchboard) as client:

        async def speech(**more):
            answer = await client.audio.speech.create(
                **{"model": "tts-1", "input": "One. Two.", "voice": "alloy", "response_format": "wav"} | more
            )
            return answer.content, answer.response.headers["content-type"]

        sound, kind = await speech()
        assert kind == "audio/wav"
        with wave.open(io.BytesIO(sound)) as file:
            assert file.getframerate() == 24_000
            assert len(file.readframes(10**6)) == 2 * 24_000
        assert "voice" not in services.tts.calls[0].args
        assert services.tts.calls[0].args["speed"] == 1.0
        sound, kind = await speech(response_format="pcm", voice="joe", speed=1.2)
        assert (kind, len(sound)) == ("audio/pcm;rate=24000", 2 * 24_000)
        assert services.tts.calls[-1].args["voice"] == "joe"
        # Their length tells that all of it came.
        for form, sign in {"mp3": b"\xff", "opus": b"OggS", "flac": b"fLaC", "aac": b"\xff"}.items():
            sound, _ = await speech(response_format=form)
            assert sound.startswith(sign), form
            text = await client.audio.transcriptions.create(model="x", file=("sound", sound), response_format="text")
            assert 900 < sum(int(part) for part in text.split() if part != "ms") < 1200, form
        with pytest.raises(openai.BadRequestError, match="there is no voice 'ann'"):
            await speech(voice="ann")


async def test_speech_is_mp3_where_nothing_is_asked_and_says_so_where_it_cannot(services, monkeypatch):
    async with talking(services.switchboard) as client:
        answer = await client.audio.speech.create(model="tts-1", input="One.", voice={"id": "joe"})
        assert answer.response.headers["content-type"] == "audio/mpeg"
        monkeypatch.setattr(sound_forms, "find_spec", lambda name: None)
        with pytest.raises(openai.BadRequestError, match=r"ask for wav or pcm"):
            await client.audio.speech.create(model="tts-1", input="One.", voice="alloy")


async def test_speech_as_events(services):
    async with (
        talking(services.switchboard) as client,
        client.audio.speech.with_streaming_response.create(
            model="tts-1", input="One. Two.", voice="nova", response_format="pcm", stream_format="sse"
        ) as answer,
    ):
        lines = [line async for line in answer.iter_lines() if line]
    assert len(lines) == 3
    assert lines[-1] == 'data: {"type": "speech.audio.done"}'
    assert all(line.startswith('data: {"type": "speech.audio.delta", "audio": "') for line in lines[:-1])
