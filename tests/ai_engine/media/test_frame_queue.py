"""The queue of frames that come by TCP: scenarios as data, then minutes of simulated streams on virtual time.

A scenario is one character per tick: how many frames have come since the tick before (`F`: a hundred, after a freeze).
What is handed out: s speech, c made up, _ silence.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.media.frame_queue import FrameQueue, Payload
from ai_engine.media.transport import FrameKind

MARK = {FrameKind.SPEECH: "s", FrameKind.CONCEALED: "c", FrameKind.SILENCE: "_"}
FRAME_BYTES = 320
LOUD, QUIET = b"L", b"q"


def frame(number: int, marker: bytes = LOUD) -> bytes:
    return marker + number.to_bytes(4, "big") + bytes(FRAME_BYTES - 5)


def number_of(payload: Payload) -> int:
    return int.from_bytes(payload[1:5], "big")


def is_quiet(payload: Payload) -> bool:
    return payload[:1] == QUIET


class Run:
    """One stream; `delays_ms` are from a frame's end at the sender to its handing out."""

    def __init__(self, *, marker: Callable[[int], bytes] = lambda number: LOUD) -> None:
        self.queue = FrameQueue(FRAME_BYTES, is_quiet=is_quiet)
        self.marker = marker
        self.sent, self.kinds, self.numbers = 0, "", list[int]()
        self.delays_ms = list[float]()
        self.most_waiting = 0

    def come(self, count: int) -> None:
        for _ in range(count):
            self.queue.put(frame(self.sent, self.marker(self.sent)))
            self.sent += 1

    def tick(self, now_ms: float = 0.0) -> None:
        payload, kind = self.queue.get()
        assert (payload is not None) == (kind is FrameKind.SPEECH)
        self.kinds += MARK[kind]
        if payload is not None:
            assert len(payload) == FRAME_BYTES
            self.numbers.append(number_of(payload))
            self.delays_ms.append(now_ms - 20 * number_of(payload))

    def scenario(self, arrivals: str) -> str:
        for step in arrivals.replace(" ", ""):
            self.come(100 if step == "F" else int(step))
            self.tick()
        return self.kinds

    def simulate(self, arrivals_ms: list[float], *, seconds: float, frozen_ms: tuple[float, float] = (0, 0)) -> None:
        """Frame n comes at `arrivals_ms[n]`; ticks every 20 ms, none while we are `frozen_ms`."""
        pending = sorted(arrivals_ms)
        for tick in range(int(seconds * 50)):
            now_ms = 20.0 * tick
            if frozen_ms[0] <= now_ms < frozen_ms[1]:
                continue
            come = 0
            while self.sent + come < len(pending) and pending[self.sent + come] <= now_ms:
                come += 1
            self.come(come)
            self.tick(now_ms)


@pytest.mark.parametrize(
    ("arrivals", "handed_out"),
    [
        pytest.param("11111", "sssss", id="one a tick"),
        pytest.param("00000", "_____", id="nothing ever came"),
        pytest.param("0011100000", "__ssscc___", id="a talkspurt that ends"),
        pytest.param("111021111", "ssscsssss", id="one comes late: made up once, then a frame deeper"),
        pytest.param("1110201111", "ssscssssss", id="late again: the frame in store bridges it"),
        pytest.param("20202020", "ssssssss", id="two every other tick"),
        pytest.param("3003003000", "sssssssssc", id="three every third tick"),
        pytest.param("1101101111", "sscsscssss", id="lost on the way to Asterisk: made up, no delay grows"),
    ],
)
def test_what_a_tick_hands_out(arrivals: str, handed_out: str) -> None:
    run = Run()
    assert run.scenario(arrivals) == handed_out
    assert run.numbers == list(range(len(run.numbers)))


def test_a_talkspurt_begins_as_deep_as_the_one_before_it_had_to_be() -> None:
    run = Run()
    run.scenario("1" * 50 + "0003" + "1" * 150)  # two frames are needed
    assert run.queue.delay_ms == pytest.approx(40, abs=8)
    assert run.scenario("00000 11111 00")[-12:] == "sscc_ __sss ss".replace(" ", "")
    assert run.queue.stats.held == 2


def test_a_sudden_backlog_beyond_the_most_is_dropped_at_once() -> None:
    run = Run()
    run.scenario("11111 F")
    assert run.numbers[-1] == 104
    assert run.queue.stats.dropped == 99
    run.scenario("1" * 20)
    assert run.numbers[-20:] == list(range(105, 125))


def test_a_backlog_within_the_most_goes_at_quiet_frames_alone() -> None:
    run = Run(marker=lambda number: QUIET if number % 10 == 0 else LOUD)
    run.scenario("1" * 20 + "9" + "1" * 600)
    assert run.queue.delay_ms < 5
    assert set(range(run.sent)) - set(run.numbers) <= set(range(0, run.sent, 10))


def test_where_nobody_is_ever_quiet_a_backlog_goes_all_the_same() -> None:
    run = Run()
    run.scenario("1" * 20 + "9" + "1" * 3000)
    assert run.queue.delay_ms < 5
    assert run.queue.stats.dropped == 8


