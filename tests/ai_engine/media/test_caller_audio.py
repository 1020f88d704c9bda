"""The caller's sound at the rate the provider takes: without seams, and untouched where it fits already."""

from __future__ import annotations

import numpy as np
import pytest

from ai_engine.media.caller_audio import CallerAudioConverter
from voice_wire.audio import MULAW_8K, PCM_8K, PCM_16K, AudioFormat, decode

PCM_24K = AudioFormat("linear16", 24000)


def tone(rate_hz: int, hz: float, seconds: float) -> bytes:
    return (9000 * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype("<i2").tobytes()


def frames(pcm: bytes, rate_hz: int) -> list[bytes]:
    size = rate_hz // 50 * 2
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]


@pytest.mark.parametrize("same", [PCM_8K, PCM_16K])
def test_what_fits_passes_untouched(same: AudioFormat) -> None:
    audio = tone(same.sample_rate_hz, 500, 0.1)
    assert CallerAudioConverter(same.sample_rate_hz).convert(1, audio, same) is audio


@pytest.mark.parametrize("target", [PCM_8K, PCM_16K, PCM_24K, MULAW_8K])
@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_frame_by_frame_sounds_as_in_one_piece(rate_hz: int, target: AudioFormat) -> None:
    audio = tone(rate_hz, 700, 0.5)
    one, many = CallerAudioConverter(rate_hz), CallerAudioConverter(rate_hz)
    pieces = b"".join(many.convert(1, frame, target) for frame in frames(audio, rate_hz))
    assert pieces == one.convert(1, audio, target)
    assert target.duration_s(len(pieces)) == pytest.approx(0.5, abs=0.001)


def test_a_new_turn_holds_nothing_of_the_one_before() -> None:
    converter = CallerAudioConverter(16000)
    converter.convert(1, tone(16000, 700, 0.1), PCM_8K)
    assert not decode(converter.convert(2, bytes(640), PCM_8K), "linear16").any()


def test_a_provider_that_changes_its_format_gets_the_new_one() -> None:
    converter = CallerAudioConverter(16000)
    assert len(converter.convert(1, bytes(640), PCM_8K)) == 320
    assert len(converter.convert(1, bytes(640), PCM_24K)) == 960
    assert len(converter.convert(1, bytes(640), PCM_16K)) == 640
