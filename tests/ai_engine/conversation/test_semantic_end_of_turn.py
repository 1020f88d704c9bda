"""A semantic model beside the pauses: asked once per pause, heard in time or not at all, and only in that pause."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from ai_engine.conversation.decisions import Adopt, Discard, SendAudio, Speculate
from ai_engine.conversation.semantic_end_of_turn import (
    INSTALL_COMMAND,
    MODEL_FILE,
    SemanticEndOfTurn,
    SemanticModelUnavailable,
    SmartTurnModel,
    SmartTurnWorker,
    calibrated,
)
from model_worker.errors import CallTimedOut, WorkerDied, WorkerError
from tests.ai_engine.conversation.virtual_call import ScriptedProvider, VirtualCall
from voice_wire.audio import decode_mulaw, encode_mulaw
from voice_wire.resample import resample

MODELS = Path(__file__).parents[3] / "models"
VOICE = MODELS / "tts" / "en_US-joe-medium" / "en_US-joe-medium.onnx"
FRAME = bytes(320)
needs_model = pytest.mark.skipif(not (MODELS / MODEL_FILE).is_file(), reason=f"not here: {INSTALL_COMMAND}")


class Model:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answers: list[asyncio.Future[float | None]] = []

    async def probability(self, pcm: bytes, rate_hz: int) -> float | None:
        assert rate_hz == 8000
        self.asked.append(pcm)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


class Talk:
    def __init__(self) -> None:
        self.model = Model()
        self.told: list[tuple[int, int, float]] = []
        self.semantic = SemanticEndOfTurn(self.model, lambda *opinion: self.told.append(opinion))

    async def note(self, *decisions) -> None:
        for decision in decisions:
            self.semantic.note(decision)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def talk():
    talk = Talk()
    yield talk
    await talk.semantic.close()


async def test_a_pause_is_judged_by_all_that_was_said_of_the_turn(talk):
    await talk.note(SendAudio(1, b"\1" * 320), Speculate(1, 1, ()))
    talk.model.answers[0].set_result(0.2)
    await talk.settle()
    await talk.note(Discard(1, 1), SendAudio(1, b"\2" * 640), Speculate(1, 2, ()))
    talk.model.answers[1].set_result(0.9)
    await talk.settle()
    assert talk.model.asked == [b"\1" * 320, b"\1" * 320 + b"\2" * 640]
    assert talk.told == [(1, 1, 0.2), (1, 2, 0.9)]


async def test_only_the_last_eight_seconds_are_kept(talk):
    for second in range(20):
        await talk.note(*[SendAudio(1, bytes([second]) * 320)] * 50)
    await talk.note(Speculate(1, 1, ()))
    (asked,) = talk.model.asked
    assert len(asked) == 8 * 16000
    assert (asked[0], asked[-1]) == (12, 19)


async def test_a_new_turn_begins_with_its_own_sound(talk):
    await talk.note(SendAudio(1, b"\1" * 320), SendAudio(2, b"\2" * 320), Speculate(2, 1, ()))
    assert talk.model.asked == [b"\2" * 320]


async def test_what_did_not_come_as_sound_is_not_asked_about(talk):
    await talk.note(SendAudio(1, FRAME), Speculate(2, 1, (), "[keypad] 1"))
    assert not talk.model.asked


@pytest.mark.parametrize("end", [Discard(1, 1), Adopt(1, 1)])
async def test_an_opinion_nobody_waits_for_is_given_up(talk, end):
    await talk.note(SendAudio(1, FRAME), Speculate(1, 1, ()))
    await talk.note(end)
    assert talk.model.answers[0].cancelled()
    assert not talk.told


async def test_the_end_of_another_guess_leaves_it_alone(talk):
    await talk.note(SendAudio(1, FRAME), Speculate(1, 2, ()), Discard(1, 1))
    talk.model.answers[0].set_result(0.5)
    await talk.settle()
    assert talk.told == [(1, 2, 0.5)]


@pytest.mark.parametrize("error", [WorkerDied("it crashed"), CallTimedOut("judge", 0.4)])
async def test_a_model_that_is_late_or_dead_changes_nothing(talk, error):
    await talk.note(SendAudio(1, FRAME), Speculate(1, 1, ()))
    talk.model.answers[0].set_exception(error)
    await talk.settle()
    await talk.note(Discard(1, 1), SendAudio(1, FRAME), Speculate(1, 2, ()))
    talk.model.answers[1].set_result(None)  # too much to do
    await talk.settle()
    assert not talk.told


async def test_nothing_is_told_after_the_end_of_the_call(talk):
    await talk.note(SendAudio(1, FRAME), Speculate(1, 1, ()))
    await talk.semantic.close()
    assert talk.model.answers[0].cancelled()
    assert not talk.told


class OpinionatedCall(VirtualCall):
    """At each guess the opinion comes `after_s` later, for the pause that `meant` makes of that of the guess."""

    def __init__(self, script, *, opinion, after_s=0.1, revisions_back=0) -> None:
        super().__init__(script, provider=ScriptedProvider(stt_s=0.1))
        self.opinion, self.after_s, self.revisions_back = opinion, after_s, revisions_back

    def _carry_out(self, decision) -> None:
        super()._carry_out(decision)
        if isinstance(decision, Speculate):
            turn, revision = decision.turn, decision.revision - self.revisions_back

            def opine():
                self.conversation.end_of_turn_probability(turn, revision, self.opinion, self.now)

            self._later(self.after_s, 0, 0, opine)


def waited_s(**opinion) -> float:
    call = OpinionatedCall("pause 0.3\nsay I need a new table.\nuntil agent", **opinion).run()
    return call.time_of(Adopt) - call.sounds[-1][1]


def test_in_a_call_an_opinion_moves_the_wait_within_its_span():
    plain, sure, unsure = waited_s(opinion=0.5), waited_s(opinion=1.0), waited_s(opinion=0.0)
    assert sure < plain < unsure
    assert plain - sure <= 0.2 + 0.02
    assert unsure - plain <= 0.2 + 0.02


@pytest.mark.parametrize("opinion", [0.0, 1.0])
def test_an_opinion_about_another_pause_or_after_the_turn_counts_for_nothing(opinion):
    plain = waited_s(opinion=0.5)
    assert waited_s(opinion=opinion, revisions_back=1) == plain
    assert waited_s(opinion=opinion, after_s=2.0) == plain


def test_a_caller_who_is_sure_to_go_on_is_not_cut_off_by_an_opinion():
    call = OpinionatedCall("pause 0.3\nsay My number is 030\npause 1.1\nsay 1234567\nuntil agent", opinion=1.0).run()
    assert len(call.of(Adopt)) == 1


@pytest.mark.parametrize(("rating", "probability"), [(0.0, 0.0), (0.4, 0.25), (0.8, 0.5), (0.9, 0.75), (1.0, 1.0)])
def test_a_rating_that_is_usual_on_the_telephone_says_nothing(rating, probability):
    assert calibrated(rating) == pytest.approx(probability)


# --- the real model


async def test_a_missing_model_is_named_with_the_command_that_installs_it(tmp_path):
    with pytest.raises(SemanticModelUnavailable, match=r"is missing; install it with: .* smart-turn-v3"):
        await SmartTurnWorker(tmp_path).start()


async def test_a_damaged_model_is_named(tmp_path):
    (tmp_path / MODEL_FILE).parent.mkdir()
    (tmp_path / MODEL_FILE).write_bytes(b"<html>not found</html>")
    worker = SmartTurnWorker(tmp_path)
    try:
        with pytest.raises(SemanticModelUnavailable, match="install it again with"):
            await worker.start()
    finally:
        await worker.stop()


@pytest.mark.models
@needs_model
async def test_the_worker_answers_and_nobody_waits_for_a_dead_one():
    worker = SmartTurnWorker(MODELS, deadline_s=60.0)
    await worker.start()
    try:
        probability = await worker.probability(bytes(16000), 8000)
        assert 0 <= probability <= 1
        assert await worker.probability(b"", 8000) is not None
        os.kill(worker.stats().pid, signal.SIGKILL)
        while worker.stats().restarts == 0:
            (outcome,) = await asyncio.gather(worker.probability(bytes(16000), 8000), return_exceptions=True)
            assert isinstance(outcome, WorkerError | float), outcome
            await asyncio.sleep(0.02)
        while worker.stats().state != "ready":
            await asyncio.sleep(0.05)
        assert await worker.probability(bytes(16000), 8000) == pytest.approx(probability, abs=1e-4)
    finally:
        await worker.stop()


SENTENCES = (
    "What are your opening hours on Sunday?",
    "I would like to book a table for two people.",
    "Can you tell me how much a haircut is for my son?",
    "I need to cancel my appointment on Monday, please.",
    "I am calling about the price of a repair for my bicycle.",
    "Where exactly are you located in the city?",
)


@pytest.mark.slow
@pytest.mark.models
@needs_model
@pytest.mark.skipif(not VOICE.is_file(), reason="no speech to be had without a Piper voice")
def test_whole_sentences_are_rated_above_those_that_are_cut():
    """On average, by far not for each: that is why it only moves the wait. The voice's randomness is switched off."""
    piper = pytest.importorskip("piper")
    voice = piper.PiperVoice.load(VOICE)
    steady = piper.SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
    model = SmartTurnModel()
    model.load(path=str(MODELS / MODEL_FILE))

    def rated(pcm: np.ndarray) -> float:
        sound = np.concatenate((pcm, np.zeros(1120, np.int16)))  # the pause at which it is asked
        answer, _ = model.judge(sound.tobytes(), threading.Event(), rate_hz=8000)
        return answer["probability"]

    whole, cut = [], []
    for sentence in SENTENCES:
        spoken = np.concatenate([chunk.audio_int16_array for chunk in voice.synthesize(sentence, steady)])
        heard = decode_mulaw(encode_mulaw(resample(spoken, voice.config.sample_rate, 8000)))
        loud = np.flatnonzero(np.abs(heard.astype(np.int32)) > 300)
        heard = heard[loud[0] : loud[-1] + 1]
        whole.append(rated(heard))
        cut += [rated(heard[: int(heard.size * part)]) for part in (0.3, 0.45, 0.6, 0.75)]
    assert np.mean(whole) > np.mean(cut)
