"""Who judges whether somebody speaks: the network, or the level where it is not installed or fails."""

import asyncio
import threading

import numpy as np
import pytest

from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.turns.speech_judge import LevelJudge, NetworkJudge, SpeechJudges, rate_to_judge

RATE_HZ = 16_000
LOUD = np.random.default_rng(1).normal(0, 3000, RATE_HZ).astype(np.int16)


class DeadDetector:
    """A network whose thread answers nothing until it is mended."""

    def __init__(self):
        self.opened = []
        self.answers = False

    def open(self, _key, on_probability, *, rate_hz):
        detector = self

        class Stream:
            closed = False
            n = 0

            def push(self, pcm, at):
                self.n += len(pcm) // 2
                while detector.answers and self.n >= 512:
                    self.n -= 512
                    on_probability(0.9, at)

            def close(self):
                self.closed = True

        self.opened.append(Stream())
        return self.opened[-1]


async def test_sound_that_is_not_judged_in_time_is_silence_and_the_next_begins_anew():
    detector = DeadDetector()
    judge = NetworkJudge(detector, RATE_HZ, deadline_s=0.05)
    assert await judge.judge(LOUD) == [0.0] * 31
    assert detector.opened[0].closed
    detector.answers = True
    assert await judge.judge(LOUD[: RATE_HZ // 2]) == [0.9] * 15
    judge.close()
    assert [stream.closed for stream in detector.opened] == [True, True]


async def test_loud_is_speech_and_quiet_is_none_however_it_is_cut():
    pcm = np.concatenate((np.zeros(RATE_HZ, np.int16), LOUD, np.zeros(RATE_HZ, np.int16)))
    whole = await LevelJudge(RATE_HZ).judge(pcm)
    judge = LevelJudge(RATE_HZ)
    assert [p for piece in np.array_split(pcm, 97) for p in await judge.judge(piece)] == whole
    assert len(whole) == 93
    assert max(whole[:31]) < 0.5 < min(whole[32:61])


async def test_without_weights_the_level_judges(tmp_path):
    judges = SpeechJudges(tmp_path / "missing.onnx")
    assert await judges.network(RATE_HZ) is None
    assert isinstance(await judges.open(RATE_HZ), LevelJudge)
    judges.close()


def test_telephone_sound_is_judged_as_such():
    assert [rate_to_judge(rate) for rate in (8000, 16_000, 24_000, 48_000)] == [8000, 16_000, 16_000, 16_000]


@pytest.mark.models
async def test_the_network_judges_streams_side_by_side_and_its_thread_ends():
    try:
        weights = find_model("silero_vad")
    except ModelMissing as missing:
        pytest.skip(str(missing))
    threads_before = set(threading.enumerate())
    judges = SpeechJudges(weights)
    first, second = await judges.open(RATE_HZ), await judges.open(8000)
    noise, silence = await asyncio.gather(first.judge(LOUD), second.judge(np.zeros(8000, np.int16)))
    assert (len(noise), len(silence)) == (31, 31)
    assert max(silence) < 0.2
    cut = await judges.open(RATE_HZ)
    pieces = [p for piece in np.array_split(LOUD, 13) for p in await cut.judge(piece)]
    assert pieces == pytest.approx(noise, abs=1e-4)
    for judge in (first, second, cut):
        judge.close()
    judges.close()
    judges.close()
    assert not [thread for thread in set(threading.enumerate()) - threads_before if thread.name == "speech-detector"]
