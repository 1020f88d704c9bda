"""Circuit breakers on virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.providers.circuit_breaker import BreakerLimits, CircuitBreaker

LIMITS = BreakerLimits(failures=2, rest_s=5.0, most_rest_s=20.0)


def opened(at=0.0):
    breaker = CircuitBreaker(LIMITS)
    assert not breaker.failed(at)
    assert breaker.failed(at)
    return breaker


def test_one_failure_is_no_reason_and_success_forgets_it():
    breaker = CircuitBreaker(LIMITS)
    for now in range(20):
        assert not breaker.failed(now)
        assert not breaker.succeeded()
        assert breaker.closed
        assert breaker.allows(now)


def test_after_two_in_a_row_it_rests_and_then_lets_one_through():
    breaker = opened()
    assert not breaker.closed
    assert [breaker.allows(now) for now in (0.0, 4.9, 5.0, 5.1, 9.0)] == [False, False, True, False, False]
    assert breaker.succeeded()
    assert breaker.closed
    assert breaker.allows(9.0)


def test_each_trial_that_fails_doubles_the_rest():
    breaker = opened()
    now, rests = 0.0, []
    for _ in range(5):
        begun = now
        while not breaker.allows(now):
            now += 0.5
        rests.append(now - begun)
        assert not breaker.failed(now)
    assert rests == [5.0, 10.0, 20.0, 20.0, 20.0]


def test_an_answer_that_was_under_way_says_nothing_new():
    breaker = opened()
    breaker.failed(1.0)
    breaker.failed(2.0)
    assert not breaker.allows(4.9)
    assert breaker.allows(5.0)


def test_a_trial_whose_end_nobody_tells_is_over_after_a_while():
    breaker = opened()
    assert breaker.allows(5.0)
    assert not breaker.allows(19.9)
    assert breaker.allows(20.0)


def test_a_trial_that_is_given_up_lets_the_next_try():
    breaker = opened()
    assert [breaker.would_allow(now) for now in (4.9, 5.0, 5.0)] == [False, True, True]
    assert breaker.allows(5.0)
    assert not breaker.would_allow(5.0)
    breaker.given_up()
    assert not breaker.closed
    assert breaker.allows(5.0)


@pytest.mark.parametrize("rest_s", [0.5, 5.0])
@given(steps=st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=60))
def test_it_never_rests_for_ever_and_never_lets_two_try(rest_s, steps):
    breaker = CircuitBreaker(BreakerLimits(failures=2, rest_s=rest_s, most_rest_s=20.0))
    now = 0.0
    for wait, good in steps:
        now += wait
        if breaker.allows(now):
            if not breaker.closed:
                assert not breaker.allows(now)
            if good:
                breaker.succeeded()
                assert breaker.closed
            else:
                breaker.failed(now)
    assert breaker.allows(now + 20.0 + 15.0)
