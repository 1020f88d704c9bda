"""Formats: what messages may say, lengths in time, whole phrases, fades."""

from __future__ import annotations

import numpy as np
import pytest

from voice_wire.audio import (
    ALAW_8K,
    MULAW_8K,
    PCM_8K,
    PCM_16K,
    AudioFormat,
    AudioFormatError,
    convert,
    decode,
    encode,
    fade_in,
    fade_out,
)


def tone(hz: float, rate_hz: int, seconds: float = 0.5, amplitude: float = 8000) -> np.ndarray:
    return np.rint(amplitude * np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz)).astype(np.int16)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, MULAW_8K),
        ({"encoding": None, "sample_rate_hz": None}, MULAW_8K),
        ({"encoding": "alaw"}, ALAW_8K),
        ({"encoding": "linear16"}, PCM_8K),
        ({"encoding": "linear16", "sample_rate_hz": 16000}, PCM_16K),
        ({"encoding": "linear16", "sample_rate": 16000}, PCM_16K),
        ({"sample_rate_hz": 16000, "type": "audio"}, AudioFormat("mulaw", 16000)),
    ],
)
def test_a_message_names_a_format_and_missing_metadata_means_mulaw_8000(fields, expected):
    assert AudioFormat.from_fields(fields) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"encoding": "opus"},
        {"encoding": ""},
        {"encoding": 7},
        {"encoding": ["mulaw"]},
        {"sample_rate_hz": 0},
        {"sample_rate_hz": -8000},
        {"sample_rate_hz": 8000.0},
        {"sample_rate_hz": "8000"},
        {"sample_rate_hz": True},
        {"sample_rate_hz": [8000]},
        {"sample_rate_hz": 11111},
    ],
)
def test_a_message_with_a_bad_format_is_refused_with_what_would_be_right(fields):
    with pytest.raises(AudioFormatError, match=r"is not one of .*(mulaw|8000)"):
        AudioFormat.from_fields(fields)


def test_lengths_in_time():
    assert MULAW_8K.bytes_for_ms(20) == 160
    assert PCM_16K.bytes_for_ms(20) == 640
    assert PCM_16K.bytes_per_second == 32000
    assert PCM_16K.duration_s(640) == pytest.approx(0.020)
    assert AudioFormat("linear16", 22050).bytes_for_ms(10) % 2 == 0


@pytest.mark.parametrize("audio_format", [MULAW_8K, ALAW_8K, PCM_8K, PCM_16K])
def test_silence_is_silent(audio_format):
    silence = audio_format.silence(20)
    assert audio_format.duration_s(len(silence)) == pytest.approx(0.020)
    assert np.abs(decode(silence, audio_format.encoding)).max() <= 8


def test_half_a_sample_is_refused():
    with pytest.raises(AudioFormatError, match="half a sample"):
        decode(b"\x00\x01\x02", "linear16")


@pytest.mark.parametrize("src", [MULAW_8K, ALAW_8K, PCM_16K, AudioFormat("linear16", 22050)])
@pytest.mark.parametrize("dst", [MULAW_8K, ALAW_8K, PCM_8K, AudioFormat("linear16", 24000)])
def test_a_phrase_keeps_its_tone_and_length_in_any_format(src, dst):
    phrase = encode(tone(997, src.sample_rate_hz), src.encoding)
    converted = convert(phrase, src, dst)
    assert dst.duration_s(len(converted)) == pytest.approx(0.5, abs=0.001)
    pcm = decode(converted, dst.encoding)[dst.sample_rate_hz // 10 : dst.sample_rate_hz * 4 // 10].astype(float)
    expected = tone(997, dst.sample_rate_hz)[dst.sample_rate_hz // 10 : dst.sample_rate_hz * 4 // 10]
    noise_db = 10 * np.log10(np.mean((pcm - expected) ** 2) / np.mean(expected.astype(float) ** 2))
    assert noise_db < -31  # one law adds about -37 dB of noise; one law after the other, -32


def test_the_same_format_is_handed_through():
    phrase = bytes(range(256))
    assert convert(phrase, MULAW_8K, MULAW_8K) is phrase
    assert convert(b"", MULAW_8K, PCM_16K) == b""


def test_fades_reach_zero_at_the_cut_and_leave_the_rest():
    pcm = np.full(800, 10000, np.int16)
    out, back = fade_out(pcm, 10, 8000), fade_in(pcm, 10, 8000)
    assert (out[:720] == 10000).all()
    assert abs(int(out[-1])) <= 10
    assert (back[80:] == 10000).all()
    assert back[0] == 0
    assert np.abs(np.diff(out.astype(int))).max() < 300
    assert (pcm == 10000).all()


def test_fades_of_little_or_nothing():
    assert fade_out(np.empty(0, np.int16), 5, 8000).size == 0
    short = fade_out(np.full(8, 1000, np.int16), 5, 8000)
    assert short[0] > short[-1]
    assert (fade_in(np.full(8, 1000, np.int16), 0, 8000) == 1000).all()
