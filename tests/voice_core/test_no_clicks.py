"""Where the agent's sound is cut and where it goes on, no sample steps further than the speech itself does.

The sound is synthetic speech: vowels of a 110 Hz voice with formants, hisses, and short gaps, loud and up to 3400 Hz.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from voice_core.playout import Playout
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, decode, encode

FRAME_S = 0.02
TEXT = "We are open from nine to five on weekdays and until one on Saturday"
FORMATS = pytest.mark.parametrize("format", [MULAW_8K, ALAW_8K, PCM_8K, PCM_16K], ids=str)
SILENT = 8
"""mu-law and A-law have no exact zero."""


@cache
def speech(rate_hz, seconds=4.0):
    rng = np.random.default_rng(7)
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    buzz = sum(
        np.sin(2 * np.pi * 110 * k * t + 0.3 * np.sin(2 * np.pi * 4 * t))
        * (np.exp(-(((110 * k - 600) / 300) ** 2)) + 0.5 * np.exp(-(((110 * k - 1700) / 400) ** 2)) + 0.05)
        for k in range(1, 30)
    )
    hiss = np.convolve(rng.normal(0, 1, t.size), [0.5, 0.3, 0.2], "same")
    syllable = 0.5 - 0.5 * np.cos(2 * np.pi * 4.3 * t)
    sound = syllable * buzz + 0.3 * (1 - syllable) ** 4 * hiss
    return np.round(9000 * sound / np.abs(sound).max()).astype(np.int16)


class Call:
    """What is sent in each tick, with silence where nothing is: what a telephone plays."""

    def __init__(self, format):
        self.format = format
        self.pcm = speech(format.sample_rate_hz)
        self.playout = Playout(format)
        self.now = 100.0
        self.playout.play(1, encode(self.pcm, format.encoding), TEXT, self.now)
        self.playout.end_turn(1, self.now)
        self.ticks = []

    def run(self, ticks):
        for _ in range(ticks):
            frame = self.playout.next_frame(self.now)
            self.ticks.append(self.format.silence(20) if frame is None else frame)
            self.now += FRAME_S
        return self

    def heard(self):
        return decode(b"".join(self.ticks), self.format.encoding).astype(int)

    def quantised(self):
        """The speech as it sounds over this line."""
        return decode(encode(self.pcm, self.format.encoding), self.format.encoding).astype(int)


def steps(samples):
    return np.abs(np.diff(samples))


@FORMATS
@pytest.mark.parametrize("pause_at", range(5, 60, 6))
def test_a_pause_and_going_on_make_no_click(format, pause_at):
    call = Call(format).run(pause_at)
    call.playout.pause(call.now)
    call.run(20)
    call.playout.resume(call.now)
    call.run(40)
    loudest = steps(call.quantised()).max()
    assert steps(call.heard()).max() <= loudest
    width = len(call.heard()) // len(call.ticks)
    silence = call.heard()[(pause_at + 1) * width : (pause_at + 20) * width]
    assert np.abs(silence).max() <= SILENT, "after one fading frame nothing is sent"


@FORMATS
@pytest.mark.parametrize("flush_at", range(5, 60, 6))
def test_an_interruption_makes_no_click(format, flush_at):
    call = Call(format).run(flush_at)
    call.playout.flush(call.now)
    call.run(20)
    assert steps(call.heard()).max() <= steps(call.quantised()).max()


@FORMATS
@pytest.mark.parametrize("flush_at", range(6, 50, 11))
def test_nor_does_one_that_was_paused_first(format, flush_at):
    call = Call(format).run(flush_at)
    call.playout.pause(call.now)
    call.run(3)
    call.playout.flush(call.now)
    call.run(20)
    assert steps(call.heard()).max() <= steps(call.quantised()).max()


@pytest.mark.parametrize("gaps", [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("pause_at", range(5, 40, 7))
def test_pausing_again_at_once_makes_no_click_either(pause_at, gaps):
    """A cough in two parts: paused, resumed, and paused again within a tick or two."""
    call = Call(PCM_8K).run(pause_at)
    for gap in gaps:
        call.playout.pause(call.now)
        call.run(gap)
        call.playout.resume(call.now)
        call.run(gap)
    call.playout.pause(call.now)
    call.run(5)
    call.playout.resume(call.now)
    call.run(40)
    assert steps(call.heard()).max() <= steps(call.quantised()).max()


@FORMATS
def test_the_joins_add_nothing_above_the_speech_band(format):
    """A click is broadband: energy near the top of the band, where this speech has little."""
    top_hz = format.sample_rate_hz / 2

    def top_energy(samples):
        """Of the loudest 8 ms: the part in the upper eighth of the band."""
        width = round(format.sample_rate_hz * 0.008)
        whole = samples[: samples.size // width * width].reshape(-1, width) * np.hanning(width)
        power = np.abs(np.fft.rfft(whole)) ** 2
        hz = np.fft.rfftfreq(width, 1 / format.sample_rate_hz)
        return power[:, hz > 0.875 * top_hz].sum(axis=1).max()

    plain = Call(format).run(180)
    cut = Call(format).run(31)
    for ticks in (33, 27, 41):
        cut.playout.pause(cut.now)
        cut.run(15)
        cut.playout.resume(cut.now)
        cut.run(ticks)
    assert top_energy(cut.heard()) <= 1.5 * top_energy(plain.heard())


@FORMATS
@pytest.mark.parametrize("pause_at", [20, 33, 47, 58])
def test_it_goes_on_within_a_word_of_where_it_was_cut(format, pause_at):
    call = Call(format).run(pause_at)
    call.playout.pause(call.now)
    call.run(20)
    sent_s = pause_at * FRAME_S
    call.playout.resume(call.now)
    first = len(call.ticks)
    call.run(40)
    width = len(call.heard()) // len(call.ticks)
    again = call.heard()[(first + 1) * width : (first + 11) * width]  # past the fade
    speech_now = call.quantised()
    places = [at for at in range(0, round(sent_s * format.sample_rate_hz) + width, format.sample_rate_hz // 8000)
              if np.array_equal(speech_now[at : at + again.size], again)]  # fmt: skip
    assert places, "what follows is the same speech"
    back_s = sent_s - places[0] / format.sample_rate_hz + FRAME_S
    assert 0 <= back_s <= 0.65, "a word of this text lasts 260 ms; 120 ms either way is searched for a gap"
