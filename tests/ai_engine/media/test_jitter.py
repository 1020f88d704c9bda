"""The jitter buffer: the scenarios of `jitter_scenarios.yaml`, then what hypothesis thinks of."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jitter_networks import Network, all_networks, cost_of
from jitter_steps import Steps, StepsRun, all_steps, unrolled

from ai_engine.media.jitter import JitterBuffer
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.transport import FrameKind

STEPS, NETWORKS = all_steps(), all_networks()


@pytest.mark.parametrize("scenario", STEPS, ids=[scenario.name for scenario in STEPS])
def test_steps(scenario: Steps) -> None:
    run = StepsRun(scenario.steps)
    if faults := run.faults(scenario):
        told = [f"{scenario.name}: {scenario.steps}", f"came out as {run.kinds}, {run.buffer.stats}", *faults]
        pytest.fail("\n  ".join(told), pytrace=False)


@pytest.mark.parametrize("network", NETWORKS, ids=[network.name for network in NETWORKS])
def test_network(network: Network) -> None:
    cost = cost_of(network)
    if faults := cost.faults(network.limits):
        pytest.fail("\n  ".join([network.name, str(network), str(cost), *faults]), pytrace=False)


def test_a_scenario_that_fails_says_what_and_by_how_much() -> None:
    steps = Steps("", "20(PG) LG PG", "sss")
    assert StepsRun(steps.steps).faults(steps) == ["frames end in sssssscs, not in sss", "lost is 1, not 0"]
    network = Network.read({"name": "", "minutes": 0.2, "jitter_ms": 60, "limits": {"restarts": 1}})
    (delay, end, *_, restarts) = cost_of(network).faults(network.limits)
    assert re.fullmatch(r"delay_ms is \d+(\.\d+)?, more than 30", delay)
    assert end.startswith("end_delay_ms is ")
    assert restarts == "restarts is 0, not 1"


def test_steps_are_unrolled_from_within() -> None:
    assert unrolled("2(P 2(GL)) D") == "PGLGLPGLGLD"
    with pytest.raises(ValueError, match="no step is called 'X'"):
        StepsRun("PGX")


@given(st.text("PPPPPGGGGGLDOKBSCFEH", max_size=300))
def test_any_scenario_keeps_the_order(steps: str) -> None:
    kept, possible = 0, ""
    for step in steps:  # nothing is brought that was not kept
        if step == "B" and not kept:
            continue
        kept += (step == "K") - (step == "B")
        possible += step
    run = StepsRun("P" * 8 + possible + "G")
    assert run.buffer.stats.restarts or all(a < b for a, b in pairwise(run.units))
    assert run.buffer.delay_ms(run.now) <= 425
    assert 0 <= run.buffer.lost <= sum(steps.count(step) for step in "LKH")


@settings(max_examples=50)
@given(st.lists(st.integers(40, 700), min_size=1, max_size=40))
def test_packets_of_any_length_come_out_whole(lengths: list[int]) -> None:
    buffer = JitterBuffer()
    timestamp, sound = 3, b""
    for sequence, length in enumerate(lengths):
        payload = bytes((len(sound) + i) % 251 for i in range(length))
        buffer.put(RtpPacket(0, sequence, timestamp, 9, payload), 5.0 + timestamp / 8000)
        timestamp, sound = timestamp + length, sound + payload
    out, now = b"", 5.03
    for _ in range(len(sound) // 160):
        payload, kind = buffer.get(now)
        assert kind is FrameKind.SPEECH
        out += bytes(payload or b"")
        now += 0.020
    assert sound.startswith(out)
    assert len(out) == len(sound) // 160 * 160


def test_samples_of_two_bytes_are_never_halved() -> None:
    buffer = JitterBuffer(bytes_per_sample=2)
    for n in range(4):
        buffer.put(RtpPacket(10, n, n * 240, 1, bytes([n, 100 + n]) * 240), 1.0)
    frame, _ = buffer.get(1.01)
    second, _ = buffer.get(1.03)
    assert frame == bytes([0, 100]) * 160
    assert second == bytes([0, 100]) * 80 + bytes([1, 101]) * 80
