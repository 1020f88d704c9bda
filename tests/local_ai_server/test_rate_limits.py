"""Rolling windows: never more than the limit in any window, and whoever waits as told is served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_ai_server.rate_limits import RateLimited, RateLimits, RollingWindow

STEPS_MS = st.lists(st.integers(0, 4000), max_size=120)


@given(st.integers(1, 8), st.integers(1, 5), STEPS_MS)
def test_no_window_ever_holds_more_than_the_limit(limit, window_s, steps_ms):
    window = RollingWindow(limit, window_s=window_s)
    now_ms, admitted = 0, []
    for step_ms in steps_ms:
        now_ms += step_ms
        if window.retry_after_s(now_ms / 1000) == 0:
            window.count(now_ms / 1000)
            admitted.append(now_ms)
    for begin in admitted:
        assert sum(begin <= at < begin + 1000 * window_s for at in admitted) <= limit


@given(st.integers(1, 8), st.integers(1, 5), STEPS_MS)
def test_the_wait_that_is_told_is_enough_and_not_too_long(limit, window_s, steps_ms):
    window = RollingWindow(limit, window_s=window_s)
    now = 0.0
    for step_ms in steps_ms:
        now += step_ms / 1000
        wait_s = window.retry_after_s(now)
        assert 0 <= wait_s <= window_s
        if wait_s:
            now += wait_s + 1e-6
            assert window.retry_after_s(now) == 0
        window.count(now)


def test_zero_admits_everything():
    limits = RateLimits(messages=0, cancels=0, prompt_updates=0, window_s=1)
    for _ in range(10_000):
        limits.admit(0.0, cancels=True, updates_prompt=True)


def test_each_sort_has_a_window_of_its_own_and_a_refusal_counts_nowhere():
    limits = RateLimits(messages=4, cancels=1, prompt_updates=1, window_s=10)
    limits.admit(0, cancels=True)
    for _ in range(5):
        with pytest.raises(RateLimited, match="more than 1 cancels in 10 s") as caught:
            limits.admit(1, cancels=True)
        assert caught.value.retry_after_s == 9
    limits.admit(1, updates_prompt=True)
    with pytest.raises(RateLimited, match="prompt updates"):
        limits.admit(1, updates_prompt=True)
    limits.admit(2)
    limits.admit(2)
    with pytest.raises(RateLimited, match="4 messages"):
        limits.admit(2)
    limits.admit(10, cancels=True)
