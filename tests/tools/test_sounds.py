"""What a caller's side makes besides clear speech: at the level, ratio and frequency it was asked for."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tools.call import CallEnded, SipCaller
from tools.call.measure import levels, voiced_segments
from tools.call.sounds import (
    THROAT,
    babble,
    beep,
    keys,
    level_dbfs,
    mix,
    noise_at,
    noise_level_dbfs,
    speech_at,
    with_noise,
)
from tools.call.surroundings import Beside, Surroundings
from tools.call.wav import RATE_HZ, Pcm
from tools.pbx_instance import Pbx


def speech(seconds: float = 2.0, amplitude: float = 3000, hz: float = 300) -> Pcm:
    """Bursts of half a second with pauses of a quarter."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * hz * t) * (t % 0.75 < 0.5)).astype(np.int16)


def noise(seconds: float = 1.0) -> Pcm:
    return np.random.default_rng(1).normal(0, 500, round(seconds * RATE_HZ)).astype(np.int16)


def spectrum_peaks(sound: Pcm, count: int) -> list[int]:
    """The `count` loudest whole hertz, which are not neighbours."""
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), RATE_HZ))
    peaks: list[int] = []
    for hz in np.argsort(power)[::-1]:
        if all(abs(hz - other) > 30 for other in peaks):
            peaks.append(int(hz))
        if len(peaks) == count:
            break
    return sorted(peaks)


def test_the_level_of_speech_leaves_its_pauses_out() -> None:
    quiet, loud = speech_at(speech(), -30), speech_at(speech(), -12)
    assert level_dbfs(quiet) == pytest.approx(-30, abs=0.2)
    assert level_dbfs(loud) == pytest.approx(-12, abs=0.2)
    assert noise_level_dbfs(quiet) < -31
    assert not speech_at(np.zeros(800, np.int16), -20).any()
    assert noise_level_dbfs(noise_at(noise(), -40)) == pytest.approx(-40, abs=0.1)


@pytest.mark.parametrize("snr_db", [0, 10, 20])
def test_noise_lies_that_far_below_the_speech(snr_db: float) -> None:
    said = speech()
    mixed = with_noise(said, noise(0.3), snr_db=snr_db)
    added = (mixed.astype(np.int32) - said).astype(np.int16)
    assert len(mixed) == len(said)
    assert level_dbfs(said) - noise_level_dbfs(added) == pytest.approx(snr_db, abs=0.3)
    with pytest.raises(ValueError, match="no noise"):
        with_noise(said, noise(0), snr_db=10)


def test_babble_has_every_voice_and_no_pause() -> None:
    room = babble([speech(hz=300), speech(3, hz=700), speech(1.3, hz=1100)], 8.0, seed=2)
    assert len(room) == 8 * RATE_HZ
    assert [round(hz, -1) for hz in spectrum_peaks(room, 3)] == [300, 700, 1100]
    assert len(voiced_segments(room, join_ms=400)) == 1
    assert (room != babble([speech(hz=300), speech(3, hz=700), speech(1.3, hz=1100)], 8.0, seed=3)).any()
    with pytest.raises(ValueError, match="at least one"):
        babble([], 1.0)


@pytest.mark.parametrize(("digit", "pair"), [("1", [697, 1209]), ("0", [941, 1336]), ("#", [941, 1477])])
def test_a_key_is_its_two_tones(digit: str, pair: list[int]) -> None:
    sound = keys(digit, key_ms=200, gap_ms=0)
    assert spectrum_peaks(sound, 2) == pytest.approx(pair, abs=4)


def test_keys_are_pressed_one_after_the_other() -> None:
    assert len(voiced_segments(keys("5551234"), join_ms=30)) == 7
    assert len(keys("")) == 0
    with pytest.raises(ValueError, match="substring"):
        keys("x")


def test_a_beep_is_one_tone() -> None:
    assert spectrum_peaks(beep(hz=1000), 1) == [1000]
    assert abs(int(beep()[0])) < 10


@pytest.mark.parametrize("name", THROAT)
def test_sounds_of_a_throat_are_the_same_for_the_same_seed(name: str) -> None:
    first, again, other = (THROAT[name](np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert voiced_segments(first)


def test_sounds_add_up_and_are_clipped() -> None:
    assert mix(np.full(3, 20000, np.int16), np.full(2, 20000, np.int16)).tolist() == [32767, 32767, 20000]


def test_surroundings_repeat_their_noise_and_play_each_sound_once() -> None:
    around = Surroundings()
    around.surround(np.array([1, 2, 3], np.int16))
    beside = Beside(np.array([10, 10, 10, 10, 10], np.int16))
    around.add(beside)
    assert around.sound(0.0, 4).tolist() == [11, 12, 13, 11]
    assert not beside.over.is_set()
    assert around.sound(0.0, 4).tolist() == [12, 3, 1, 2]
    assert beside.over.is_set()
    around.surround(None)
    assert around.sound(0.0, 2).tolist() == [0, 0]


def test_nobody_waits_for_a_sound_of_a_call_that_is_over() -> None:
    around, beside = Surroundings(), Beside(noise())
    around.add(beside)
    around.close()
    assert beside.over.is_set()


@pytest.mark.asterisk
async def test_noise_and_another_voice_lie_under_what_is_said_on_a_call(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(600)) as call:
        call.surround(noise_at(noise(), -40))
        call.play(speech(1.0, amplitude=6000))
        beside = call.play_beside(speech(2.0, hz=900))
        await asyncio.wait_for(beside.over.wait(), 30)
        call.surround(None)
        await call.wait_for_silence(300)
        heard = call.recording.agent
    assert spectrum_peaks(heard, 2) == pytest.approx([300, 900], abs=8)
    sounding = np.flatnonzero(levels(heard, 160) > 100)
    # speech alone sounds two thirds of the time; a busy machine may hold a packet up
    assert len(sounding) > 0.8 * (sounding[-1] - sounding[0] + 1), "noise fills the pauses"


@pytest.mark.asterisk
async def test_a_call_goes_on_hold_and_comes_back(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(600)) as call:
        await call.play(speech(0.5)).sent()
        await call.hold()
        await call.wait_for_silence(500)
        await call.resume()
        again = call.play(speech(0.5))
        await call.wait_for_agent(100, 30, since_s=await again.sent() - 0.5)
    with pytest.raises(CallEnded):
        await call.hold()
