"""Attended transfers on virtual time: who is where after each event, in every race, as data.

A scenario is a script of `time event` lines; `=` says what is to be done by then, in order, and `!` how it ended.
"""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.transfer import AttendedTransfer, Effect, Happened, Limits, Result, State

BEGUN = "= hold_caller ring"
BACK = "= return_caller hang_up_callee"
BACK_ALONE = "= return_caller"

SCENARIOS: dict[str, str] = {
    "taken": "5 answered | = brief | 20 accepted | = join | 20.1 caller_left | 20.2 joined | = | ! transferred",
    "joined before we hear that the caller has left": "5 answered | = brief | 9 accepted | = join | 9.1 joined | = "
    "| ! transferred",
    "busy": f"2 busy | {BACK_ALONE} | 2.1 returned | ! busy",
    "nobody answers": f"25 tick | {BACK} | 25.1 returned | ! no_answer",
    "Asterisk says that nobody answers": f"20 no_answer | {BACK_ALONE} | 20.1 returned | ! no_answer",
    "not registered": f"0.1 unreachable | {BACK_ALONE} | 0.2 returned | ! unreachable",
    "the telephone is gone while it rings": f"3 callee_gone | {BACK_ALONE} | 3.1 returned | ! no_answer",
    "declined": f"5 answered | = brief | 12 declined | {BACK} | 12.1 returned | ! declined",
    "a voice mailbox that decides nothing": f"5 answered | = brief | 40 no_decision | {BACK} | 40.1 returned "
    "| ! no_answer",
    "a briefing without end": f"5 answered | = brief | 64.9 tick | = | 65 tick | {BACK} | 65.1 returned | ! no_answer",
    "the briefing cannot be spoken": f"5 answered | = brief | 6 briefing_failed | {BACK} | 6.1 returned | ! failed",
    "callee hangs up during the briefing": f"5 answered | = brief | 7 callee_gone | {BACK_ALONE} | 7.1 returned "
    "| ! callee_left",
    "callee hangs up when asked to be joined": f"5 answered | = brief | 7 accepted | = join | 7.1 callee_gone "
    f"| {BACK_ALONE} | 7.2 returned | ! callee_left",
    "callee hangs up when the caller is on his way": "5 answered | = brief | 7 accepted | = join | 7.1 caller_left "
    "| 7.2 callee_gone | = | ! callee_left",
    "callee hangs up, and it is seen only when the caller is already in the dialplan": "5 answered | = brief "
    f"| 7 accepted | = join | 7.1 callee_gone | {BACK_ALONE} | 7.2 caller_left | = | ! callee_left",
    "caller hangs up while it rings": "3 caller_gone | = hang_up_callee | ! caller_left",
    "caller hangs up during the briefing": "5 answered | = brief | 7 caller_gone | = tell_callee | 10 parted "
    "| = hang_up_callee | ! caller_left",
    "caller hangs up, callee says yes to nobody": "5 answered | = brief | 7 caller_gone | = tell_callee | 8 accepted "
    "| = | 10 parted | = hang_up_callee | ! caller_left",
    "caller hangs up, callee does not hear it to the end": "5 answered | = brief | 7 caller_gone | = tell_callee "
    "| 8 callee_gone | = | ! caller_left",
    "caller hangs up, callee cannot be told": "5 answered | = brief | 7 caller_gone | = tell_callee | 17 tick "
    "| = hang_up_callee | ! caller_left",
    "caller hangs up at the merge": "5 answered | = brief | 7 accepted | = join | 7.1 caller_gone "
    "| = hang_up_callee | ! caller_left",
    "caller hangs up in the dialplan, before the merge": "5 answered | = brief | 7 accepted | = join "
    "| 7.1 caller_left | 12 tick | = hang_up_callee | ! caller_left",
    "caller hangs up on his way back": f"2 busy | {BACK_ALONE} | 2.1 caller_gone | = | ! caller_left",
    "caller hangs up on his way back from a declined call": f"5 answered | = brief | 6 declined | {BACK} "
    "| 6.1 caller_gone | = | ! caller_left",
    "both hang up while it rings": "3 caller_gone | = hang_up_callee | ! caller_left | 3 callee_gone | =",
    "both hang up during the briefing, callee first": f"5 answered | = brief | 7 callee_gone | {BACK_ALONE} "
    "| 7 caller_gone | = | ! caller_left",
    "both hang up during the briefing, caller first": "5 answered | = brief | 7 caller_gone | = tell_callee "
    "| 7 callee_gone | = | ! caller_left",
    "both hang up at the merge, callee first": f"5 answered | = brief | 7 accepted | = join | 7.1 callee_gone "
    f"| {BACK_ALONE} | 7.1 caller_gone | = | ! caller_left",
    "both hang up at the merge, caller first": "5 answered | = brief | 7 accepted | = join | 7.1 caller_gone "
    "| = hang_up_callee | ! caller_left | 7.1 callee_gone | =",
    "answered in the moment in which nobody waits any more": f"25 tick | {BACK} | 25 answered | = | 25.1 returned "
    "| ! no_answer",
    "the dialplan has nothing to join them with": f"5 answered | = brief | 7 accepted | = join | 7.1 join_failed "
    f"| {BACK} | 7.2 returned | ! failed",
    "the request to join fails after it was carried out": "5 answered | = brief | 7 accepted | = join "
    "| 7.1 caller_left | 7.2 join_failed | = | 7.3 joined | ! transferred",
    "nobody hears of the merge": f"5 answered | = brief | 7 accepted | = join | 12 tick | {BACK} | 12.1 returned "
    "| ! failed",
    "no music, no bridge": f"0.1 hold_failed | {BACK} | 0.2 returned | ! failed",
    "the engine stops while it rings": f"3 stopping | {BACK} | 3.1 returned | ! cancelled",
    "the engine stops during the briefing": f"5 answered | = brief | 6 stopping | {BACK} | 6.1 returned | ! cancelled",
    "the engine stops at the merge": "5 answered | = brief | 7 accepted | = join | 7.1 stopping | = | 7.2 caller_left "
    "| 7.3 joined | ! transferred",
    "the engine stops while the callee is told": "5 answered | = brief | 7 caller_gone | = tell_callee | 8 stopping "
    "| = hang_up_callee | ! caller_left",
    "Asterisk is lost while it rings": f"3 asterisk_lost | {BACK} | 6 returned | ! failed",
    "Asterisk is lost during the briefing": f"5 answered | = brief | 6 asterisk_lost | {BACK} | 9 returned | ! failed",
    "Asterisk is lost at the merge, and they talk": "5 answered | = brief | 7 accepted | = join | 7 asterisk_lost "
    "| = | 7.3 joined | ! transferred",
    "Asterisk is lost for good": f"3 asterisk_lost | {BACK} | 13 tick | = | ! failed lost",
    "Asterisk does not take the caller back": f"2 busy | {BACK_ALONE} | 2.1 return_failed | = | ! failed lost",
    "late news of a callee who is hung up on": f"5 answered | = brief | 6 declined | {BACK} | 6.1 callee_gone "
    "| = | 6.2 returned | ! declined",
    "a callee who changes his mind": f"5 answered | = brief | 6 declined | {BACK} | 6.1 accepted | = | 6.2 returned "
    "| ! declined",
    "nothing happens after the end": "3 caller_gone | = hang_up_callee | ! caller_left | 4 answered | 99 tick | =",
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_transfer(name: str) -> None:
    transfer = AttendedTransfer(Limits(ring_s=25, briefing_s=60, parting_s=10, join_s=5, return_s=10))
    transfer.begin(0.0)
    for step in f"{BEGUN} | {SCENARIOS[name]}".split("|"):
        first, *rest = step.split()
        if first == "=":
            assert [effect.value for effect in transfer.effects] == rest, step
            transfer.effects.clear()
        elif first == "!":
            assert transfer.done
            assert transfer.result is Result(rest[0])
            assert transfer.caller_lost is ("lost" in rest)
        else:
            assert transfer.effects == [], f"not expected before {step}"
            if rest[0] == "tick":
                transfer.tick(float(first))
            else:
                transfer.happened(Happened(rest[0]), float(first))
    assert transfer.done
    assert transfer.effects == []


def test_time_alone_ends_every_transfer() -> None:
    """Whatever was the last that was heard: no state waits for ever."""
    for length in range(4):
        for events in product(Happened, repeat=length):
            transfer = begun()
            for event in events:
                transfer.happened(event, 0.0)
            for now in range(0, 300, 20):
                transfer.tick(float(now))
            assert transfer.done, events


@given(st.lists(st.sampled_from([*Happened, None]), max_size=12))
def test_no_leg_is_left_whatever_comes_in_whatever_order(events: list[Happened | None]) -> None:
    """The callee ends by himself, is hung up on once, or is joined; the caller is joined, gone or brought back once."""
    transfer = begun()
    now, seen = 0.0, set[Happened]()
    for event in events:
        if transfer.done:
            break
        now += 1.0
        if event is None:
            now += 100.0
            transfer.tick(now)
        else:
            seen.add(event)
            transfer.happened(event, now)
    for _ in range(5):
        now += 100.0
        transfer.tick(now)
    assert transfer.done
    effects = transfer.effects
    assert effects.count(Effect.HANG_UP_CALLEE) <= 1
    assert effects.count(Effect.RETURN_CALLER) <= 1
    callee_ended = seen & {Happened.CALLEE_GONE, Happened.BUSY, Happened.NO_ANSWER, Happened.UNREACHABLE}
    joined = transfer.result is Result.TRANSFERRED
    assert Effect.HANG_UP_CALLEE in effects or callee_ended or joined
    caller_away = seen & {Happened.CALLER_GONE, Happened.CALLER_LEFT}
    assert joined or caller_away or Effect.RETURN_CALLER in effects
    assert not (joined and Effect.HANG_UP_CALLEE in effects)


def begun() -> AttendedTransfer:
    transfer = AttendedTransfer()
    assert transfer.state is State.NEW
    transfer.begin(0.0)
    return transfer
