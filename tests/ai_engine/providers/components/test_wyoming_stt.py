"""The `wyoming` speech-to-text against a stand-in of such a server."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from ai_engine.config_file import ConfigError
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed, SttTraits
from ai_engine.providers.components.stt.wyoming import MAX_UTTERANCE_S, wyoming_speech_to_text
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from tests.speech_stand_in import tone
from tests.wyoming_stand_in import DROP, HANG, WyomingStandIn, packed
from voice_wire.audio import MULAW_8K, PCM_8K, PCM_16K

SECOND = tone(0.6, rate_hz=8000)
LAG_BYTES = 64
"""What the resampler gives at the end: 2 ms."""
TRANSCRIPT = packed("transcript", {"text": "Are you open?"})


@pytest.fixture
async def server():
    stand_in = WyomingStandIn()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def hearing(server, tmp_path):
    made = []

    def make(output_format=MULAW_8K, language="en-GB", **options):
        services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path))
        call = CallInfo("c1", "default", "You are Joe.", language, None, output_format)
        options = {"url": server.url, "timeout_s": 30, **options}
        made.append(wyoming_speech_to_text(CallScope(call, services), options))
        return made[-1]

    yield make
    for stt in made:
        await stt.stop()
        assert not stt._tasks


def say(utterance, audio=SECOND):
    for at in range(0, len(audio), 320):
        utterance.send(audio[at : at + 320])


async def connected(server, number=1):
    async with asyncio.timeout(30):
        while server.connections < number:
            await asyncio.sleep(0.01)


async def test_a_turn_is_sent_while_it_is_spoken(server, hearing):
    stt = hearing(model="base")
    await stt.start()
    utterance = stt.stream(1, lambda text, backend: None)
    say(utterance)
    await connected(server)
    say(utterance)
    transcript = await utterance.decode(speculative=False)
    assert (transcript.text, transcript.stt_backend) == ("Are you open?", "wyoming:base")
    (asked,) = server.asked
    assert (asked["name"], asked["language"], asked["format"]) == ("base", "en", (16000, 2, 1))
    heard = np.frombuffer(asked["audio"], "<i2").astype(float)
    assert heard.size == pytest.approx(2 * len(SECOND), abs=LAG_BYTES)  # two of them, at twice the rate
    peak_hz = np.argmax(np.abs(np.fft.rfft(heard))) * 16000 / heard.size
    assert peak_hz == pytest.approx(220, abs=3)
    assert server.connections == 1


@pytest.mark.parametrize(("line", "heard"), [(MULAW_8K, PCM_8K), (PCM_16K, PCM_16K)])
async def test_a_wide_line_is_heard_wide(server, hearing, line, heard):
    stt = hearing(line, language="de")
    assert stt.input_format == heard
    utterance = stt.stream(1, lambda text, backend: None)
    say(utterance)
    await utterance.decode(speculative=False)
    of_the_turn = len(SECOND) * 16000 // heard.sample_rate_hz
    assert len(server.asked[0]["audio"]) == pytest.approx(of_the_turn, abs=LAG_BYTES)
    assert (server.asked[0]["language"], "name" in server.asked[0]) == ("de", False)


async def test_who_goes_on_is_heard_again_from_the_beginning(server, hearing):
    utterance = hearing().stream(1, lambda text, backend: None)
    say(utterance)
    early = await utterance.decode(speculative=True)
    assert await utterance.decode(speculative=False) == early  # nothing new was said: not asked again
    say(utterance)
    server.script = [packed("transcript", {"text": "Are you open on Sunday?"})]
    assert (await utterance.decode(speculative=False)).text == "Are you open on Sunday?"
    lengths = [len(asked["audio"]) for asked in server.asked]
    assert lengths == pytest.approx([2 * len(SECOND), 4 * len(SECOND)], abs=LAG_BYTES)


async def test_partial_words_are_told(server, hearing):
    told = []
    server.while_heard = [packed("transcript-start", {"language": "en"}), packed("transcript-chunk", {"text": "Are "})]
    server.script = [packed("transcript-chunk", {"text": "you"}), TRANSCRIPT, packed("transcript-stop")]
    stt = hearing()
    utterance = stt.stream(1, lambda text, backend: told.append(text))
    say(utterance)
    async with asyncio.timeout(30):
        while not told:
            await asyncio.sleep(0.01)
    assert (await utterance.decode(speculative=False)).text == "Are you open?"
    assert told == ["Are", "Are you"]


async def test_it_is_gated_as_long_as_nobody_knows_better(hearing):
    told = []
    hearing(model="base").on_change(told.append)
    assert told == [SttTraits("wyoming:base", needs_gating=True)]


async def test_hardly_any_sound_is_no_word_and_an_endless_turn_is_cut(server, hearing):
    utterance = hearing().stream(1, lambda text, backend: None)
    utterance.send(bytes(800))
    assert (await utterance.decode(speculative=False)).text == ""
    assert server.connections == 0
    for _ in range(MAX_UTTERANCE_S + 5):
        utterance.send(bytes(16000))
    await utterance.decode(speculative=False)
    assert len(server.asked[0]["audio"]) == pytest.approx(MAX_UTTERANCE_S * 32000, abs=LAG_BYTES)
    utterance.drop()


@pytest.mark.parametrize("before", [[DROP], [TRANSCRIPT]], ids=["it breaks off", "it takes a pause for the end"])
async def test_a_connection_that_ends_while_the_caller_speaks_costs_no_words(server, hearing, before):
    utterance = hearing().stream(1, lambda text, backend: None)
    server.while_heard = before
    say(utterance)
    async with asyncio.timeout(30):
        while not utterance._at_work.over:
            await asyncio.sleep(0.01)
    server.while_heard = []
    say(utterance)
    assert (await utterance.decode(speculative=False)).text == "Are you open?"
    assert len(server.asked[-1]["audio"]) == pytest.approx(4 * len(SECOND), abs=LAG_BYTES)


@pytest.mark.parametrize(
    ("script", "retryable", "words"),
    [
        ([DROP], True, "it hung up"),
        ([packed("transcript", {"text": "Are you"})[:-3], DROP], True, "it hung up"),
        ([packed("error", {"text": "out of memory", "code": "oom"})], True, "out of memory"),
        ([packed("transcript", {"text": None})], False, "without text"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], False, "no Wyoming event.*correct `url`"),
    ],
)
async def test_a_failure_is_told_for_what_it_is_and_the_next_decode_is_whole(server, hearing, script, retryable, words):
    utterance = hearing().stream(1, lambda text, backend: None)
    say(utterance)
    server.script = script
    with pytest.raises(ComponentFailed, match=words) as failed:
        await utterance.decode(speculative=False)
    assert (failed.value.component, failed.value.retryable) == ("stt", retryable)
    server.script = [packed("transcript", {"text": "Hello?"}, in_header=True)]
    assert (await utterance.decode(speculative=False)).text == "Hello?"
    assert len(server.asked[-1]["audio"]) == pytest.approx(2 * len(SECOND), abs=LAG_BYTES)


async def test_a_server_that_is_away_or_silent_is_told(server, hearing):
    server.script = [HANG]
    utterance = hearing(timeout_s=0.2).stream(1, lambda text, backend: None)
    say(utterance)
    with pytest.raises(ComponentFailed, match=r"silent for 0\.2 s.*raise `timeout_s`"):
        await utterance.decode(speculative=False)
    await asyncio.wait_for(server.hung_up.wait(), 30)
    nowhere = hearing(url="tcp://127.0.0.1:1").stream(1, lambda text, backend: None)
    say(nowhere)
    with pytest.raises(ComponentFailed, match="correct `url`") as failed:
        await nowhere.decode(speculative=False)
    assert failed.value.retryable


@pytest.mark.parametrize("how", ["cancel", "drop", "stop"])
async def test_a_turn_that_is_given_up_ends_the_servers_work(server, hearing, how):
    server.script = [HANG]
    stt = hearing()
    utterance = stt.stream(1, lambda text, backend: None)
    say(utterance)
    await connected(server)
    decoding = None
    if how == "cancel":
        decoding = asyncio.create_task(utterance.decode(speculative=True))
        async with asyncio.timeout(30):
            while not server.asked:
                await asyncio.sleep(0.01)
        decoding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await decoding
    elif how == "drop":
        utterance.drop()
    else:
        await stt.stop()
    async with asyncio.timeout(30):
        while server.open:
            await asyncio.sleep(0.01)
    assert not stt._tasks


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://127.0.0.1:10300"}, "write it as tcp://host:port"),
        ({"url": "tcp://127.0.0.1"}, "write it as tcp://host:port"),
        ({"url": "tcp://127.0.0.1:x"}, "`url`"),
        ({"modle": "base"}, "did you mean `model`"),
    ],
)
def test_options_that_cannot_be_are_refused(hearing, options, words):
    with pytest.raises(ConfigError, match=words):
        hearing(**options)
