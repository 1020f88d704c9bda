"""The pacer: an absolute schedule for all sessions, kept whatever one of them does. Real time, real thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from ai_engine.media.pacer import MediaLoop


class Recorder:
    """A session that notes its ticks."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.errors: list[Exception] = []
        self.thread = ""
        self.stall_s = 0.0

    def tick(self, now: float) -> None:
        self.at.append(now)
        self.thread = threading.current_thread().name
        if self.stall_s:
            time.sleep(self.stall_s)
            self.stall_s = 0.0

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


class Broken(Recorder):
    def tick(self, now: float) -> None:
        super().tick(now)
        raise ValueError("a bug")


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


def test_ticks_keep_to_the_schedule(media: MediaLoop) -> None:
    session = Recorder()
    media.add(session)
    time.sleep(1.0)
    assert 48 <= len(session.at) <= 51
    assert session.thread == "media"
    # Never a drift: the n-th tick lies at the n-th 20 ms, however late single ones were.
    offsets = [at - session.at[0] - n * 0.020 for n, at in enumerate(session.at)]
    assert abs(sorted(offsets)[len(offsets) // 2]) < 0.004
    assert media.figures().ticks == len(session.at)


def test_a_session_that_raises_is_removed_and_told_and_the_others_go_on(media: MediaLoop) -> None:
    broken, healthy = Broken(), [Recorder() for _ in range(5)]
    for session in (*healthy[:2], broken, *healthy[2:]):
        media.add(session)
    time.sleep(0.3)
    assert len(broken.at) == 1
    assert [str(error) for error in broken.errors] == ["a bug"]
    assert all(len(session.at) >= 12 for session in healthy)
    assert media.figures().sessions == 5


def test_a_short_stall_is_made_up_and_a_long_one_left_out(media: MediaLoop) -> None:
    session = Recorder()
    media.add(session)
    time.sleep(0.1)
    session.stall_s = 0.05
    time.sleep(0.3)
    assert media.figures().skipped_ticks == 0
    assert abs(len(session.at) - 20) <= 2
    session.stall_s = 0.5
    time.sleep(0.8)
    figures = media.figures()
    assert 18 <= figures.skipped_ticks <= 24
    assert figures.late_ticks >= 3
    assert abs(len(session.at) - (20 + 40 - figures.skipped_ticks)) <= 4
    assert figures.gap_max_ms >= 490


def test_a_removed_session_is_ticked_no_more(media: MediaLoop) -> None:
    session, other = Recorder(), Recorder()
    media.add(session)
    media.add(other)
    media.add(other)
    time.sleep(0.1)
    media.remove(session)
    media.remove(session)
    time.sleep(0.05)
    ticks = len(session.at)
    time.sleep(0.1)
    assert len(session.at) == ticks
    assert 10 <= len(other.at) <= 14


def test_an_idle_loop_does_not_wake_up(media: MediaLoop) -> None:
    time.sleep(0.1)
    assert media.figures().ticks == 0


def test_posts_run_in_order_on_the_media_thread(media: MediaLoop) -> None:
    seen: list[tuple[int, str]] = []
    for n in range(100):
        assert media.post(lambda n=n: seen.append((n, threading.current_thread().name)))
    time.sleep(0.05)
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
    started.wait(1)
    media.stop()
    media.stop()
    assert future.cancelled()
    assert not media.post(print)
    with pytest.raises(RuntimeError, match="not running"):
        media.submit(forever())
    assert "media" not in {thread.name for thread in threading.enumerate()}
