"""Scenarios of this folder in real time: real calls through a real Asterisk to an engine with real models.

A few whose outcome hangs on no model's words are for every day; the others are slow. All that are asked for are run on
one stack, two at once, before the first is judged.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from local_ai_server.catalog import ModelMissing, find_model
from tools.pbx_instance import Pbx, PbxUnavailable
from tools.scenarios.load import load_all

pytest.importorskip("baresip", reason="the scripted caller needs baresip-python: pip install 'parley[caller]'")

from tools.scenarios.__main__ import timeline
from tools.scenarios.real import Heard, run_all

SCENARIOS = {name: scenario for name, scenario in load_all().items() if "real" in scenario.modes}
EVERY_DAY = (
    "bad_line_and_any_answer",
    "dtmf_interrupts",
    "greeting_and_known_answer",
    "hang_up_mid_word",
    "silence_policy",
)
EMBEDDED = ("whisper-tiny.en", "en_US-joe-medium", "SmolLM2-135M-Instruct-Q8_0", "silero_vad")
pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def heard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Heard]:
    """What came of each scenario that is asked for in this run."""
    for model in EMBEDDED:
        try:
            find_model(model)
        except ModelMissing as missing:
            pytest.skip(f"needs the embedded models: {missing}")
    asked = {item.callspec.params["name"] for item in request.session.items if item.path == Path(__file__)}  # type: ignore[attr-defined]
    home = tmp_path_factory.mktemp("scenarios")
    pbx = Pbx(home / "pbx")
    try:
        pbx.start()
    except PbxUnavailable as error:
        pytest.skip(f"no Asterisk can be had here: {error}")
    results: dict[str, Heard] = {}
    try:
        scenarios = {name: scenario for name, scenario in SCENARIOS.items() if name in asked}
        asyncio.run(run_all(home, pbx, scenarios, on_heard=lambda one: results.update({one.name: one})))
    finally:
        pbx.stop()
    return results


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in EVERY_DAY else pytest.mark.slow) for name in SCENARIOS]
)
def test_the_call_comes_out_as_it_should(name: str, heard: dict[str, Heard], request: pytest.FixtureRequest) -> None:
    if reason := SCENARIOS[name].known_failing.get("real"):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    one = heard[name]
    assert not one.complaints, "\n".join([*one.complaints, *timeline(one.observed)])
