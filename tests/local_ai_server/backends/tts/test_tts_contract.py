"""What every text-to-speech backend does alike, in its worker process.

Piper and Kokoro's ONNX mode speak with their real weights. Kokoro's API mode speaks through `speech_stand_in`,
Kokoro's PyTorch mode and MeloTTS through modules of the same interface in `stand_ins`: those packages are too large for
the tests' installation, or cannot be had.
"""

import asyncio

import numpy as np
import pytest
import pytest_asyncio
from voices_under_test import STAND_INS, installed, melo_folder, samples, spec_of, spoken, torch_folder, working

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.tts import kokoro, melotts, piper
from local_ai_server.backends.tts.phrase_audio import TARGET_ACTIVE_DBFS, active_level_dbfs
from model_worker.errors import CallFailed
from tests.speech_stand_in import SpeechStandIn
from voice_wire.audio import AudioFormat, decode

pytestmark = pytest.mark.asyncio(loop_scope="module")

REAL = [pytest.param(name, marks=pytest.mark.models) for name in ("piper", "kokoro-onnx")]
BACKENDS = [*REAL, "kokoro-api", "kokoro-torch", "melotts"]
SENTENCE = "Hello, how can I help you today?"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BACKENDS)
async def voice(request, tmp_path_factory):
    """A link to a worker that is ready to speak."""
    server = None
    env = {}
    with pytest.MonkeyPatch.context() as patch:
        if request.param in ("kokoro-torch", "melotts"):
            patch.syspath_prepend(str(STAND_INS))
            env = {"PYTHONPATH": str(STAND_INS)}
        folder = tmp_path_factory.mktemp(request.param)
        if request.param == "piper":
            backend, options = installed(piper.BACKEND), piper.Options()
        elif request.param == "kokoro-onnx":
            backend, options = installed(kokoro.BACKEND), kokoro.Options(mode="onnx")
        elif request.param == "kokoro-api":
            server = SpeechStandIn()
            backend, options = kokoro.BACKEND, kokoro.Options(api_base_url=server.url)
        elif request.param == "kokoro-torch":
            path = torch_folder(folder)
            backend, options = kokoro.BACKEND, kokoro.Options(mode="local", model_path=path, voice="ef_dora")
        else:
            backend, options = melotts.BACKEND, melotts.Options(model_path=melo_folder(folder))
        spec = spec_of(backend, backend.plan(options, Machine()), **env)
    try:
        async with working(spec) as link:
            yield link
    finally:
        if server is not None:
            server.stop()


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000])
@pytest.mark.parametrize("encoding", ["mulaw", "alaw", "linear16"])
async def test_it_speaks_in_the_format_that_is_asked_for(voice, encoding, rate_hz):
    audio_format = AudioFormat(encoding, rate_hz)
    chunks, result = await spoken(voice, SENTENCE, encoding=encoding, sample_rate_hz=rate_hz)
    lengths_ms = [header["audio_ms"] for header, _ in chunks]
    assert lengths_ms == pytest.approx([1000 * audio_format.duration_s(len(audio)) for _, audio in chunks])
    assert result["audio_ms"] == pytest.approx(sum(lengths_ms))
    assert 1000 < result["audio_ms"] < 4000
    pcm = decode(b"".join(audio for _, audio in chunks), encoding).astype(np.float32) / 32768
    assert active_level_dbfs(pcm, rate_hz) == pytest.approx(TARGET_ACTIVE_DBFS, abs=5)


async def test_telephone_audio_is_what_comes_without_a_wish(voice):
    chunks, result = await spoken(voice, SENTENCE)
    assert sum(len(audio) for _, audio in chunks) == pytest.approx(8 * result["audio_ms"])


async def test_the_caller_waits_for_no_silence_and_hears_a_pause_after_the_end(voice):
    sound = np.abs(await samples(voice, SENTENCE))
    loud = np.flatnonzero(sound > 0.02)
    assert loud[0] < 0.12 * 16_000
    assert 0.1 * 16_000 < sound.size - loud[-1] < 0.6 * 16_000


