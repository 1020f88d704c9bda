"""The log-mel features against values of WhisperFeatureExtractor's own computation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ai_engine.conversation.log_mel import BANDS, RATE_HZ, log_mel


def rising_tone() -> np.ndarray:
    """8 s: silence, then a tone that rises from 950 Hz and swells three times a second."""
    t = np.arange(8 * RATE_HZ) / RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * (200 * t + 150 * t**2)) * (t > 2.5) * (1 + 0.5 * np.sin(2 * np.pi * 3 * t))
    return tone.astype(np.float32)


EXPECTED = {
    (25, 260): 1.529,
    (28, 260): 0.746,
    (32, 350): 1.653,
    (35, 350): 0.472,
    (37, 450): 1.649,
    (40, 450): 0.515,
    (40, 500): 1.647,
    (43, 500): 0.366,
    (44, 600): 1.648,
    (47, 600): -0.083,
    (48, 700): 1.592,
    (51, 700): 0.126,
    (50, 790): 1.45,
    (53, 790): 0.081,
}
MEAN, DEVIATION = -0.140316, 0.321656


def test_features_are_those_of_the_reference():
    features = log_mel(rising_tone())
    assert features.shape == (BANDS, 800)
    assert features.dtype == np.float32
    assert features.mean() == pytest.approx(MEAN, abs=1e-4)
    assert features.std() == pytest.approx(DEVIATION, abs=1e-4)
    assert {at: round(float(features[at]), 3) for at in EXPECTED} == pytest.approx(EXPECTED, abs=2e-3)


def test_the_level_of_the_line_does_not_matter():
    tone = rising_tone()
    assert log_mel(tone * np.float32(0.02)) == pytest.approx(log_mel(tone), abs=0.02)


def test_silence_has_features_too():
    features = log_mel(np.zeros(8 * RATE_HZ, np.float32))
    assert np.isfinite(features).all()
    assert np.ptp(features) == 0


@given(arrays.arrays(np.float32, st.integers(201, 2000), elements=st.floats(-1, 1, width=32)))
def test_any_sound_has_finite_features_within_two_decades(samples):
    features = log_mel(samples)
    assert features.shape == (BANDS, samples.size // 160)
    assert np.isfinite(features).all()
    assert np.ptp(features) <= 2.0 + 1e-5
