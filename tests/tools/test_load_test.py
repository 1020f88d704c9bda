"""tools/load_test in its small form: calls that end at random moments leave nothing behind. No time is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.load_test.caller_sound import RATE_HZ, caller_sound
from tools.load_test.sipp import MOMENTS, SippError, Way, plan_calls
from tools.load_test.soak import soak
from tools.pbx_instance import PbxUnavailable

PROJECT = Path(__file__).parents[2]
TOO_BUSY = "no answer from Asterisk within"
"""What the engine logs when ARI is too slow for it; on purpose, and no fault of what is tested here."""


def test_a_plan_is_the_same_for_the_same_seed_and_has_every_way_to_end() -> None:
    plan = plan_calls(200, seed=3)
    assert plan == plan_calls(200, seed=3) != plan_calls(200, seed=4)
    assert {call.way for call in plan} == set(Way)


def test_every_call_has_a_moment() -> None:
    assert sum(share for _, share, _, _ in MOMENTS) == pytest.approx(1.0)


def test_the_caller_s_sound_is_as_long_as_it_says() -> None:
    assert len(caller_sound((0.5, 0.25))) == 0.75 * RATE_HZ


@pytest.mark.asterisk
@pytest.mark.models
async def test_forty_calls_leave_nothing_behind(tmp_path: Path) -> None:
    if not (PROJECT / "models" / "vad" / "silero_vad.onnx").is_file():
        pytest.skip("needs the voice activity network")
    try:
        report = await soak(tmp_path, calls=40, at_once=20, cycles=1, seed=1)
    except (PbxUnavailable, SippError) as error:
        if "calls were not over" in str(error):
            raise
        pytest.skip(f"no Asterisk or no SIPp can be had here: {error}")
    left_behind = [complaint for complaint in report.complaints if "left behind" in complaint or "before" in complaint]
    assert left_behind == []
    if any(TOO_BUSY in complaint for complaint in report.complaints):
        pytest.skip("this machine is too busy for Asterisk to answer: calls went other ways than planned")
    assert report.complaints == []
    cancelled = sum(call.way in {Way.CANCELS_AT_ONCE, Way.CANCELS_RINGING} for call in plan_calls(40, seed=1))
    assert 42 - cancelled <= sum(report.outcomes.values()) <= 42, "the engine need not hear of who cancels at once"
    assert set(report.outcomes) == {"caller_hung_up", "agent_hung_up"}
