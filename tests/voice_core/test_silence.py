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


def test_zero_switches_off():
    assert verdicts(SilencePolicy(ask_after_s=0, give_up_after_s=0, max_call_s=0), True, seconds=100) == []


def test_a_clock_that_goes_back_adds_no_time():
    policy = SilencePolicy(ask_after_s=1)
    policy.tick(100.0, quiet=True)
    policy.tick(50.0, quiet=True)
    assert policy.quiet_s == 0


def wait(policy, *, seconds, start, waiting=True, speaking=False, on_hold=False):
    return [
        round(start + step / 10, 1)
        for step in range(round(seconds * 10) + 1)
        if policy.tick(start + step / 10, waiting=waiting, caller_speaking=speaking, on_hold=on_hold)
    ]


def test_one_filler_and_not_two_before_an_answer():
    policy = FillerPolicy(after_s=2.0)
    assert len(wait(policy, seconds=10, start=0)) == 1
    policy.restart()
    assert wait(policy, seconds=10, start=10.0) == []
    policy.answered()
    assert len(wait(policy, seconds=10, start=20.0)) == 1


@pytest.mark.parametrize("state", [{"speaking": True}, {"on_hold": True}, {"waiting": False}])
def test_never_over_the_caller_nor_on_hold(state):
    assert wait(FillerPolicy(after_s=1.0), seconds=10, start=0, **state) == []


def test_no_filler():
    assert wait(FillerPolicy(after_s=0), seconds=10, start=0) == []
