"""Every gate opens only when playout has ended or was flushed by a committed interruption, and the other invariants.

100,000 random calls: chunk, end, pause, flush, underrun, hang-up, late transcript, hold, failure, in any order.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ai_engine.conversation.chaos import ACTIONS, Chaos, interleaving

BATCHES = 10
BATCH = 10_000


@pytest.mark.parametrize("batch", range(BATCHES))
def test_whatever_happens_in_whatever_order_the_invariants_hold(batch):
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        interleaving(seed)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from((0.02, 0.04, 0.1, 0.3, 1.0))), max_size=40),
)
def test_a_failing_sequence_can_be_shrunk(seed, sequence):
    chaos = Chaos(random.Random(seed))
    for action, seconds in sequence:
        chaos.trace.append(action(chaos))
        chaos.tick(seconds)
    if not chaos.ended:
        chaos.settle()
