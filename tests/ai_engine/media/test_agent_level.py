"""Voices made equally loud: the right level, one gain for a whole turn, no peak too high, and nothing when off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.media.agent_audio import AgentAudioConverter
from ai_engine.media.agent_level import (
    CEILING_DBFS,
    MOST_GAIN_DB,
    MOST_STEP_DB,
    TurnLevel,
    VoiceLevel,
    VoiceLevels,
    amplified,
)
from ai_engine.providers.provider import AgentAudio, AgentAudioDone
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, AudioFormat, decode, encode, resample

TARGET = -20.0
PCM_22K = AudioFormat("linear16", 22050)
FORMATS = pytest.mark.parametrize("target", [MULAW_8K, ALAW_8K, PCM_8K, PCM_16K], ids=str)


def speech(dbfs, seconds=6.0, rate_hz=8000, seed=1):
    """A buzzing voice with syllables and pauses between sentences; its level while it speaks is `dbfs` within 1 dB."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    buzz = sum(np.sin(2 * np.pi * 120 * k * t + rng.uniform(0, 6)) / k for k in range(1, 20))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)
    spoken = (t % 2.0) < 1.4
    sound = buzz * syllables * spoken
    sound *= 10 ** (dbfs / 20) * 32768 / np.sqrt(np.mean(sound[spoken] ** 2))
    return np.rint(np.clip(sound + rng.normal(0, 2, t.size), -32768, 32767)).astype(np.int16)


def active_dbfs(pcm, rate_hz=8000):
    """The same sound's level where it is no pause."""
    t = np.arange(pcm.size) / rate_hz
    spoken = pcm[(t % 2.0) < 1.4].astype(float)
    return 10 * np.log10(np.mean(spoken**2) / 32768**2)


def voice(level_dbfs=None, **how):
    known = VoiceLevel(TARGET)
    if level_dbfs is not None:
        known.listen(speech(level_dbfs, **how), how.get("rate_hz", 8000))
    return known


@pytest.mark.parametrize("dbfs", [-34, -27, -20, -14])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 24000, 48000])
def test_a_voice_is_measured_where_it_speaks(dbfs, rate_hz):
    """However much of it is pause."""
    known = voice()
    sound = speech(dbfs, rate_hz=rate_hz)
    known.listen(sound, rate_hz)
    assert known.measured_dbfs == pytest.approx(dbfs, abs=1.0)
    known.listen(np.zeros(30 * rate_hz, np.int16), rate_hz)
    known.listen(np.random.default_rng(1).normal(0, 10, 30 * rate_hz).astype(np.int16), rate_hz)
    assert known.measured_dbfs == pytest.approx(dbfs, abs=1.0)


def test_too_little_is_no_measurement():
    known = voice()
    assert known.gain_db is None
    known.listen(speech(-20, seconds=0.8), 8000)
    assert known.gain_db is None
    known.listen(np.zeros(0, np.int16), 8000)
    known.listen(np.zeros(50, np.int16), 8000)
    known.listen(speech(-20, seconds=2.0), 8000)
    assert known.gain_db == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize(("dbfs", "gain_db"), [(-50, MOST_GAIN_DB), (-27, 7.0), (-20, 0.0), (-12, -8.0)])
def test_the_gain_brings_it_to_the_target_within_limits(dbfs, gain_db):
    assert voice(dbfs).gain_db == pytest.approx(gain_db, abs=1.2)


def test_a_voice_with_high_peaks_is_not_made_loud():
    known = voice()
    sound = speech(-30)
    sound[::2000] = 26000
    known.listen(sound, 8000)
    assert known.gain_db <= CEILING_DBFS - 20 * np.log10(26000 / 32768)
    minutes = np.tile(speech(-30), 20)
    for _ in range(8):
        known.listen(minutes, 8000)
    assert known.gain_db > 5.0, "nor kept quiet for ever by some cracks"


