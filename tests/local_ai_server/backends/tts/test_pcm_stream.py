"""Audio in pieces of any size sounds as the same audio whole."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_ai_server.backends.tts.errors import TtsMisconfigured, TtsUnavailable
from local_ai_server.backends.tts.pcm_stream import StreamTrim
from local_ai_server.backends.tts.phrase_audio import trim
from local_ai_server.backends.tts.voice_level import VoiceLevel
from openai_wire.pcm import PcmDecoder
from tests.speech_stand_in import tone, wav

PCM = tone(0.05, quiet_s=0.01)
cuts = st.lists(st.integers(0, 6000), max_size=8)


def split(data, at):
    edges = [0, *sorted(min(a, len(data)) for a in at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def decoded(pieces, rate_hz=24_000):
    decoder = PcmDecoder(rate_hz)
    return np.concatenate([decoder.feed(piece) for piece in pieces]), decoder.rate_hz


@given(cuts)
def test_bare_pcm_is_the_same_however_it_is_cut(at):
    samples, rate_hz = decoded(split(PCM, at))
    assert np.array_equal(np.rint(samples * 32768).astype("<i2"), np.frombuffer(PCM, "<i2"))
    assert rate_hz == 24_000


@given(cuts)
def test_a_wav_file_is_its_samples_and_its_rate(at):
    samples, rate_hz = decoded(split(wav(PCM, rate_hz=16_000), at))
    assert np.array_equal(np.rint(samples * 32768).astype("<i2"), np.frombuffer(PCM, "<i2"))
    assert rate_hz == 16_000


@pytest.mark.parametrize("wrong", [{"channels": 2}, {"bits": 8}, {"rate_hz": 11_025}])
def test_a_wav_file_of_another_kind_is_refused(wrong):
    with pytest.raises(TtsMisconfigured, match="16-bit mono PCM"):
        decoded([wav(PCM, **wrong)])


def test_a_wav_file_whose_samples_never_begin_is_given_up():
    junk = b"RIFF\0\0\0\0WAVE" + b"LIST\xff\xff\xff\x00" + bytes(100_000)
    with pytest.raises(TtsUnavailable, match="never begin"):
        decoded(split(junk, [30_000, 60_000, 90_000]))


def speech(*parts, rate_hz=24_000):
    """Seconds of a tone (positive) and of silence (negative)."""
    sounds = [np.sin(np.arange(int(abs(s) * rate_hz)) * 0.06) * (0.3 if s > 0 else 0.0) for s in parts]
    return np.concatenate(sounds).astype(np.float32)


@given(cuts, st.sampled_from(["Yes.", "And then,", "then"]))
def test_a_trimmed_stream_is_the_trimmed_whole(at, closing):
    whole = speech(-0.3, 0.2, -0.4, 0.3, -0.5)
    stream = StreamTrim(24_000, closing)
    trimmed = np.concatenate([*(stream.feed(piece) for piece in split(whole, at)), stream.finish()])
    expected = trim(whole, 24_000, closing)
    assert trimmed.size == pytest.approx(expected.size, abs=240)
    assert np.array_equal(trimmed[: expected.size - 240], expected[: trimmed.size][: expected.size - 240])


def test_silence_is_held_back_and_voice_is_not():
    stream = StreamTrim(24_000, "Yes.")
    assert stream.feed(speech(-1.0)).size == 0
    assert stream.feed(speech(0.5)).size == pytest.approx(0.515 * 24_000, abs=240)
    assert stream.feed(speech(-0.5)).size == 0
    assert stream.feed(speech(0.1)).size == pytest.approx(0.6 * 24_000, abs=240)
    assert stream.finish().size == pytest.approx(0.22 * 24_000, abs=240)


def test_a_stream_without_a_voice_is_empty():
    stream = StreamTrim(24_000, "Yes.")
    assert stream.feed(speech(-2.0)).size + stream.finish().size == 0
    assert StreamTrim(24_000, "Yes.").finish().size == 0


class TestLevel:
    def test_it_brings_a_voice_to_the_common_level(self):
        level = VoiceLevel()
        assert level.gain == 1.0
        quiet = speech(2.0) * np.float32(0.1)
        level.hear(quiet, 24_000)
        assert np.sqrt(np.mean((quiet * level.gain) ** 2)) == pytest.approx(0.1, rel=0.02)

    def test_what_comes_late_does_not_move_it(self):
        level = VoiceLevel()
        level.hear(speech(5.0), 24_000)
        before = level.gain
        level.hear(speech(5.0) * np.float32(0.1), 24_000)
        assert level.gain == before

    def test_silence_teaches_nothing_and_a_whisper_is_not_blown_up(self):
        level = VoiceLevel()
        level.hear(np.zeros(24_000, np.float32), 24_000)
        level.hear(np.zeros(0, np.float32), 24_000)
        assert level.gain == 1.0
        level.hear(speech(1.0) * np.float32(0.002), 24_000)
        assert level.gain == 16.0
