"""Nobody speaks; the answer is slow."""

from __future__ import annotations

import pytest

from voice_core.silence import FillerPolicy, SilencePolicy


def verdicts(policy, quiet, *, seconds, on_hold=False, start=0.0):
    found = []
    for step in range(round(seconds * 10) + 1):
        verdict = policy.tick(start + step / 10, quiet=quiet, on_hold=on_hold)
        if verdict is not None:
            found.append((round(step / 10, 1), verdict.value))
    return found


def test_ask_then_give_up():
    found = verdicts(SilencePolicy(ask_after_s=8, give_up_after_s=20), True, seconds=60)
    assert [verdict for _, verdict in found] == ["ask", "give_up"]
    assert [at for at, _ in found] == pytest.approx([8.0, 20.0], abs=0.11)


def test_a_caller_who_speaks_is_asked_again_later():
    policy = SilencePolicy(ask_after_s=1, give_up_after_s=5)
    assert [verdict for _, verdict in verdicts(policy, True, seconds=2)] == ["ask"]
    policy.caller_heard()
    assert policy.quiet_s == 0
    assert [verdict for _, verdict in verdicts(policy, True, seconds=2, start=2.0)] == ["ask"]


@pytest.mark.parametrize(("quiet", "on_hold"), [(False, False), (True, True)])
def test_speech_and_hold_are_not_silence(quiet, on_hold):
    assert verdicts(SilencePolicy(max_call_s=0), quiet, seconds=100, on_hold=on_hold) == []


def test_the_call_has_a_greatest_length_without_hold():
    policy = SilencePolicy(max_call_s=10)
    verdicts(policy, False, seconds=100, on_hold=True)
    assert verdicts(policy, False, seconds=9.5, start=100.0) == []
    assert [verdict for _, verdict in verdicts(policy, False, seconds=2, start=109.5)] == ["time_up"]
    assert verdicts(policy, True, seconds=100, start=112.0) == [], "once"


def test_it_is_asked_as_often_as_it_may():
    found = verdicts(SilencePolicy(ask_after_s=4, ask_times=3, give_up_after_s=20), True, seconds=60)
    assert [verdict for _, verdict in found] == ["ask", "ask", "ask", "give_up"]
    assert [at for at, _ in found] == pytest.approx([4.0, 8.0, 12.0, 20.0], abs=0.11)


def test_a_caller_heard_over_the_farewell_is_given_another_chance():
    policy = SilencePolicy(ask_after_s=0, give_up_after_s=5)
    assert [verdict for _, verdict in verdicts(policy, True, seconds=6)] == ["give_up"]
    policy.call_off()
    assert [verdict for _, verdict in verdicts(policy, True, seconds=0.2, start=6.0)] == ["give_up"], "it was nothing"
    policy.call_off()
    policy.caller_heard()
    assert verdicts(policy, True, seconds=4, start=7.0) == []


def test_the_end_is_told_beforehand_when_nobody_speaks():
    policy = SilencePolicy(ask_after_s=0, give_up_after_s=0, max_call_s=60, warn_before_s=10)
    assert verdicts(policy, False, seconds=52) == []
    assert [verdict for _, verdict in verdicts(policy, True, seconds=4, start=52.0)] == ["warn"], "once"
    assert [verdict for _, verdict in verdicts(policy, False, seconds=8, start=56.0)] == ["time_up"]


def test_no_farewell_is_called_off_when_the_time_is_up():
    policy = SilencePolicy(max_call_s=1)
    assert [verdict for _, verdict in verdicts(policy, True, seconds=2)] == ["time_up"]
    policy.call_off()
    assert verdicts(policy, True, seconds=100, start=2.0) == []


def test_zero_switches_off():
    assert verdicts(SilencePolicy(ask_after_s=0, give_up_after_s=0, max_call_s=0), True, seconds=100) == []


def test_a_clock_that_goes_back_adds_no_time():
    policy = SilencePolicy(ask_after_s=1)
    policy.tick(100.0, quiet=True)
    policy.tick(50.0, quiet=True)
    assert policy.quiet_s == 0


def wait(policy, *, seconds, start=0.0, turn=1, speaking=False, on_hold=False):
    return [
        round(start + step / 10, 1)
        for step in range(round(seconds * 10) + 1)
        if policy.tick(start + step / 10, waiting_for=turn, caller_speaking=speaking, on_hold=on_hold)
    ]


def test_one_filler_and_not_two_before_an_answer():
    policy = FillerPolicy(after_s=2.0)
    assert wait(policy, seconds=10) == pytest.approx([2.0], abs=0.11)
    assert wait(policy, turn=None, seconds=1, start=10.0) == []
    assert wait(policy, seconds=10, start=11.0) == [], "the turn was given back and adopted again"


def test_two_turns_running_have_a_filler_only_when_the_second_wait_is_long():
    policy = FillerPolicy(after_s=2.0, again_after_s=5.0)
    assert len(wait(policy, turn=1, seconds=3)) == 1
    assert wait(policy, turn=2, seconds=4, start=10.0) == []
    assert wait(policy, turn=3, seconds=3, start=20.0) == pytest.approx([22.0], abs=0.11), "turn 2 had none"
    assert wait(policy, turn=4, seconds=8, start=30.0) == pytest.approx([35.0], abs=0.11)


def test_a_wait_that_begins_anew_is_counted_anew():
    policy = FillerPolicy(after_s=2.0)
    assert wait(policy, seconds=1.5) == []
    assert wait(policy, turn=None, seconds=0.5, start=1.6) == []
    assert wait(policy, seconds=1.5, start=2.2) == []


def test_time_on_hold_is_no_wait():
    policy = FillerPolicy(after_s=2.0)
    assert wait(policy, seconds=1.5) == []
    assert wait(policy, seconds=100, start=1.6, on_hold=True) == []
    assert wait(policy, seconds=1.0, start=101.7) == pytest.approx([102.1], abs=0.21)


@pytest.mark.parametrize("state", [{"speaking": True}, {"on_hold": True}, {"turn": None}])
def test_never_over_the_caller_nor_on_hold(state):
    assert wait(FillerPolicy(after_s=1.0), seconds=10, **state) == []


def test_no_filler():
    assert wait(FillerPolicy(after_s=0), seconds=10) == []