@FORMATS
@pytest.mark.parametrize("dbfs", [-30, -20, -14])
def test_what_goes_out_has_the_level(target, dbfs):
    """A greeting that was rendered ahead: one piece, of a voice not heard before."""
    converter = AgentAudioConverter(target, TurnLevel(voice()))
    sound = speech(dbfs, rate_hz=22050)
    out = converter.convert(AgentAudio(1, 1, encode(sound, "linear16"), PCM_22K, "words")).audio
    rest = converter.end(AgentAudioDone(1, 1))
    pcm = decode(out + (rest.audio if rest else b""), target.encoding)
    assert active_dbfs(pcm, target.sample_rate_hz) == pytest.approx(TARGET, abs=1.5)


@pytest.mark.parametrize("chunk", [160, 1000, 4000])
def test_a_turn_has_one_gain_from_its_first_sample_to_its_last(chunk):
    """Loud parts and quiet ones, pauses and all: no pumping."""
    known = voice(-26)
    converter = AgentAudioConverter(PCM_8K, TurnLevel(known))
    sound = np.concatenate([speech(-26), speech(-40, seed=2), speech(-18, seed=3)])
    out = b"".join(
        converter.convert(AgentAudio(1, 1, sound[at : at + chunk].tobytes(), PCM_8K)).audio
        for at in range(0, sound.size, chunk)
    )
    louder = np.frombuffer(out, np.int16).astype(float)
    assert louder.size == sound.size
    loud = (np.abs(sound) > 1000) & (np.abs(louder) < 20000)
    gains = 20 * np.log10(louder[loud] / sound[loud])
    assert np.ptp(gains) < 0.05
    assert gains.mean() == pytest.approx(6.0, abs=1.0)


def test_between_turns_it_moves_by_little():
    """The voice was not known when the call began: it comes up over some turns."""
    level = TurnLevel(voice())
    assert level.begin(speech(-30, seconds=0.3), 8000) == 0.0
    gains = []
    for _ in range(6):
        level.go_on(speech(-30), 8000)
        gains.append(level.begin(speech(-30), 8000))
    steps = np.diff([0.0, *gains])
    assert np.abs(steps).max() <= MOST_STEP_DB + 1e-9
    assert gains[-1] == pytest.approx(10.0, abs=1.2)


def test_what_one_call_has_learnt_the_next_begins_with():
    levels = VoiceLevels(TARGET)
    first = levels.of("local", "joe")
    assert first is not None
    first.begin(speech(-27), 8000)
    other, same = levels.of("local", "amy"), levels.of("local", "joe")
    assert other is not None
    assert same is not None
    assert same.begin(speech(-27, seconds=0.1), 8000) == pytest.approx(7.0, abs=1.2)
    assert other.begin(speech(-27, seconds=0.1), 8000) == 0.0


@given(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=400),
    st.floats(-MOST_GAIN_DB, MOST_GAIN_DB, allow_nan=False),
)
def test_no_sample_exceeds_the_ceiling_or_changes_its_sign_or_order(samples, gain_db):
    pcm = np.array(samples, np.int16)
    out = amplified(pcm, gain_db).astype(int)
    if gain_db > 0.01:
        assert np.abs(out).max() <= round(32768 * 10 ** (CEILING_DBFS / 20))
    order = np.argsort(pcm, kind="stable")
    assert (np.diff(out[order]) >= 0).all()
    assert (np.sign(out) * np.sign(pcm.astype(int)) >= 0).all()


def test_true_peaks_of_amplified_speech_stay_below_full_scale():
    known = voice(-30)
    sound = amplified(speech(-14), known.gain_db)
    finer = resample(sound, 8000, 48000).astype(int)
    assert np.abs(finer).max() < 32767


def test_a_change_of_format_within_a_turn_keeps_its_gain():
    converter = AgentAudioConverter(PCM_8K, TurnLevel(voice(-26)))
    first = converter.convert(AgentAudio(1, 1, speech(-26).tobytes(), PCM_8K)).audio
    second = converter.convert(AgentAudio(1, 1, encode(speech(-26), "mulaw"), MULAW_8K)).audio
    levels = [active_dbfs(np.frombuffer(audio, np.int16)) for audio in (first, second)]
    assert levels[0] == pytest.approx(levels[1], abs=0.2)


def test_off_nothing_is_touched():
    assert VoiceLevels(None).of("local", "joe") is None
    event = AgentAudio(1, 1, encode(speech(-40), "mulaw"), MULAW_8K, "words")
    assert AgentAudioConverter(MULAW_8K).convert(event) is event
