"""Who runs next in a worker, and how long to wait before a restart: pure parts."""

from __future__ import annotations

import threading

import pytest

from model_worker.backoff import Backoff
from model_worker.call_queue import Call, CallQueue
from model_worker.spec import WorkerSpec


def call(call_id: int, priority: int) -> Call:
    return Call(call_id, "call", "m", {}, b"", priority)


@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [
        ([(1, 0), (2, 0), (3, 0)], [1, 2, 3]),
        ([(1, 2), (2, 1), (3, 0)], [3, 2, 1]),
        ([(1, 1), (2, 0), (3, 1), (4, 0), (5, 2)], [2, 4, 1, 3, 5]),
    ],
)
def test_final_before_live_before_speculative_and_first_come_first_served(arrivals, expected):
    queue = CallQueue()
    for call_id, priority in arrivals:
        queue.put(call(call_id, priority))
    taken = []
    while queue.counts()[0]:
        current = queue.take()
        taken.append(current.id)
        queue.finished(current)
    assert taken == expected


def test_a_waiting_call_that_is_cancelled_never_runs():
    queue = CallQueue()
    for call_id in (1, 2, 3):
        queue.put(call(call_id, 0))
    assert queue.cancel(2).id == 2
    assert queue.cancel(2) is None
    assert [queue.take().id, queue.take().id] == [1, 3]


def test_a_running_call_that_is_cancelled_is_told():
    queue = CallQueue()
    queue.put(call(1, 0))
    running = queue.take()
    assert queue.cancel(1) is None
    assert running.cancelled.is_set()


def test_one_speculative_call_runs_at_a_time():
    queue = CallQueue()
    queue.put(call(1, 2))
    queue.put(call(2, 2))
    first = queue.take()
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take().id))
    thread.start()
    thread.join(0.1)
    assert taken == []
    queue.finished(first)
    thread.join(5)
    assert taken == [2]


def test_a_closed_queue_gives_nothing_and_waits_for_what_runs():
    queue = CallQueue()
    queue.put(call(1, 0))
    running = queue.take()
    queue.put(call(2, 0))
    queue.close(0.01)
    assert running.cancelled.is_set()
    assert queue.take() is None


def test_delays_double_to_a_ceiling_and_start_again_after_health():
    backoff = Backoff(first_s=0.5, ceiling_s=30, healthy_s=60, draw=lambda: 1.0)
    assert [backoff.next_delay_s(0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.ready(100)
    assert backoff.next_delay_s(130) == 30
    backoff.ready(200)
    assert backoff.next_delay_s(260) == 0.5


def test_jitter_takes_up_to_half():
    assert Backoff(first_s=2, draw=lambda: 0.0).next_delay_s(0) == 1.0


@pytest.mark.parametrize(
    "wrong", [{"model": "no_class"}, {"model": "m:C", "threads": 0}, {"model": "m:C", "concurrency": 0}]
)
def test_a_spec_that_cannot_work_is_refused(wrong):
    with pytest.raises(ValueError, match="worker"):
        WorkerSpec(**wrong)
