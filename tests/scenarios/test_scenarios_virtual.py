"""Every scenario of this folder on virtual time."""

from __future__ import annotations

import pytest

from tools.scenarios.judge import complaints
from tools.scenarios.load import load_all
from tools.scenarios.virtual import run

SCENARIOS = {name: scenario for name, scenario in load_all().items() if "virtual" in scenario.modes}


def test_there_are_enough_of_them():
    assert len(SCENARIOS) >= 50


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_conversation_comes_out_as_it_should(name, request):
    scenario = SCENARIOS[name]
    if reason := scenario.known_failing.get("virtual"):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    assert complaints(scenario, run(scenario), "virtual") == []


@pytest.mark.parametrize("name", ["loss_5_jitter_60", "echo_with_double_talk", "two_people_speaking"])
def test_the_same_scenario_comes_out_the_same_each_time(name):
    first, second = run(SCENARIOS[name]), run(SCENARIOS[name])
    assert first.happened == second.happened
    assert first.spoken == second.spoken