def test_a_backlog_waits_for_a_quiet_frame_as_long_as_the_one_before_it_did() -> None:
    """One that went by itself, because the stream paused, has not used up the patience for the next."""
    run = Run()
    run.scenario("6" + "1" * 65)
    assert run.queue.stats.dropped == 0
    run.scenario("0" * 12 + "6" + "1" * 70)
    assert run.queue.stats.dropped == 0
    run.scenario("1" * 30)
    assert run.queue.stats.dropped > 0


def test_without_need_nothing_is_left_out() -> None:
    run = Run(marker=lambda number: QUIET)
    run.scenario("1" * 3000)
    run.scenario("20" * 500)
    assert run.queue.stats.dropped == run.queue.stats.concealed == 0


def test_the_clock_of_the_sender_runs_fast_by_200_ppm() -> None:
    run = Run(marker=lambda number: QUIET if number % 7 == 0 else LOUD)
    arrivals = [5 + 20 * n * (1 - 200e-6) for n in range(60_012)]
    run.simulate(arrivals, seconds=1200)
    assert "c" not in run.kinds
    assert 11 <= run.queue.stats.dropped <= 12  # 240 ms in twenty minutes
    assert run.queue.delay_ms < 25


def test_the_clock_of_the_sender_runs_slow_by_200_ppm() -> None:
    run = Run(marker=lambda number: QUIET)
    arrivals = [5 + 20 * n * (1 + 200e-6) for n in range(60_000)]
    run.simulate(arrivals, seconds=1200)
    assert run.kinds.count("c") <= 12
    assert run.queue.stats.dropped <= 1
    assert run.queue.delay_ms < 5


@pytest.mark.parametrize("whose", ["the network's", "ours"])
def test_a_freeze_of_two_seconds_is_over_when_it_ends(whose: str) -> None:
    arrivals = [5 + 20.0 * n for n in range(1000)]
    run = Run()
    if whose == "ours":
        run.simulate(arrivals, seconds=20, frozen_ms=(4000, 6000))
    else:
        run.simulate([6000.0 if 4000 <= at < 6000 else at for at in arrivals], seconds=20)
    after = [delay for delay, number in zip(run.delays_ms, run.numbers, strict=True) if 20 * number >= 6100]
    assert max(after) <= 40
    assert run.queue.stats.dropped <= 100


@pytest.mark.parametrize("jitter_ms", [5, 20, 60])
def test_jitter_costs_a_little_delay_and_hardly_a_frame(jitter_ms: int) -> None:
    rng = random.Random(jitter_ms)
    at, arrivals = 0.0, []
    for n in range(6000):  # TCP keeps the order: one that is late holds the next ones up
        at = max(at, 20 * n + rng.uniform(0, jitter_ms))
        arrivals.append(at)
    run = Run(marker=lambda number: QUIET if number % 5 == 0 else LOUD)
    run.simulate(arrivals, seconds=120)
    assert run.kinds.count("c") <= 6000 * 0.01
    assert run.queue.stats.dropped <= 6000 * 0.01
    assert sum(run.delays_ms[500:]) / len(run.delays_ms[500:]) <= jitter_ms + 40


def test_what_is_left_of_a_frame_never_begins_the_next_talkspurt() -> None:
    queue = FrameQueue(FRAME_BYTES)
    queue.put(frame(0) + b"\x01" * 100)
    assert queue.get()[0] == frame(0)
    for _ in range(5):
        queue.get()
    queue.put(frame(1))
    assert queue.get()[0] == frame(1)


@given(st.lists(st.lists(st.integers(0, 1500), max_size=4), max_size=60))
def test_pieces_of_any_length_come_out_whole_and_in_order(ticks: list[list[int]]) -> None:
    queue, position = FrameQueue(4), 0
    out = b""
    for pieces in ticks:
        for size in pieces:
            queue.put(bytes((position + n) % 251 for n in range(2 * size)))
            position += 2 * size
        payload, _ = queue.get()
        assert payload is None or len(payload) == 4
        out += payload or b""
    starts = [out[n] for n in range(0, len(out), 4)]
    for start, n in zip(starts, range(0, len(out), 4), strict=True):
        assert list(out[n : n + 4]) == [(start + k) % 251 for k in range(4)]


@given(st.lists(st.integers(0, 30), max_size=300), st.integers(0, 3))
def test_whatever_comes_order_is_kept_and_no_backlog_stays(arrivals: list[int], quiet_every: int) -> None:
    run = Run(marker=lambda number: QUIET if quiet_every and number % quiet_every == 0 else LOUD)
    for count in arrivals:
        run.come(count)
        run.tick()
        waiting = run.queue.stats.received - run.queue.stats.dropped - len(run.numbers)
        assert 0 <= waiting <= 10
    assert run.numbers == sorted(set(run.numbers))
    run.scenario("1" * 1500)
    assert run.sent - 1 - run.numbers[-1] <= 1
