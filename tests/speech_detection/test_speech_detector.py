"""The voice-activity network on real weights: speech, noise and silence, and many calls in one batch."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import numpy as np
import numpy.typing as npt
import pytest

from speech_detection.detector import SpeechDetector, SpeechDetectorError
from voice_wire.audio import decode_mulaw, encode_mulaw, resample

MODELS = Path(__file__).parents[2] / "models"
WEIGHTS = MODELS / "vad" / "silero_vad.onnx"
VOICE = MODELS / "tts" / "en_US-joe-medium" / "en_US-joe-medium.onnx"

needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"{WEIGHTS} is not installed")
pytestmark = pytest.mark.models

Pcm = npt.NDArray[np.int16]
Heard = list[tuple[float, float]]


class Post:
    """Stands for `MediaLoop.post`: one thread runs what is posted, in order."""

    def __init__(self) -> None:
        self._queue: Queue[Callable[[], object] | None] = Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.batches = 0

    def __call__(self, function: Callable[..., object], *args: object) -> None:
        self.batches += bool(args)
        self._queue.put(lambda: function(*args))

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()

    def stop(self) -> None:
        self._queue.put(None)
        self._thread.join()


@pytest.fixture
def post() -> Iterator[Post]:
    post = Post()
    yield post
    post.stop()


@pytest.fixture
def detector(post: Post) -> Iterator[SpeechDetector]:
    detector = SpeechDetector(WEIGHTS, post, batch_capacity=2)
    detector.start()
    yield detector
    detector.stop()


@pytest.fixture(scope="module")
def spoken() -> Pcm:
    """A sentence at 22.05 kHz."""
    if not VOICE.is_file():
        pytest.skip(f"no speech to be had: {VOICE} is not installed")
    raw = subprocess.run(
        [sys.executable, "-m", "piper", "-m", str(VOICE), "--output-raw"],
        input=b"Hello, I would like to make an appointment for Tuesday morning, please.",
        capture_output=True,
        check=True,
    ).stdout
    return np.frombuffer(raw, np.int16)


def on_the_line(spoken: Pcm, rate_hz: int) -> Pcm:
    """As a line of that rate carries it, half a second of silence on either side, whole frames."""
    quiet = np.zeros(rate_hz // 2, np.int16)
    sentence = resample(spoken, 22050, rate_hz)
    pcm = np.concatenate((quiet, sentence[: len(sentence) // (rate_hz // 50) * (rate_hz // 50)], quiet))
    return decode_mulaw(encode_mulaw(pcm)) if rate_hz == 8000 else pcm


@pytest.fixture(scope="module")
def speech(spoken: Pcm) -> Pcm:
    """As a telephone hears it."""
    return on_the_line(spoken, 8000)


@pytest.fixture(scope="module")
def wideband(spoken: Pcm) -> Pcm:
    """The same sentence on a line of 16 kHz."""
    return on_the_line(spoken, 16000)


def frames(pcm: Pcm, rate_hz: int = 8000) -> list[bytes]:
    size = rate_hz // 50
    return [pcm[i : i + size].tobytes() for i in range(0, len(pcm) - size + 1, size)]


def judge(detector: SpeechDetector, calls: list[Pcm], rates_hz: list[int] | None = None) -> list[Heard]:
    """Push the calls side by side, a frame of each at a time, and wait for all windows."""
    rates_hz = rates_hz or [8000] * len(calls)
    heard: list[Heard] = [[] for _ in calls]
    streams = [
        detector.open(f"call-{n}", lambda p, at, own=own: own.append((p, at)), rate_hz=rate_hz)  # type: ignore[misc]
        for n, (own, rate_hz) in enumerate(zip(heard, rates_hz, strict=True))
    ]
    pushed = [frames(pcm, rate_hz) for pcm, rate_hz in zip(calls, rates_hz, strict=True)]
    expected = [len(parts) * 20 // 32 for parts in pushed]
    for n, parts in enumerate(zip(*pushed, strict=True)):
        for stream, part in zip(streams, parts, strict=True):
            stream.push(part, (n + 1) * 0.020)
        while n * 20 // 32 > len(heard[-1]) + 5:  # no faster than it judges
            time.sleep(0.0005)
    deadline = time.monotonic() + 60
    while [len(own) for own in heard] != expected and time.monotonic() < deadline:
        time.sleep(0.005)
    for stream in streams:
        stream.close()
    assert [len(own) for own in heard] == expected
    return heard


@needs_weights
def test_speech_is_told_from_silence_and_noise(detector: SpeechDetector, speech: Pcm) -> None:
    rng = np.random.default_rng(3)
    silence = np.zeros_like(speech)
    noise = rng.normal(0, 300, speech.size).astype(np.int16)
    spoken, nothing, hiss = judge(detector, [speech, silence, noise])
    middle = [p for p, at in spoken if 1.0 < at < speech.size / 8000 - 1.0]
    assert np.mean([p > 0.5 for p in middle]) > 0.8
    assert max(p for p, at in spoken if at < 0.45) < 0.2
    assert max(p for p, _ in nothing) < 0.2
    assert max(p for p, _ in hiss) < 0.5


@needs_weights
def test_windows_are_named_by_when_they_ended(detector: SpeechDetector, speech: Pcm) -> None:
    (heard,) = judge(detector, [speech])
    assert [at for _, at in heard] == pytest.approx([0.032 * (n + 1) for n in range(len(heard))])


@needs_weights
def test_a_batch_gives_each_call_what_it_would_get_alone(detector: SpeechDetector, speech: Pcm) -> None:
    others = [np.roll(speech, 1600 * n) for n in range(1, 7)]  # more calls than the arrays had room for
    (alone,) = judge(detector, [speech])
    together = judge(detector, [others[0], speech, *others[1:]])[1]
    assert [p for p, _ in together] == pytest.approx([p for p, _ in alone], abs=0.01)


@needs_weights
def test_wideband_speech_is_told_from_silence_and_noise(detector: SpeechDetector, wideband: Pcm) -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 300, wideband.size).astype(np.int16)
    spoken, nothing, hiss = judge(detector, [wideband, np.zeros_like(wideband), noise], [16000] * 3)
    middle = [p for p, at in spoken if 1.0 < at < wideband.size / 16000 - 1.0]
    assert np.mean([p > 0.5 for p in middle]) > 0.8
    assert max(p for p, at in spoken if at < 0.45) < 0.2
    assert max(p for p, _ in nothing) < 0.2
    assert max(p for p, _ in hiss) < 0.5


@needs_weights
def test_lines_of_both_rates_hear_the_same_sentence_side_by_side(
    detector: SpeechDetector, speech: Pcm, wideband: Pcm
) -> None:
    (narrow_alone,) = judge(detector, [speech])
    (wide_alone,) = judge(detector, [wideband], [16000])
    narrow, wide, other = judge(detector, [speech, wideband, np.roll(speech, 1600)], [8000, 16000, 8000])
    assert [p for p, _ in narrow] == pytest.approx([p for p, _ in narrow_alone], abs=0.01)
    assert [p for p, _ in wide] == pytest.approx([p for p, _ in wide_alone], abs=0.01)
    assert [at for _, at in wide] == pytest.approx([0.032 * (n + 1) for n in range(len(wide))])
    assert len(other) == len(narrow)
    onset = next(at for p, at in narrow if p > 0.5)
    assert next(at for p, at in wide if p > 0.5) == pytest.approx(onset, abs=0.1)


@needs_weights
def test_a_rate_that_the_network_does_not_know_is_refused(detector: SpeechDetector) -> None:
    with pytest.raises(ValueError, match="8000 and 16000 Hz, not at 48000"):
        detector.open("call", lambda p, at: None, rate_hz=48000)


@needs_weights
def test_an_onset_after_long_silence_is_heard_as_soon(detector: SpeechDetector, speech: Pcm) -> None:
    shift_s = 9.6  # a whole number of windows and frames
    late = np.concatenate((np.zeros(int(8000 * shift_s), np.int16), speech))
    (soon,) = judge(detector, [speech])
    (after,) = judge(detector, [late])
    first = next(at for p, at in soon if p > 0.5)
    first_after = next(at for p, at in after if p > 0.5)
    assert first_after - shift_s <= first + 0.033


@needs_weights
def test_nothing_is_delivered_after_close(detector: SpeechDetector, speech: Pcm) -> None:
    heard: Heard = []
    stream = detector.open("call", lambda p, at: heard.append((p, at)))
    for n, part in enumerate(frames(speech)[:40]):
        stream.push(part, n * 0.02)
    stream.close()
    stream.close()
    stream.push(b"\x00" * 320, 1.0)
    n = len(heard)
    time.sleep(0.1)
    assert len(heard) == n


@needs_weights
def test_frames_of_one_tick_share_an_inference(detector: SpeechDetector, post: Post) -> None:
    streams = [detector.open(str(n), lambda p, at: None) for n in range(50)]
    loud = (np.sin(np.arange(160)) * 5000).astype(np.int16).tobytes()
    held = threading.Event()
    post(held.wait)  # the media loop is in its tick: what wakes the detector comes after it
    for stream in streams:
        stream.push(loud, 0.02)
    held.set()
    deadline = time.monotonic() + 60
    while (detector._wake_posted or detector._inbox) and time.monotonic() < deadline:
        time.sleep(0.005)
    before = post.batches  # 20 ms are no window yet
    held = threading.Event()
    post(held.wait)
    for stream in streams:
        stream.push(loud, 0.04)
    held.set()
    while post.batches == before and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)  # a second one would come now
    assert post.batches - before == 1


def test_missing_weights_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    with pytest.raises(
        SpeechDetectorError, match=r"silero\.onnx is missing.*python -m local_ai_server\.embedded install"
    ):
        SpeechDetector(tmp_path / "silero.onnx", lambda *args: None)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "silero.onnx"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(SpeechDetectorError, match="cannot be read; install it again"):
        SpeechDetector(path, lambda *args: None)
