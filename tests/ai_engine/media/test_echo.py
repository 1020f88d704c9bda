"""The agent's echo taken out of the caller's sound: the real canceller, on virtual time, with made-up speech.

The speech is shaped noise in syllables, from seeds; voice activity goes by level and words by length, so that nothing
here depends on a model. `benchmarks/echo_map.py` measures the same calls with real voices and networks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from ai_engine.media.echo import (
    HANGOVER_S,
    EchoGuard,
    EchoUnavailable,
    WebRtcCanceller,
    guard_for,
    guards_for,
    resemblance,
)
from ai_engine.media.transport import Frame, FrameKind
from benchmarks.echo_calls import Cell, EchoCall, EchoLine, Line, SteppedDetector, Stock, Tally
from voice_wire.audio import MULAW_8K, PCM_8K, PCM_16K, Pcm, encode_mulaw

RATE_HZ = 8000
FRAME = 160
HANGOVER_FRAMES = round(HANGOVER_S / 0.02)
LOUD = b"\x10\x10" * FRAME


def speech(seconds: float, seed: int, dbfs: float = -18.0) -> Pcm:
    """A voice of sorts: harmonics of a wavering pitch and hiss, four syllables a second."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE_HZ)
    at = np.arange(n) / RATE_HZ
    pitch = rng.uniform(90, 180) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.4, 0.9) * at))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    tone = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 15))
    hiss = np.convolve(rng.normal(0, 1, n), [0.4, 0.3, 0.2, 0.1], "same")
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(3.5, 4.5) * at + rng.uniform(0, 3)) + 0.5, 0, 1.2) ** 2
    sound = (tone + 0.6 * hiss) * syllables
    sound *= 32768 * 10 ** (dbfs / 20) / np.sqrt(np.mean(sound**2))
    return np.clip(sound, -32000, 32000).astype(np.int16)


def level_dbfs(sound: Pcm) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(sound.astype(np.float64) ** 2)) / 32768 + 1e-9))


def echo_of(far: Pcm, *, loss_db: float, delay_ms: float) -> Pcm:
    delay = round(delay_ms * RATE_HZ / 1000)
    late = np.concatenate((np.zeros(delay), far))[: far.size]
    room = np.zeros(240)
    room[[0, 37, 90, 201]] = [0.9, -0.3, 0.25, 0.1]
    return np.asarray(np.convolve(late, room)[: far.size] * 10 ** (-loss_db / 20), np.int16)


