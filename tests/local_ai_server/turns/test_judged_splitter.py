"""A version-2 client's utterances, told from other sounds by a judge; with the real network on real speech in noise."""

import asyncio
import subprocess
import sys

import numpy as np
import pytest

from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.incoming_audio import Heard, IncomingAudio
from local_ai_server.turns.speech_judge import SpeechJudges
from tests.local_ai_server.realtime.realtime_rig import LevelJudges, quiet, speech
from voice_wire.audio import resample

RATE_HZ = 16_000


class Ear:
    def __init__(self, judges, silence_ms=200, max_s=30):
        self.utterances, self.told = [], []
        self.audio = IncomingAudio(
            max_utterance_s=max_s,
            silence_ms=silence_ms,
            on_speech=lambda pcm, heard, begins: self.told.append((pcm, begins)),
            on_utterance=self.utterances.append,
            on_error=lambda error: None,
            judges=judges,
        )

    def hear(self, data, rate_hz=RATE_HZ, request_id=None):
        for at in range(0, len(data), 3200):
            self.audio.receive(Heard(data[at : at + 3200], rate_hz, "stt", request_id))

    async def until(self, n):
        async with asyncio.timeout(30):
            while len(self.utterances) < n:
                await asyncio.sleep(0.005)


@pytest.fixture
async def ear():
    judges = LevelJudges()
    ear = Ear(judges)
    yield ear
    await ear.audio.close()
    assert judges.open_streams == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


def talk(rate_hz=RATE_HZ, n=3):
    return b"".join(quiet(0.8, rate_hz) + speech(1, rate_hz) for _ in range(n)) + quiet(0.8, rate_hz)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100])
async def test_utterances_are_what_silence_ends_with_a_little_before(ear, rate_hz):
    ear.hear(talk(rate_hz), rate_hz)
    await ear.until(3)
    for utterance in ear.utterances:
        assert utterance.pcm.size / rate_hz == pytest.approx(0.3 + 1.0 + 0.2, abs=0.1)
        assert utterance.rate_hz == rate_hz


async def test_what_was_told_as_it_was_spoken_is_the_utterance(ear):
    ear.hear(talk(n=1))
    await ear.until(1)
    (utterance,) = ear.utterances
    told = np.concatenate([pcm for pcm, _ in ear.told])
    assert [begins for _, begins in ear.told] == [True] + [False] * (len(ear.told) - 1)
    assert told.size == utterance.n_told
    n = min(told.size, utterance.pcm.size)
    assert told[:n].tobytes() == utterance.pcm[:n].tobytes()


async def test_who_sends_nothing_more_has_ended_it(ear):
    ear.hear(quiet(0.3, RATE_HZ) + speech(1, RATE_HZ), request_id="r")
    await ear.until(1)
    assert ear.utterances[0].request_id == "r"
    assert ear.utterances[0].pcm.size >= RATE_HZ


async def test_a_request_is_answered_whatever_it_holds(ear):
    ear.hear(quiet(1, RATE_HZ), request_id="r")
    await ear.until(1)
    assert ear.utterances[0].request_id == "r"


async def test_endless_speech_is_cut():
    ear = Ear(LevelJudges(), max_s=2)
    ear.hear(speech(5, RATE_HZ))
    await ear.until(2)
    assert all(u.pcm.size <= 2.1 * RATE_HZ for u in ear.utterances)
    await ear.audio.close()


async def test_a_new_mode_forgets_what_was_heard(ear):
    ear.hear(speech(0.5, RATE_HZ))
    while not ear.told:
        await asyncio.sleep(0.001)
    ear.audio.restart(100)
    ear.hear(talk(n=1))
    await ear.until(1)
    assert ear.utterances[0].pcm.size / RATE_HZ == pytest.approx(0.3 + 1.0 + 0.1, abs=0.1)


async def test_without_the_network_the_level_decides(tmp_path):
    class NoNetwork(SpeechJudges):
        async def network(self, rate_hz):
            return None

    ear = Ear(NoNetwork())
    ear.hear(talk())
    await ear.until(3)
    await ear.audio.close()


@pytest.mark.models
async def test_speech_in_loud_noise_ends_where_it_ends_and_noise_is_none():
    try:
        voice, weights = find_model("en_US-joe-medium"), find_model("silero_vad")
    except ModelMissing as missing:
        pytest.skip(str(missing))
    command = [sys.executable, "-m", "piper", "-m", str(voice), "--output-raw"]
    raw = subprocess.run(command, input=b"What time do you open on Saturday?", capture_output=True, check=True).stdout
    said = resample(np.frombuffer(raw, "<i2").astype(np.int16), 22_050, RATE_HZ)
    rng = np.random.default_rng(3)
    silence = np.zeros(2 * RATE_HZ, np.int16)
    clean = np.concatenate((silence, said, silence, said, silence)).astype(float)
    noise = rng.normal(0, np.sqrt(np.mean(said.astype(float) ** 2)) / 3, clean.size)  # 9.5 dB below the speech
    # A fan that comes and goes: the level alone takes each time for speech.
    noise *= np.repeat(1 + 3 * (np.arange(clean.size // 8000 + 1) % 2), 8000)[: clean.size] / 4
    judges = SpeechJudges(weights)
    ear = Ear(judges, silence_ms=700)
    ear.hear(np.clip(clean + noise, -32768, 32767).astype("<i2").tobytes())
    ear.hear(rng.normal(0, 500, 3 * RATE_HZ).astype("<i2").tobytes())
    await ear.until(2)
    await asyncio.sleep(0.8)
    await ear.audio.close()
    judges.close()
    assert len(ear.utterances) == 2
    for utterance in ear.utterances:
        assert utterance.pcm.size / RATE_HZ == pytest.approx(said.size / RATE_HZ + 0.3 + 0.7, abs=0.5)