@pytest.mark.parametrize("text", ["", "   ", "\n\t ", "😀", "👍🏽🎉", "***", "\x00\x1b\x07", "[pause]", "..."])
async def test_where_there_is_nothing_to_say_nothing_is_said(voice, text):
    assert await spoken(voice, text) == ([], {"audio_ms": 0.0})


@pytest.mark.parametrize(
    "text",
    [
        "**Yes**, of *course*! 😀👍🏽",
        "<speak>Good <break time='2s'/> morning</speak>",
        "One\x00two\x1b[31m three\u202e four.",
        "# Opening hours\n- Monday\n- Tuesday",
        "[[ˈfoʊniːmz]] and {braces} | pipes \\ slashes",
        "Ünïcödé, naïve café, 你好, привет, नमस्ते.",
        "a" * 1500,
        "?!?! Really?! - no.",
    ],
)
async def test_odd_text_is_spoken_and_breaks_nothing(voice, text):
    _, result = await spoken(voice, text)
    assert result["audio_ms"] > 200
    assert (await spoken(voice, "Still here."))[1]["audio_ms"] > 200


async def test_numbers_are_spoken(voice):
    short = (await spoken(voice, "It is it."))[1]["audio_ms"]
    text = "It is $12.50 at 3:45 p.m. on 11/21/2026, call 555-0123, room 3.14159."
    assert (await spoken(voice, text))[1]["audio_ms"] > 2.5 * short


async def test_a_cancel_ends_a_long_text_and_the_next_one_is_spoken(voice):
    text = " ".join(f"This is sentence number {n} of a very long answer." for n in range(200))
    async with voice.call("speak", {"text": text}) as answers:
        header, audio = await anext(aiter(answers))
        assert audio
        assert header["audio_ms"] < 60_000
    # Left: nobody wants the rest. The worker is free again long before 200 sentences could be spoken.
    async with asyncio.timeout(60):
        assert (await spoken(voice, "Next."))[1]["audio_ms"] > 100


async def test_a_text_without_measure_is_refused(voice):
    with pytest.raises(CallFailed, match="20000 at most") as failed:
        await spoken(voice, "word " * 10_000)
    assert failed.value.kind == "SpeechRefused"


async def test_an_unknown_voice_is_refused_and_those_there_are_listed(voice):
    listed = (await voice.request("describe"))[0]
    assert listed["voice"] in listed["voices"]
    with pytest.raises(CallFailed) as failed:
        await spoken(voice, SENTENCE, voice="nobody")
    assert failed.value.kind == "UnknownVoice"
    assert "'nobody'" in failed.value.message
    assert listed["voices"][0] in failed.value.message


async def test_every_voice_that_is_listed_is_a_voice_that_speaks(voice):
    for name in (await voice.request("describe"))[0]["voices"][:3]:
        assert (await spoken(voice, "Good day to you.", voice=name))[1]["audio_ms"] > 300


async def test_speed_is_the_requests_own(voice):
    slow, fast = [(await spoken(voice, SENTENCE, speed=speed))[1]["audio_ms"] for speed in (0.7, 1.6)]
    assert fast < 0.75 * slow


@pytest.mark.parametrize("speed", [0, 0.1, -1, 9, float("inf"), "fast", True])
async def test_a_speed_that_cannot_be_is_refused(voice, speed):
    with pytest.raises(CallFailed, match=r"0\.5 to 2\.0") as failed:
        await spoken(voice, SENTENCE, speed=speed)
    assert failed.value.kind == "SpeechRefused"


async def test_a_format_that_cannot_be_is_refused(voice):
    for wrong in ({"encoding": "mp3"}, {"sample_rate_hz": 7999}):
        with pytest.raises(CallFailed) as failed:
            await spoken(voice, SENTENCE, **wrong)
        assert failed.value.kind == "AudioFormatError"