def through(guard: EchoGuard, near: Pcm, sent: Callable[[int], bytes | None]) -> Pcm:
    """`near` frame by frame, with what was sent in each tick."""
    out = []
    for n in range(near.size // FRAME):
        heard = guard.hear(Frame(near[n * FRAME : (n + 1) * FRAME].tobytes(), FrameKind.SPEECH))
        out.append(np.frombuffer(heard.pcm, np.int16))
        guard.sent(sent(n))
    return np.concatenate(out)


def frames_of(far: Pcm) -> Callable[[int], bytes | None]:
    """Frame `n` of mu-law; None where `far` is silent, as a playout has it."""

    def sent(n: int) -> bytes | None:
        piece = far[n * FRAME : (n + 1) * FRAME]
        return encode_mulaw(piece) if piece.any() else None

    return sent


# --- the canceller ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss_db", "delay_ms"), [(6, 20), (6, 300), (20, 20), (20, 120), (20, 300)])
def test_an_echo_is_gone_whatever_its_delay(loss_db: float, delay_ms: float) -> None:
    far = speech(6, seed=1)
    near = echo_of(far, loss_db=loss_db, delay_ms=delay_ms + 20)
    out = through(EchoGuard(WebRtcCanceller(RATE_HZ), MULAW_8K), near, frames_of(far))
    second = slice(RATE_HZ, None)
    assert level_dbfs(out[second]) < level_dbfs(near[second]) - 20


def test_a_caller_who_talks_over_the_agent_gets_through() -> None:
    far = speech(8, seed=1)
    caller = np.zeros_like(far)
    caller[5 * RATE_HZ : 7 * RATE_HZ] = speech(2, seed=9)
    near = echo_of(far, loss_db=20, delay_ms=200) + caller
    out = through(EchoGuard(WebRtcCanceller(RATE_HZ), MULAW_8K), near, frames_of(far))
    words, before = slice(5 * RATE_HZ, 7 * RATE_HZ), slice(3 * RATE_HZ, 5 * RATE_HZ)
    assert level_dbfs(out[words]) > level_dbfs(caller[words]) - 6
    assert level_dbfs(out[before]) < level_dbfs(out[words]) - 25


def test_a_line_without_echo_is_left_as_it_is() -> None:
    far, caller = speech(8, seed=1), speech(8, seed=5)
    guard = EchoGuard(WebRtcCanceller(RATE_HZ), MULAW_8K)
    assert np.array_equal(through(guard, caller, frames_of(far)), caller)
    assert not guard.engaged


@pytest.mark.parametrize("loss_db", [6, 20, 26])
def test_an_echo_is_found_within_a_second(loss_db: float) -> None:
    far = speech(2, seed=3)
    guard = EchoGuard(WebRtcCanceller(RATE_HZ), MULAW_8K)
    through(guard, echo_of(far, loss_db=loss_db, delay_ms=150), frames_of(far))
    assert guard.engaged


def test_where_the_echo_ends_the_canceller_is_left() -> None:
    far, caller = speech(30, seed=1), speech(30, seed=5)
    caller[: 4 * RATE_HZ] = echo_of(far, loss_db=10, delay_ms=150)[: 4 * RATE_HZ]
    guard = EchoGuard(WebRtcCanceller(RATE_HZ), MULAW_8K)
    out = through(guard, caller, frames_of(far))
    assert not guard.engaged
    assert np.array_equal(out[-RATE_HZ:], caller[-RATE_HZ:])


def test_resemblance_knows_a_part_of_what_was_sent() -> None:
    far, other = speech(0.76, seed=1), speech(0.26, seed=5)
    part = (far[1000 : 1000 + other.size] // 20).tobytes()
    assert resemblance(part, far.tobytes()) > 0.9
    assert resemblance(other.tobytes(), far.tobytes()) < 0.33
    assert resemblance(bytes(2 * other.size), far.tobytes()) == 0
    assert resemblance(other.tobytes(), bytes(2 * far.size)) < 0.1


@pytest.mark.parametrize("silent_s", [0.1, 0.5, 2.0])
def test_after_a_pause_of_the_agent_its_echo_is_known_still(silent_s: float) -> None:
    """Hold, pause and flush: nothing is sent for a while, and then other sound."""
    gap = np.zeros(round(silent_s * RATE_HZ), np.int16)
    far = np.concatenate((speech(4, seed=1), gap, speech(3, seed=2)))
    near = echo_of(far, loss_db=20, delay_ms=300)
    out = through(EchoGuard(WebRtcCanceller(RATE_HZ), MULAW_8K), near, frames_of(far))
    again = slice(4 * RATE_HZ + gap.size, None)
    assert level_dbfs(out[again]) < level_dbfs(near[again]) - 20


def test_clocks_that_drift_apart_do_no_harm() -> None:
    far = speech(12, seed=1)
    drifting = np.interp(np.arange(far.size) * (1 - 2e-4), np.arange(far.size), far)  # 200 ppm: 2.4 ms in 12 s
    near = echo_of(np.asarray(drifting, np.int16), loss_db=20, delay_ms=120)
    out = through(EchoGuard(WebRtcCanceller(RATE_HZ), MULAW_8K), near, frames_of(far))
    last = slice(6 * RATE_HZ, None)
    assert level_dbfs(out[last]) < level_dbfs(near[last]) - 20


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_lines_of_either_rate(rate_hz: int) -> None:
    canceller = WebRtcCanceller(rate_hz)
    frame = b"\x01\x00" * (rate_hz // 50)
    assert len(canceller.process(frame, frame)) == len(frame)


# --- the guard --------------------------------------------------------------------------------------------------------


class Notes:
    """A canceller that notes what it is given, and answers with silence."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.given: list[tuple[bytes, bytes]] = []
        self._fails_at = fails_at

    def process(self, near: bytes, far: bytes) -> bytes:
        self.given.append((near, far))
        if len(self.given) == self._fails_at:
            raise RuntimeError("as a native library fails")
        return bytes(len(near))


def near(n: int) -> Frame:
    return Frame(bytes([n % 256, 0]) * FRAME, FrameKind.SPEECH)


def test_it_rests_until_the_agent_speaks() -> None:
    notes = Notes()
    guard = EchoGuard(notes, PCM_8K, always=True)
    for n in range(10):
        frame = near(n)
        assert guard.hear(frame) is frame
        guard.sent(None)
    assert not notes.given
    assert not guard.working


def test_each_frame_meets_what_was_sent_in_the_tick_before() -> None:
    notes = Notes()
    guard = EchoGuard(notes, PCM_8K, always=True)
    guard.hear(near(1))
    guard.sent(LOUD)
    assert guard.hear(near(2)).pcm == bytes(2 * FRAME)
    guard.sent(None)
    guard.hear(near(3))
    # Coming back, it first flushes out the frame before; then each with its own, and silence for silence.
    assert notes.given == [
        (near(1).pcm, bytes(2 * FRAME)),
        (near(2).pcm, LOUD),
        (near(3).pcm, bytes(2 * FRAME)),
    ]


def test_it_works_on_while_an_echo_may_come_and_leaves_in_a_pause() -> None:
    guard = EchoGuard(Notes(), PCM_8K, always=True)
    guard.hear(near(1))
    guard.sent(LOUD)
    loud = Frame(b"\x00\x20" * FRAME, FrameKind.SPEECH)
    for _ in range(HANGOVER_FRAMES + 5):
        guard.hear(loud)
        guard.sent(None)
    assert guard.working  # the caller is in the middle of a word
    guard.hear(near(1))
    assert not guard.working


def test_a_caller_who_never_pauses_does_not_keep_it_working() -> None:
    guard = EchoGuard(Notes(), PCM_8K, always=True)
    guard.sent(LOUD)
    loud = Frame(b"\x00\x20" * FRAME, FrameKind.SPEECH)
    for _ in range(400):
        guard.hear(loud)
        guard.sent(None)
    assert not guard.working


def test_a_canceller_that_fails_is_given_up() -> None:
    guard = EchoGuard(Notes(fails_at=3), PCM_8K, always=True)
    for n in range(6):
        frame = near(n)
        heard = guard.hear(frame)
        guard.sent(LOUD)
        assert guard.failed == (n >= 2)
        if guard.failed:
            assert heard is frame


def test_a_frame_of_another_length_passes() -> None:
    guard = EchoGuard(Notes(), PCM_8K, always=True)
    guard.sent(LOUD)
    short = Frame(b"\x01\x00" * 80, FrameKind.SPEECH)
    assert guard.hear(short) is short


# --- which canceller --------------------------------------------------------------------------------------------------


def test_what_the_settings_name() -> None:
    line = EchoLine(Cell(20, 60), np.random.default_rng(0))
    assert guards_for("off") is None
    for choice in ("auto", "always"):
        make = guards_for(choice)
        assert make is not None
        guard = make(line)
        assert guard is not None
        assert guard.engaged == (choice == "always")


def test_without_the_library_auto_does_without_and_always_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livekit.rtc.apm", None)
    assert guards_for("auto") is None
    with pytest.raises(EchoUnavailable, match=r"pip install 'parley\[echo\]'"):
        guards_for("always")


def test_a_library_that_does_not_run_here_is_as_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError("wrong ELF class")

    monkeypatch.setattr("livekit.rtc.apm.AudioProcessingModule", refuse)
    assert guards_for("auto") is None
    with pytest.raises(EchoUnavailable, match="wrong ELF class"):
        guards_for("always")


def test_a_line_that_there_is_no_canceller_for_has_no_guard() -> None:
    line = EchoLine(Cell(20, 60), np.random.default_rng(0))
    assert guard_for(line, WebRtcCanceller) is not None
    assert guard_for(line, lambda rate_hz: WebRtcCanceller("no rate")) is None  # type: ignore[arg-type]
    line.format = PCM_16K  # and the caller's frames are at 8 kHz
    assert guard_for(line, WebRtcCanceller) is None


# --- whole calls ------------------------------------------------------------------------------------------------------


class LevelDetector:
    """In place of the voice-activity network: what is loud is speech."""

    def __init__(self) -> None:
        self._on_probability: Callable[[float, float], None] | None = None
        self._kept = b""
        self._at = 0.0

    def open(self, call_key: str, on_probability: Callable[[float, float], None], rate_hz: int = RATE_HZ) -> Any:
        self._on_probability = on_probability
        return self

    def push(self, pcm: bytes, at: float) -> None:
        self._kept, self._at = self._kept + pcm, at

    def close(self) -> None:
        self._on_probability = None

    def step(self) -> None:
        while len(self._kept) >= 512 and self._on_probability is not None:
            window, self._kept = np.frombuffer(self._kept[:512], np.int16), self._kept[512:]
            at = self._at - len(self._kept) / 2 / RATE_HZ
            self._on_probability(0.95 if level_dbfs(window) > -50 else 0.02, at)


def by_length(pcm: Pcm) -> tuple[str, float | None]:
    """Words for what is long and loud enough to be some."""
    return ("please let me say something", 0.9) if level_dbfs(pcm) > -45 else ("", None)


STOCK = Stock(
    answers=[Line("We are open from nine to five and on Saturday until noon.", speech(5, seed)) for seed in (1, 2)],
    questions=[Line("What color is the door?", 2.0 * speech(1.2, 3))],
    interruptions=[Line("Please let me say something.", 2.0 * speech(2.0, seed)) for seed in (4, 5)],
)


def talk(cell: Cell, make_canceller: Callable[[int], Any] | None = WebRtcCanceller, calls: int = 1) -> Tally:
    """Calls of six turns of the agent each, every second one spoken into."""
    tally = Tally()
    for number in range(calls):
        detector = LevelDetector()
        call = EchoCall(
            cell, STOCK, tally, seed=[number], detector=cast("SteppedDetector", detector), hear=by_length,
            make_canceller=make_canceller,
        )  # fmt: skip
        while not call.over:
            call.tick()
            detector.step()
    return tally


@pytest.mark.parametrize("delay_ms", [60, 200, 300])
def test_the_agent_does_not_interrupt_itself_and_the_caller_can(delay_ms: float) -> None:
    tally = talk(Cell(20, delay_ms))
    assert (tally.self_interruptions, tally.missed) == (0, 0)
    assert tally.turns >= 6
    assert tally.interrupted >= 3


def test_the_agent_does_not_interrupt_itself_even_where_its_echo_is_loud() -> None:
    assert talk(Cell(6, 200)).self_interruptions == 0


def test_a_delay_that_moves_by_a_packet_is_followed() -> None:
    tally = talk(Cell(20, 120, wanders=True))
    assert (tally.self_interruptions, tally.missed) == (0, 0)


@pytest.mark.parametrize("delay_ms", [60, 300])
def test_without_a_canceller_the_level_tells_an_echo_at_20_db(delay_ms: float) -> None:
    tally = talk(Cell(20, delay_ms), make_canceller=None)
    assert (tally.self_interruptions, tally.missed) == (0, 0)


def test_a_call_outlives_its_canceller() -> None:
    tally = talk(Cell(20, 200), make_canceller=lambda rate_hz: Notes(fails_at=50))
    assert tally.turns >= 6
    assert tally.self_interruptions == 0
