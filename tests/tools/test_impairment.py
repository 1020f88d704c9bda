"""What a bad network does to packets, on virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.call.impairment import Impairer, Impairment

Out = list[tuple[float, bytes]]
PACKET_S = 0.02


def through(impairer: Impairer, count: int) -> Out:
    """`count` numbered packets, 20 ms apart, as they come out: in order of their times."""
    out: Out = []
    for number in range(count):
        out += impairer.take(number.to_bytes(4, "big"), number * PACKET_S)
    return sorted(out, key=lambda due: due[0])


def numbers(out: Out) -> list[int]:
    return [int.from_bytes(packet, "big") for _, packet in out]


def sent_s(packet: bytes) -> float:
    return int.from_bytes(packet, "big") * PACKET_S


def test_a_good_line_changes_nothing() -> None:
    out = through(Impairer(Impairment()), 100)
    assert numbers(out) == list(range(100))
    assert all(due_s == sent_s(packet) for due_s, packet in out)


@pytest.mark.parametrize("burst", [1.0, 4.0])
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.3])
def test_as_many_are_lost_as_was_said(loss: float, burst: float) -> None:
    impairer = Impairer(Impairment(loss=loss, loss_burst=burst), seed=3)
    out = through(impairer, 20_000)
    assert 1 - len(out) / 20_000 == pytest.approx(loss, rel=0.25)
    assert impairer.stats.lost == 20_000 - len(out)
    assert numbers(out) == sorted(numbers(out))


def test_losses_come_in_runs_as_long_as_was_said() -> None:
    there = set(numbers(through(Impairer(Impairment(loss=0.1, loss_burst=5)), 50_000)))
    runs = [0]
    for number in range(50_000):
        if number not in there:
            runs[-1] += 1
        elif runs[-1]:
            runs.append(0)
    assert sum(runs) / len(runs) == pytest.approx(5, rel=0.15)


def test_jitter_is_within_its_bound_and_lets_packets_overtake() -> None:
    impairer = Impairer(Impairment(delay_ms=30, jitter_ms=60), seed=5)
    out = through(impairer, 2000)
    late = [due_s - sent_s(packet) for due_s, packet in out]
    assert min(late) >= 0.03 - 1e-9
    assert max(late) <= 0.09 + 1e-9
    assert max(late) - min(late) > 0.05
    assert numbers(out) != sorted(numbers(out))
    assert impairer.stats.overtaken > 100


def test_behind_one_queue_nobody_overtakes() -> None:
    impairer = Impairer(Impairment(jitter_ms=60, reorder=False), seed=5)
    assert numbers(through(impairer, 2000)) == list(range(2000))
    assert impairer.stats.overtaken == 0


def test_doubles_are_the_same_packet_twice() -> None:
    impairer = Impairer(Impairment(duplicate=0.2), seed=1)
    came = numbers(through(impairer, 5000))
    assert set(came) == set(range(5000))
    assert len(came) - 5000 == impairer.stats.doubled == pytest.approx(1000, rel=0.2)


def test_a_frozen_line_holds_everything_and_then_lets_it_go_in_order() -> None:
    impairer = Impairer(Impairment())
    out: Out = []
    for number in range(100):
        if number == 20:
            impairer.freeze(number * PACKET_S, 0.5)
        out += impairer.take(number.to_bytes(4, "big"), number * PACKET_S)
    assert numbers(out) == list(range(100))
    held = [due_s for due_s, packet in out if 0.4 <= sent_s(packet) < 0.9]
    assert set(held) == {0.9}
    assert out[-1][0] == pytest.approx(99 * PACKET_S)


def test_a_line_that_is_gone_for_a_while_loses_all_of_it() -> None:
    impairer = Impairer(Impairment())
    impairer.freeze(0.0, 0.5, lost=True)
    assert numbers(through(impairer, 50)) == list(range(25, 50))
    assert impairer.stats.lost == 25


def test_the_same_seed_does_the_same() -> None:
    bad = Impairment(loss=0.1, loss_burst=2, jitter_ms=40, duplicate=0.1)
    assert through(Impairer(bad, seed=7), 500) == through(Impairer(bad, seed=7), 500)
    assert through(Impairer(bad, seed=7), 500) != through(Impairer(bad, seed=8), 500)


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0, 0.5), st.floats(1, 6), st.floats(0, 200), st.floats(0, 200), st.booleans(), st.floats(0, 1),
    st.integers(0, 2**32),
)  # fmt: skip
def test_nothing_comes_before_it_was_sent_nor_more_than_twice(
    loss: float, burst: float, delay_ms: float, jitter_ms: float, reorder: bool, duplicate: float, seed: int
) -> None:
    bad = Impairment(loss, burst, delay_ms, jitter_ms, reorder, duplicate)
    impairer = Impairer(bad, seed=seed)
    out = through(impairer, 200)
    assert all(due_s >= sent_s(packet) + delay_ms / 1000 - 1e-9 for due_s, packet in out)
    assert max((numbers(out).count(number) for number in set(numbers(out))), default=0) <= 2
    assert impairer.stats.taken == 200
    assert len(out) == 200 - impairer.stats.lost + impairer.stats.doubled
    if not reorder:
        assert numbers(out) == sorted(numbers(out))


@pytest.mark.parametrize(
    "wrong", [{"loss": 1.0}, {"loss": -0.1}, {"duplicate": 2}, {"loss_burst": 0.5}, {"jitter_ms": -1}, {"delay_ms": -1}]
)
def test_impossible_lines_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|at least"):
        Impairment(**wrong)  # type: ignore[arg-type]


def test_more_loss_than_its_runs_allow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"longer than 1\.2 packets"):
        Impairment(loss=0.6, loss_burst=1.2)
