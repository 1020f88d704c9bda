"""The benchmark of concealment: its losses, its baselines, and that it can tell them apart."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.concealment_quality import METHODS, losses, made, score, table, with_holes
from voice_wire.audio import Pcm

pytest.importorskip("pystoi", reason="the score needs pystoi: pip install 'parley[bench]'")


def voice(rate_hz: int, seconds: float = 4.0) -> Pcm:
    """Harmonics of a pitch that glides, in syllables."""
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * t)) / rate_hz
    tones = sum(np.sin(n * phase) / n for n in range(1, 25))
    return (3000 * tones * (0.55 + 0.45 * np.sin(2 * np.pi * 3 * t))).astype(np.int16)


def test_the_same_seed_loses_the_same_packets_and_about_the_share() -> None:
    lost = losses(5000, 0.1, 3, seed=1)
    assert lost == losses(5000, 0.1, 3, seed=1)
    assert sum(lost) == pytest.approx(500, rel=0.3)


def test_without_loss_every_method_leaves_the_sound_alone() -> None:
    pcm = voice(8000)
    for name in METHODS:
        assert (with_holes(pcm, [False] * 200, made(name, 8000)) == pcm).all()


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_ours_is_understood_better_than_holes_and_better_than_the_last_frame(rate_hz: int) -> None:
    pcm, lost = voice(rate_hz), losses(200, 0.1, 1, seed=2)
    scores = {name: score(pcm, with_holes(pcm, lost, made(name, rate_hz)), rate_hz) for name in METHODS}
    assert scores["silence"] < scores["ours"]
    assert scores["last frame"] < scores["ours"]


def test_the_table_names_rate_method_and_loss() -> None:
    figures = {"8000": {"voices": ["joe"], "scores": {name: [1.0, 0.9] for name in METHODS}}}
    head, rows = table(figures, [(0.0, 1), (0.05, 3)])
    assert head == ["kHz", "in the holes", "0%", "5% in 3s"]
    assert rows[0] == ["8", "silence", "1.000", "0.900"]
