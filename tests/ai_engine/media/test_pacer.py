"""The pacer: an absolute schedule for all sessions, kept whatever one of them does.

The schedule on virtual time; what concerns the thread on a real one, without a word about how fast it is.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ai_engine.media.pacer import FRAME_S, LATE_S, MOST_BEHIND_FRAMES, SLOTS, MediaLoop

PATIENCE_S = 30.0


class Recorder:
    """A session that notes its ticks."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.errors: list[Exception] = []
        self.thread = ""
        self.on_tick: Callable[[], None] = lambda: None

    def tick(self, now: float) -> None:
        self.at.append(now)
        self.thread = threading.current_thread().name
        self.on_tick()

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    def until(self, ticks: int) -> None:
        """Wait until there were so many in all."""
        until(lambda: len(self.at) >= ticks)


class Broken(Recorder):
    def tick(self, now: float) -> None:
        super().tick(now)
        raise ValueError("a bug")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)


# --- the schedule, on virtual time ------------------------------------------------------------------------------------


class Timer:
    """Of `VirtualLoop`."""

    def __init__(self, due: float, function: Callable[[], None]) -> None:
        self.due, self.function, self.cancelled = due, function, False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualLoop:
    """In place of the media thread's event loop: what is posted runs at once, a timer when its time has come."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.wake_ups = 0
        self.late_s: Callable[[int], float] = lambda _number: 0.0
        """How late each wake-up is, by its number."""

    def call_soon_threadsafe(self, function: Callable[..., object], *args: object) -> None:
        function(*args)

    def call_later(self, delay_s: float, function: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + delay_s, function))
        return self.timers[-1]

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        while True:
            self.timers = [timer for timer in self.timers if not timer.cancelled]
            due = min(self.timers, key=lambda timer: timer.due, default=None)
            if due is None or due.due > end:
                self.now = max(self.now, end)
                return
            self.timers.remove(due)
            self.now = max(self.now, due.due + self.late_s(self.wake_ups))
            self.wake_ups += 1
            due.function()


@pytest.fixture
def virtual() -> tuple[MediaLoop, VirtualLoop]:
    loop = VirtualLoop()
    media = MediaLoop(clock=lambda: loop.now)
    media._loop = loop  # type: ignore[assignment]
    media._epoch = loop.now
    return media, loop


def schedule(session: Recorder, count: int) -> list[float]:
    """When ticks are due, reckoned from the first, which was punctual."""
    return [pytest.approx(session.at[0] + n * FRAME_S) for n in range(count)]


def test_ticks_keep_to_the_schedule(virtual: tuple[MediaLoop, VirtualLoop]) -> None:
    """Never a drift: the n-th tick lies at the n-th 20 ms, however late single ones were."""
    media, loop = virtual
    session = Recorder()
    media.add(session)
    loop.late_s = lambda number: 0.012 if number % 10 in (3, 4) else 0.0
    loop.run(10.0)
    assert len(session.at) == 500
    late = [n for n in range(500) if n % 10 in (3, 4)]
    expected = schedule(session, 500)
    assert [at for n, at in enumerate(session.at) if n not in late] == [
        at for n, at in enumerate(expected) if n not in late
    ]
    assert [session.at[n] - session.at[0] for n in late] == [pytest.approx(n * FRAME_S + 0.012) for n in late]
    figures = media.figures()
    assert (figures.ticks, figures.late_ticks, figures.skipped_ticks) == (500, len(late), 0)
    assert figures.gap_max_ms == pytest.approx(32)
    assert LATE_S < 0.012


def test_a_short_stall_is_made_up_and_a_long_one_left_out(virtual: tuple[MediaLoop, VirtualLoop]) -> None:
    media, loop = virtual
    session = Recorder()

    def stall(seconds: float) -> None:
        def once() -> None:
            loop.now += seconds
            session.on_tick = lambda: None

        session.on_tick = once

    media.add(session)
    loop.run(0.1)
    stall(0.05)
    loop.run(0.9)
    assert len(session.at) == 50, "all of them"
    assert media.figures().skipped_ticks == 0
    assert session.at[-1] == schedule(session, 50)[-1]
    stall(0.5)
    loop.run(1.0)
    figures = media.figures()
    assert figures.skipped_ticks == round(0.5 / FRAME_S) - 1 - MOST_BEHIND_FRAMES
    assert len(session.at) == 100 - figures.skipped_ticks
    assert session.at[-1] == schedule(session, 100)[-1], "those that follow are where they were"
    assert figures.late_ticks >= 1 + MOST_BEHIND_FRAMES
    assert figures.gap_max_ms == pytest.approx(500)


def test_sessions_are_spread_over_the_frame_and_each_is_ticked_once_in_it(
    virtual: tuple[MediaLoop, VirtualLoop],
) -> None:
    media, loop = virtual
    sessions = [Recorder() for _ in range(2 * SLOTS)]
    for session in (*sessions, *sessions):  # a second time changes nothing
        media.add(session)
    loop.run(2.0)
    for session in sessions:
        assert session.at == schedule(session, len(session.at))
        assert 99 <= len(session.at) <= 100
    places = [round((session.at[10] - 1000.0) / (FRAME_S / SLOTS)) % SLOTS for session in sessions]
    assert sorted(places) == sorted([*range(SLOTS)] * 2)
    assert media.figures().sessions == 2 * SLOTS


# --- the thread -------------------------------------------------------------------------------------------------------


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


def passed(media: MediaLoop) -> None:
    """Wait until the media thread has done all that was asked of it."""
    done = threading.Event()
    assert media.post(done.set)
    assert done.wait(PATIENCE_S)


def test_ticks_come_on_the_media_thread_and_never_too_early(media: MediaLoop) -> None:
    session = Recorder()
    added_at = time.monotonic()
    media.add(session)
    session.until(25)
    assert session.thread == "media"
    assert all(at >= added_at + n * FRAME_S - 0.002 for n, at in enumerate(session.at)), "timers count milliseconds"
    assert media.figures().ticks >= 25


def test_a_session_that_raises_is_removed_and_told_and_the_others_go_on(media: MediaLoop) -> None:
    broken, healthy = Broken(), [Recorder() for _ in range(5)]
    for session in (*healthy[:2], broken, *healthy[2:]):
        media.add(session)
    for session in healthy:
        session.until(12)
    assert len(broken.at) == 1
    assert [str(error) for error in broken.errors] == ["a bug"]
    assert media.figures().sessions == 5


def test_a_removed_session_is_ticked_no_more(media: MediaLoop) -> None:
    session, other = Recorder(), Recorder()
    media.add(session)
    media.add(other)
    session.until(3)
    media.remove(session)
    media.remove(session)
    passed(media)
    ticks, others_ticks = len(session.at), len(other.at)
    other.until(others_ticks + 5)
    assert len(session.at) == ticks


def test_an_idle_loop_does_not_wake_up(media: MediaLoop) -> None:
    time.sleep(0.1)
    assert media.figures().ticks == 0


def test_posts_run_in_order_on_the_media_thread(media: MediaLoop) -> None:
    seen: list[tuple[int, str]] = []
    for n in range(100):
        assert media.post(lambda n=n: seen.append((n, threading.current_thread().name)))
    passed(media)
    assert seen == [(n, "media") for n in range(100)]


async def test_a_coroutine_can_be_awaited_from_another_loop(media: MediaLoop) -> None:
    async def answer() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert await asyncio.wrap_future(media.submit(answer())) == "media"


def test_after_the_stop_nothing_runs_and_nothing_hangs() -> None:
    media = MediaLoop()
    assert not media.post(print)
    media.start()
    with pytest.raises(RuntimeError, match="already"):
        media.start()
    session = Recorder()
    media.add(session)
    started = threading.Event()

    async def forever() -> None:
        started.set()
        await asyncio.sleep(3600)

    future = media.submit(forever())
    assert started.wait(PATIENCE_S)
    media.stop()
    media.stop()
    assert future.cancelled()
    assert not media.post(print)
    with pytest.raises(RuntimeError, match="not running"):
        media.submit(forever())
    assert "media" not in {thread.name for thread in threading.enumerate()}
