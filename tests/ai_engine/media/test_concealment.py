"""Concealment: what stands in for lost packets sounds like what came before, and fades."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ai_engine.media.concealment import Concealment

RATE_HZ = 8000


def tone(hz: float, n_frames: int, amplitude: float = 8000) -> list[npt.NDArray[np.int16]]:
    t = np.arange(160 * n_frames) / RATE_HZ
    return list((amplitude * np.sin(2 * np.pi * hz * t)).astype(np.int16).reshape(-1, 160))


def test_a_lost_frame_of_a_voice_goes_on_in_its_pitch() -> None:
    frames = tone(125, 4)
    stream = Concealment()
    for frame in frames[:3]:
        stream.heard(frame)
    made_up = stream.conceal()
    assert made_up is not None
    expected = frames[3].astype(float)
    match = np.dot(made_up, expected) / (np.linalg.norm(made_up.astype(float)) * np.linalg.norm(expected))
    assert match > 0.95


def test_it_fades_within_60_ms_and_then_there_is_nothing() -> None:
    stream = Concealment()
    for frame in tone(200, 3):
        stream.heard(frame)
    made_up = [stream.conceal() for _ in range(4)]
    peaks = [int(np.abs(frame).max()) for frame in made_up if frame is not None]
    assert len(peaks) == 3
    assert 8000 >= peaks[0] > peaks[1] > peaks[2] > 0
    assert made_up[3] is None
    assert abs(int(made_up[2][-1])) < 200  # type: ignore[index]


def test_the_way_back_has_no_jump() -> None:
    frames = tone(150, 6)
    stream = Concealment()
    for frame in frames[:3]:
        stream.heard(frame)
    made_up = stream.conceal()
    back = stream.heard(np.negative(frames[4]))  # the worst phase there is
    assert made_up is not None
    joined = np.concatenate((made_up, back)).astype(int)
    assert np.abs(np.diff(joined)).max() < 3000
    assert (back[32:] == -frames[4][32:]).all()


def test_untouched_sound_passes_as_it_is() -> None:
    stream = Concealment()
    for frame in tone(440, 3):
        assert stream.heard(frame) is frame


def test_after_silence_nothing_old_is_repeated() -> None:
    stream = Concealment()
    for frame in tone(440, 3):
        stream.heard(frame)
    stream.fell_silent()
    made_up = stream.conceal()
    assert made_up is not None
    assert not made_up.any()
