"""Every scenario of this folder on virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.scenarios.judge import complaints
from tools.scenarios.load import load_all
from tools.scenarios.model import Scenario
from tools.scenarios.real_sound import RealSound, RealSoundError
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


def all_sound_is_real(scenario: Scenario) -> bool:
    """What the caller says lies in WAV files: the voice-activity network itself can judge it."""
    spoken = [step.interrupt.say if step.interrupt is not None else step.say for step in scenario.caller]
    return all(say is None or say.wav for say in spoken) and any(
        step.say is not None or step.sound is not None for step in scenario.caller
    )


@pytest.fixture(scope="module")
def sound() -> Iterator[RealSound]:
    try:
        with RealSound() as real:
            yield real
    except RealSoundError as missing:
        pytest.skip(str(missing))


@pytest.mark.models
@pytest.mark.parametrize("name", [name for name, one in SCENARIOS.items() if all_sound_is_real(one)])
def test_with_the_real_voice_activity_network_too(name, sound):
    scenario = SCENARIOS[name]
    assert complaints(scenario, run(scenario, network=sound.network()), "virtual") == []
