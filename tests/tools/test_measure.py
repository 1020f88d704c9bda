"""Measurements on recordings made up for the purpose."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.call.measure import (
    Ear,
    NothingHeard,
    answer_delay_ms,
    lag_ms,
    silence_delay_ms,
    voiced_segments,
)
from tools.call.timeline import FRAME_S, Track
from tools.call.wav import RATE_HZ, NotAWav, Pcm, read_wav, write_wav


def speech(*spoken: tuple[float, float], seconds: float = 6.0, amplitude: float = 5000, noise: float = 0) -> Pcm:
    """Speech-like bursts (a tone under a 5 Hz envelope that never reaches zero) at the given begin and end seconds."""
    rng = np.random.default_rng(1)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    out = rng.standard_normal(len(t)) * noise
    for begin_s, end_s in spoken:
        inside = (t >= begin_s) & (t < end_s)
        out[inside] += (amplitude * np.sin(2 * np.pi * 300 * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 5 * t)))[inside]
    return out.astype(np.int16)


def ulaw_round_trip(pcm: Pcm) -> Pcm:
    """G.711 µ-law's quantisation (ITU-T G.711: 8 segments of 16 steps, bias 132), which never yields true silence."""
    x = pcm.astype(np.int32)
    magnitude = np.minimum(np.abs(x), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(int) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    decoded = (((mantissa << 3) + 132) << exponent) - 132
    coded: Pcm = np.where(x < 0, -decoded, decoded).astype(np.int16)
    return coded


CASES = [
    ("clean", {"amplitude": 5000, "noise": 0}),
    ("quiet speaker", {"amplitude": 600, "noise": 5}),
    ("noisy line", {"amplitude": 8000, "noise": 150}),
]


@pytest.mark.parametrize("line", [case[1] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("coded", [False, True], ids=["linear", "ulaw"])
def test_answer_delay_is_exact_to_20_ms(line: dict[str, float], coded: bool) -> None:
    caller = speech((0.5, 2.0), **line)
    agent = speech((2.85, 5.0), **line)
    if coded:
        caller, agent = ulaw_round_trip(caller), ulaw_round_trip(agent)
    assert answer_delay_ms(caller, agent) == pytest.approx(850, abs=20)


def test_a_pause_inside_a_question_belongs_to_it() -> None:
    caller = speech((0.5, 1.0), (1.6, 2.2))
    agent = speech((3.0, 4.0))
    assert answer_delay_ms(caller, agent) == pytest.approx(800, abs=20)
    assert answer_delay_ms(caller, agent, pause_ms=300) == pytest.approx(2000, abs=20)


def test_each_question_is_found_by_its_time_and_the_greeting_does_not_answer_it() -> None:
    caller = speech((1.5, 2.0), (4.0, 4.4))
    agent = speech((0.1, 1.7), (2.6, 3.5), (4.9, 5.5))
    assert answer_delay_ms(caller, agent) == pytest.approx(600, abs=20)
    assert answer_delay_ms(caller, agent, after_s=3) == pytest.approx(500, abs=20)


def test_how_long_the_agent_talks_over_the_caller() -> None:
    caller, agent = speech((2.0, 3.0)), speech((0.5, 2.28))
    assert silence_delay_ms(caller, agent) == pytest.approx(280, abs=20)


@pytest.mark.parametrize(
    ("caller", "agent", "missing"),
    [
        (speech(), speech((1, 2)), "the caller says nothing"),
        (speech((1, 2)), speech(), "the agent says nothing"),
        (speech((1, 2)), speech((0.2, 1.5)), "the agent says nothing after the question"),
    ],
)
def test_what_is_missing_is_said(caller: Pcm, agent: Pcm, missing: str) -> None:
    with pytest.raises(NothingHeard, match=missing):
        answer_delay_ms(caller, agent)


def test_clicks_are_not_speech_and_a_tone_without_pause_is() -> None:
    click = np.zeros(RATE_HZ, np.int16)
    click[4000:4080] = 20000
    assert voiced_segments(click) == []
    [tone] = voiced_segments(speech((0, 1), seconds=1))
    assert (tone.begin_s, tone.end_s) == (0, 1)


@settings(deadline=None)
@given(st.integers(-100, 2000))
def test_lag_is_found_to_the_sample(lag: int) -> None:
    noise = np.random.default_rng(2).integers(-9000, 9000, 4000).astype(np.int16)
    padded = np.concatenate((np.zeros(200, np.int16), noise, np.zeros(2200, np.int16)))
    assert lag_ms(padded, np.roll(padded, lag)) == pytest.approx(lag / 8, abs=0.01)


def test_an_ear_follows_a_call_while_it_runs() -> None:
    ear, pcm = Ear(), speech((0.5, 1.5), (3.0, 3.2), seconds=4, noise=10)
    for start in range(0, len(pcm), 130):  # chunks that are no multiple of its frame
        ear.hear(pcm[start : start + 130], 100 + start / RATE_HZ)
    voiced_ms, first_s = ear.voiced_since(100)
    assert voiced_ms == pytest.approx(1200, abs=60)
    assert first_s == pytest.approx(100.5, abs=0.02)
    assert ear.voiced_since(102)[1] == pytest.approx(103, abs=0.02)
    assert ear.last_voiced_s == pytest.approx(103.2, abs=0.02)
    assert ear.voiced_since(103.5) == (0, None)


FRAME = np.ones(160, np.int16)


def test_jitter_does_not_tear_sound_but_a_gap_is_silence() -> None:
    track, looks = Track(), [0.020, 0.050, 0.061, 0.085, 0.500]
    for last, now in zip([0.015, *looks], looks, strict=False):
        track.place(FRAME, now_s=now, last_look_s=max(last, now - 0.005), tolerance_s=0.06)
    heard = track.render(0, 0.6)
    assert np.flatnonzero(heard[:-1] != heard[1:]).tolist() == [159, 799, 3999, 4159]


@settings(deadline=None)
@given(st.floats(0, 0.019), st.integers(0, 3), st.lists(st.floats(0.001, 0.012), min_size=100, max_size=200))
def test_a_late_look_at_the_beginning_is_put_right_by_the_next_ones(
    phase_s: float, stalled_frames: int, looks: list[float]
) -> None:
    """Frames go by every 20 ms from `phase_s` on; the first look comes late by some frames, the others do not."""
    track = Track()
    now_s, last_s, seen = phase_s + stalled_frames * FRAME_S + 0.015, -0.005, 0
    for wait_s in looks:
        there = int((now_s - phase_s) / FRAME_S) + 1
        if there > seen:
            samples = np.ones(160 * (there - seen), np.int16)
            position = track.place(samples, now_s=now_s, last_look_s=last_s, tolerance_s=0.03)
            seen = there
        last_s, now_s = now_s, now_s + wait_s
    begin_s = position.at_s - position.offset / RATE_HZ
    assert phase_s - 1e-6 <= begin_s <= phase_s + 0.0121


@pytest.mark.parametrize(("amplitude", "late_ms"), [(5, 0), (5000, 180)], ids=["quiet", "speech"])
def test_after_a_hold_up_the_track_catches_up_in_quiet_only(amplitude: int, late_ms: float) -> None:
    """Ten frames come at once, 200 ms late, then the stream goes on as before."""
    track, before = Track(), np.full(160, amplitude, np.int16)
    last_s = 0.0
    for now_s in (
        [0.02 * n for n in range(1, 11)] + [0.4 + 0.001 * n for n in range(10)] + [0.42 + 0.02 * n for n in range(50)]
    ):
        position = track.place(before, now_s=now_s, last_look_s=max(last_s, now_s - 0.005), tolerance_s=0.06)
        last_s = now_s
    assert (position.at_s - last_s) * 1000 == pytest.approx(late_ms, abs=22)


def test_rendering_cuts_a_window_out_of_several_stretches() -> None:
    track = Track()
    track.place(FRAME, now_s=1.0, last_look_s=0.999, tolerance_s=0)
    track.place(FRAME, now_s=2.0, last_look_s=1.999, tolerance_s=0)
    assert track.render(1.01, 2.005).sum() == 80 + 40
    assert track.render(3, 2).size == 0
    assert not track.render(1.2, 1.9).any()


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize(("width", "channels"), [(1, 1), (2, 1), (2, 2), (3, 1), (4, 2)])
def test_any_pcm_wav_becomes_8_khz_mono(tmp_path: Path, rate_hz: int, width: int, channels: int) -> None:
    wanted = 0.25 * np.sin(2 * np.pi * 400 * np.arange(rate_hz) / rate_hz)
    if width == 1:
        raw = (wanted * 127 + 128).astype(np.uint8).repeat(channels).tobytes()
    else:
        values = (wanted * (2 ** (8 * width - 1) - 1)).astype("<i4").repeat(channels)
        raw = values.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setparams((channels, width, rate_hz, 0, "NONE", ""))
        file.writeframes(raw)
    pcm = read_wav(tmp_path / "in.wav")
    assert len(pcm) == pytest.approx(8000, abs=2)
    expected = 0.25 * 32768 * np.sin(2 * np.pi * 400 * np.arange(len(pcm)) / 8000)
    assert np.abs(pcm - expected)[100:-100].max() < (400 if width == 1 else 60)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3\x04 an mp3", b"RIFF\x24\x00\x00\x00WAVEfmt "])
def test_what_is_no_wav_is_refused_with_the_fix(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(content)
    with pytest.raises(NotAWav, match=r"speech\.wav is not a PCM WAV file.*ffmpeg"):
        read_wav(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAWav, match="does not exist"):
        read_wav(tmp_path / "none.wav")
    with pytest.raises(NotAWav, match="is a folder"):
        read_wav(tmp_path)


def test_two_sides_are_written_as_one_stereo_file(tmp_path: Path) -> None:
    write_wav(tmp_path / "call.wav", np.full(10, 7, np.int16), np.full(10, -9, np.int16))
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert np.frombuffer(file.readframes(10), "<i2").tolist() == [7, -9] * 10
