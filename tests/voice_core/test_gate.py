"""What of the caller reaches the STT."""

from __future__ import annotations

from voice_core.gate import Gate, Opened


def gate(frames=10, **knobs):
    made = Gate(**knobs)
    for number in range(1, frames + 1):
        made.hear(bytes([number % 256]), number * 0.02)
    return made


def test_a_call_starts_gated_and_closed():
    made = Gate()
    assert made.needs_gating
    assert made.opened is None
    assert not made.passes


def test_it_opens_when_the_agent_was_heard_or_flushed_and_says_why():
    made = Gate()
    made.heard()
    assert made.opened is Opened.HEARD
    assert made.passes
    made.close()
    assert not made.passes
    made.committed()
    assert made.opened is Opened.COMMITTED
    made.heard()
    assert made.opened is Opened.COMMITTED, "it was open"


def test_a_streaming_backend_is_never_withheld_from():
    made = Gate()
    made.backend(needs_gating=False)
    assert made.passes
    assert made.opened is None
    made.backend(needs_gating=True)
    assert not made.passes


def test_what_is_withheld_is_kept_and_handed_out_once_asked_for():
    assert [audio for _, audio in gate().since(0.141)] == [bytes([8]), bytes([9]), bytes([10])]
    assert len(list(gate().since(-1.0))) == 10
    assert list(gate().since(1.0)) == []


def test_the_ring_is_bounded():
    made = gate(frames=250, capacity_ms=3000)
    kept = list(made.since(-1.0))
    assert len(kept) == 150
    assert kept[-1] == (5.0, bytes([250]))


def test_the_last_frames():
    assert gate().last(2) == [bytes([9]), bytes([10])]
    assert gate(frames=1).last(2) == [bytes([1])]
    empty = gate()
    empty.clear()
    assert empty.last(2) == []
