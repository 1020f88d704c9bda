"""The echo guard on a line of 16 kHz: it finds an echo, takes it out, and leaves a line without one alone."""

from __future__ import annotations

import numpy as np
import pytest

from ai_engine.media.echo import EchoGuard, WebRtcCanceller
from ai_engine.media.transport import Frame, FrameKind
from voice_wire.audio import PCM_16K, Pcm

pytest.importorskip("livekit.rtc.apm", reason="needs the extra `echo`")

RATE_HZ = 16000
FRAME = 320


def voice(seconds: float, seed: int) -> Pcm:
    """Harmonics of a wavering pitch up to 3 kHz, hiss up to 8 kHz, four syllables a second."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch = rng.uniform(90, 180) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.4, 0.9) * at))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    tone = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 18))
    sound = (tone + 0.4 * rng.normal(0, 1, at.size)) * np.clip(np.sin(2 * np.pi * 4 * at + seed) + 0.5, 0, 1.2) ** 2
    return np.asarray(4000 * sound / np.sqrt(np.mean(sound**2)), np.float64).clip(-32000, 32000).astype(np.int16)


def echo_of(far: Pcm, *, loss_db: float, delay_ms: float) -> Pcm:
    delay = round(delay_ms * RATE_HZ / 1000)
    room = np.zeros(480)
    room[[0, 75, 181, 402]] = [0.9, -0.3, 0.25, 0.1]
    late = np.concatenate((np.zeros(delay), far))[: far.size]
    return np.asarray(np.convolve(late, room)[: far.size] * 10 ** (-loss_db / 20), np.int16)


def through(guard: EchoGuard, near: Pcm, far: Pcm) -> Pcm:
    out = []
    for start in range(0, near.size - FRAME + 1, FRAME):
        frame = Frame(near[start : start + FRAME].tobytes(), FrameKind.SPEECH)
        out.append(np.frombuffer(guard.hear(frame).pcm, np.int16))
        sent = far[start : start + FRAME]
        guard.sent(sent.tobytes() if sent.any() else None)
    return np.concatenate(out)


def level_dbfs(sound: Pcm) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(sound.astype(float) ** 2)) / 32768 + 1e-9))


@pytest.mark.parametrize(("loss_db", "delay_ms"), [(6, 40), (20, 140), (20, 320)])
def test_an_echo_is_found_and_taken_out(loss_db: float, delay_ms: float) -> None:
    far = voice(6, seed=1)
    near = echo_of(far, loss_db=loss_db, delay_ms=delay_ms)
    guard = EchoGuard(WebRtcCanceller(RATE_HZ), PCM_16K)
    out = through(guard, near, far)
    assert guard.engaged
    late = slice(2 * RATE_HZ, None)
    assert level_dbfs(out[late]) < level_dbfs(near[late]) - 20


def test_a_line_without_echo_is_left_as_it_is() -> None:
    far, caller = voice(8, seed=1), voice(8, seed=5)
    guard = EchoGuard(WebRtcCanceller(RATE_HZ), PCM_16K)
    assert np.array_equal(through(guard, caller, far), caller)
    assert not guard.engaged
