"""The live resampler: its share at once, no joints, clean spectrum; the one-shot resampler."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_wire.resample import SAMPLE_RATES_HZ, StreamingResampler, resample

PAIRS = [pair for pair in itertools.product(SAMPLE_RATES_HZ, repeat=2) if pair[0] != pair[1]]


def tone(hz: float, rate_hz: int, seconds: float = 1.0, amplitude: float = 16000) -> np.ndarray:
    return np.rint(amplitude * np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz)).astype(np.int16)


def frames(pcm: np.ndarray, size: int) -> list[np.ndarray]:
    return [pcm[i : i + size] for i in range(0, pcm.size, size)]


def strongest_other_db(pcm: np.ndarray, rate_hz: int, hz: float) -> float:
    """The strongest line away from `hz`, relative to it. Blackman-Harris window: side lobes at -92 dB."""
    n = pcm.size
    x = 2 * np.pi * np.arange(n) / n
    window = 0.35875 - 0.48829 * np.cos(x) + 0.14128 * np.cos(2 * x) - 0.01168 * np.cos(3 * x)
    spectrum = np.abs(np.fft.rfft(pcm * window))
    bins = np.fft.rfftfreq(n, 1 / rate_hz)
    wanted = np.abs(bins - hz) < 8 * rate_hz / n
    return float(20 * np.log10(spectrum[~wanted].max() / spectrum[wanted].max()))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_every_frame_yields_its_share_at_once(from_hz, to_hz):
    resampler = StreamingResampler(from_hz, to_hz)
    fed = given_back = 0
    for frame in frames(tone(440, from_hz, 0.5), from_hz // 50):
        given_back += resampler.feed(frame).size
        fed += frame.size
        assert given_back == math.ceil(fed * to_hz / from_hz)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("hz", [300, 1000, 3300])
def test_a_tone_in_frames_has_no_images_aliases_or_clicks(from_hz, to_hz, hz):
    resampler = StreamingResampler(from_hz, to_hz)
    output = np.concatenate([resampler.feed(frame) for frame in frames(tone(hz, from_hz), from_hz // 50)])
    steady = output[to_hz // 10 :]
    assert strongest_other_db(steady, to_hz, hz) <= -70
    assert np.abs(steady.astype(int)).max() == pytest.approx(16000, rel=0.01)


def test_what_the_lower_rate_cannot_hold_is_removed():
    resampler = StreamingResampler(24000, 8000)
    output = resampler.feed(tone(7000, 24000))[800:]
    assert np.abs(output.astype(int)).max() <= 16000 * 10 ** (-70 / 20)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_the_delay_is_what_it_says(from_hz, to_hz):
    resampler = StreamingResampler(from_hz, to_hz)
    assert resampler.delay_s <= 0.0021
    pulse = np.rint(20000 * np.exp(-(((np.arange(from_hz // 10) / from_hz - 0.05) / 0.0005) ** 2))).astype(np.int16)
    output = np.concatenate((resampler.feed(pulse), resampler.flush())).astype(float)
    centre_s = (output * np.arange(output.size)).sum() / output.sum() / to_hz
    assert centre_s - 0.05 == pytest.approx(resampler.delay_s, abs=0.00005)


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    cuts=st.lists(st.integers(0, 1500), max_size=12),
    seed=st.integers(0, 1000),
)
def test_any_split_gives_the_same_samples(pair, cuts, seed):
    pcm = np.random.default_rng(seed).integers(-20000, 20000, 1500).astype(np.int16)
    whole, split = StreamingResampler(*pair), StreamingResampler(*pair)
    expected = np.concatenate((whole.feed(pcm), whole.flush()))
    parts = [split.feed(part) for part in np.split(pcm, sorted(cuts))]
    actual = np.concatenate((*parts, split.flush()))
    assert actual.size == expected.size
    assert np.abs(actual.astype(int) - expected).max() <= 1  # float sums may round the last bit either way


def test_a_flushed_resampler_starts_afresh():
    resampler = StreamingResampler(8000, 22050)
    pcm = tone(500, 8000, 0.1)
    first = np.concatenate((resampler.feed(pcm), resampler.flush()))
    second = np.concatenate((resampler.feed(pcm), resampler.flush()))
    assert (first == second).all()


def test_full_scale_is_clipped_not_wrapped():
    square = np.where(np.arange(8000) // 20 % 2, 32767, -32768).astype(np.int16)
    output = StreamingResampler(8000, 16000).feed(square).astype(int)
    assert output.max() == 32767
    assert output.min() == -32768
    assert np.abs(output[:-1] - output[1:]).max() < 65535


def test_equal_rates_pass_through():
    resampler = StreamingResampler(8000, 8000)
    pcm = tone(440, 8000, 0.1)
    assert (resampler.feed(pcm) == pcm).all()
    assert resampler.flush().size == 0
    assert resampler.delay_s == 0


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_a_whole_phrase_is_converted_without_delay(from_hz, to_hz):
    output = resample(tone(1000, from_hz), from_hz, to_hz)
    assert abs(output.size - to_hz) <= 1
    assert strongest_other_db(output[to_hz // 10 : -to_hz // 10], to_hz, 1000) <= -70


def test_unknown_rates_are_refused():
    with pytest.raises(ValueError, match="12345 Hz is not one of 8000"):
        StreamingResampler(8000, 12345)
    with pytest.raises(ValueError, match="0 Hz"):
        resample(np.zeros(10, np.int16), 0, 8000)


DOWN = [(from_hz, to_hz) for to_hz in (8000, 16000) for from_hz in SAMPLE_RATES_HZ if from_hz > to_hz]
LIVE = [(from_hz, to_hz) for to_hz in (8000, 16000) for from_hz in SAMPLE_RATES_HZ if from_hz != to_hz]


def in_band_db(pcm: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size))) ** 2
    hz = np.fft.rfftfreq(pcm.size, 1 / rate_hz)
    return float(10 * np.log10(power[(hz >= low_hz) & (hz < high_hz)].sum() + 1e-9))


@pytest.mark.parametrize(("from_hz", "to_hz"), DOWN)
def test_hiss_above_the_band_leaves_nothing_below_0_85_of_it(from_hz, to_hz):
    """All of it at once: what a consonant of a wide voice is. Aliases of the slope lie between 0.85 and 1."""
    n, edge_hz = 2 * from_hz, to_hz / 2
    hz = np.fft.rfftfreq(n, 1 / from_hz)
    phases = np.random.default_rng(3).uniform(0, 2 * np.pi, hz.size)
    hiss = np.fft.irfft(np.where(hz > edge_hz, np.exp(1j * phases), 0), n)
    pcm = np.rint(9000 * hiss / np.abs(hiss).max()).astype(np.int16)
    resampler = StreamingResampler(from_hz, to_hz)
    output = np.concatenate([resampler.feed(frame) for frame in frames(pcm, from_hz // 50)]).astype(float)
    scale_db = 20 * math.log10(from_hz / to_hz)  # both transforms reckoned for as many samples
    went_in = in_band_db(pcm, from_hz, edge_hz, from_hz / 2)
    came_out = in_band_db(output, to_hz, 100, 0.85 * edge_hz) + scale_db
    assert came_out - went_in <= -50


@pytest.mark.parametrize(("from_hz", "to_hz"), LIVE)
@pytest.mark.parametrize("sizes", [(7, 160, 1), (441,), (1000, 3)], ids=str)
def test_a_sweep_in_chunks_of_any_size_is_heard_without_clicks(from_hz, to_hz, sizes):
    """A click is energy where the sweep is not, at the moment of a border: looked for 10 ms by 10 ms."""
    seconds, first_hz, last_hz = 0.5, 200.0, 0.8 * min(from_hz, to_hz) / 2
    t = np.arange(round(from_hz * seconds)) / from_hz
    phase = 2 * np.pi * (first_hz * t + (last_hz - first_hz) / (2 * seconds) * t**2)
    pcm = np.rint(16000 * np.sin(phase)).astype(np.int16)
    resampler, parts, at = StreamingResampler(from_hz, to_hz), [], 0
    for size in itertools.cycle(sizes):
        if at >= pcm.size:
            break
        parts.append(resampler.feed(pcm[at : at + size]))
        at += size
    output = np.concatenate(parts)
    width = to_hz // 50
    window = np.kaiser(width, 12)
    for start in range(width, output.size - width, width // 2):
        spectrum = np.abs(np.fft.rfft(output[start : start + width] * window))
        hz = np.fft.rfftfreq(width, 1 / to_hz)
        now_hz = first_hz + (last_hz - first_hz) * ((start + width / 2) / to_hz - resampler.delay_s) / seconds
        away = np.abs(hz - now_hz) > 600
        assert 20 * np.log10(spectrum[away].max() / spectrum.max()) <= -55
