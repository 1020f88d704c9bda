"""The scenario runner itself: a conversation that is not as expected fails, and a wrong file is told with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_engine.config_file import ConfigError
from tools.scenarios import __main__ as command
from tools.scenarios.judge import AgentTurn, CallerTurn, Observed, complaints
from tools.scenarios.load import FOLDER, load, load_all, names
from tools.scenarios.model import Scenario
from tools.scenarios.virtual import run
from tools.scenarios.virtual_line import VirtualLine, echo_of, voice_like_sound

QUESTION = "When are you open?"
ANSWER = "From nine to five from Monday to Friday."


def scenario(**changes: Any) -> Scenario:
    """One question and its answer; `expect` is laid over what is right."""
    right = {
        "in_order": [{"caller": QUESTION}, {"agent": ANSWER, "interrupted": False, "within_ms": 1000}],
        "caller_turns": 1,
        "never": ["interrupted", "talked_over"],
    }
    data: dict[str, Any] = {
        "about": "x",
        "modes": ["virtual"],
        "not_in": {"real": "x"},
        "persona": {"answers": [{"ask": QUESTION, "say": ANSWER}]},
        "caller": [{"pause": 0.4}, {"say": QUESTION}, {"until": "agent"}, {"until": "quiet"}],
    }
    expect = {**right, **changes.pop("expect", {})}
    return Scenario.model_validate({**data, **changes, "expect": expect})


def failures(**changes: Any) -> str:
    one = scenario(**changes)
    return "\n".join(complaints(one, run(one), "virtual"))


def test_the_unchanged_scenario_passes():
    assert failures() == ""


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "other words of the caller": ({"in_order": [{"caller": "When are you closed?"}]}, "caller: When are you closed?"),
    "other words of the agent": ({"in_order": [{"agent": "At noon."}]}, "agent: At noon."),
    "half a word of the agent": ({"in_order": [{"agent": "Fri"}]}, "agent: Fri"),
    "an interruption that was none": ({"in_order": [{"agent": ANSWER, "interrupted": True}]}, "interrupted"),
    "the wrong order": ({"in_order": [{"agent": ANSWER}, {"caller": QUESTION}]}, "expectation 2"),
    "twice what was once": ({"in_order": [{"caller": QUESTION}, {"caller": QUESTION}]}, "expectation 2"),
    "too late": ({"in_order": [{"agent": ANSWER, "within_ms": 200}]}, "not within 200"),
    "too early": ({"in_order": [{"agent": ANSWER, "not_before_ms": 2000}]}, "already, not 2000"),
    "a state that was none": ({"in_order": [{"state": "barge_in"}]}, "state: barge_in"),
    "more turns": ({"caller_turns": 2}, "had 1 turns, not 2"),
    "no turns": ({"caller_turns": 0}, "had 1 turns, not 0"),
    "another history": ({"history": [f"user: {QUESTION}"]}, "the history is"),
    "another end": ({"outcome": "agent_hung_up"}, "came out as talking"),
    "silence": ({"never": ["agent_spoke"]}, "was to say nothing"),
    "an interruption to be measured": ({"silent_within_ms": 300}, "never interrupted by voice"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_expectation_fails(wrong):
    expect, complaint = WRONG[wrong]
    assert complaint in failures(expect=expect)


WAITS = ("half_said_ms", "open_ms", "base_ms", "unknown_ms")
MUTATED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a cough that is words": (
        "cough_over_the_agent",
        {"caller": [{"say": QUESTION}, {"interrupt": {"say": "no stop I mean Sunday", "after_ms": 900}}]},
        "never interrupted",
    ),
    "no pause before the answer": (
        "dictated_phone_number",
        # 0: who goes on over the first sound of the answer would have his turn back, and the number would be whole
        {"persona": {"conversation": {"wait": dict.fromkeys(WAITS, 300), "max_take_backs": 0}}},
        "expectation",
    ),
    "an agent that cannot be interrupted": (
        "interruption_early",
        {"persona": {"conversation": {"max_false_alarms": 0}}},
        "barge_in",
    ),
    "an echo taken for the caller": (
        "echo_20_db",
        {"persona": {"conversation": {"echo_return_loss_db": 40, "max_false_alarms": 9}}},
        "never paused",
    ),
    "a caller nobody waits for": ("silence_policy", {"persona": {"silence_policy": {"hang_up_after_s": 500}}}, "came"),
    "a model that is not dead": ("dead_model", {"caller": [{"say": QUESTION}, {"until": "quiet"}]}, "state: failed"),
    "two apologies too many": ("dead_model", {"expect": {"never": ["apology"]}}, "never apology"),
    "a line that loses half": ("loss_5_jitter_60", {"line": {"loss_percent": 50}}, "expectation"),
    "a caller who hangs up": ("quick_yes", {"caller": [{"pause": 1}, "hang_up"]}, "caller_hung_up"),
    "a key that was not pressed": ("dtmf_as_answer", {"caller": [{"until": "quiet"}]}, "[keypad] 4711#"),
}


def _laid_over(base: Any, top: Any) -> Any:
    if isinstance(base, dict) and isinstance(top, dict):
        return {**base, **{key: _laid_over(base.get(key), value) for key, value in top.items()}}
    return top


@pytest.mark.parametrize("mutation", MUTATED)
def test_a_shipped_scenario_fails_when_the_conversation_is_another(mutation):
    name, change, complaint = MUTATED[mutation]
    data = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    one = Scenario.model_validate(_laid_over(data, change))
    assert complaint in "\n".join(complaints(one, run(one), "virtual"))


def test_a_wait_that_comes_to_nothing_is_told_with_its_step():
    found = failures(caller=[{"pause": 0.4}, {"until": {"what": "agent", "limit_s": 2}}])
    assert "step 2 (until): nothing came of it within 2" in found


def test_a_caller_the_agent_hangs_up_on_is_told():
    persona = {"silence_policy": {"ask_after_s": 1, "hang_up_after_s": 2}}
    found = failures(persona=persona, caller=[{"pause": 12}, {"say": QUESTION}])
    assert "came out as agent_hung_up" in found


# --- judging ----------------------------------------------------------------------------------------------------------


def observed(*happened: Any, **facts: Any) -> Observed:
    return Observed(0.0, list(happened), **facts)


def test_real_mode_asks_for_keywords_or_half_of_the_words():
    one = scenario(modes=["real"], not_in={"virtual": "x"}, expect={"in_order": [{"caller": "book a table on Sunday"}]})
    heard = observed(CallerTurn(1.0, "Look, a table, Sunday."))
    assert complaints(one, heard, "real") == []
    heard = observed(CallerTurn(1.0, "Look at that."))
    assert "caller: book a table" in complaints(one, heard, "real")[0]
    wanted = {"caller": "book a table on Sunday", "keywords": ["sunday"]}
    one = scenario(modes=["real"], not_in={"virtual": "x"}, expect={"in_order": [wanted]})
    assert complaints(one, heard, "real")
    assert complaints(one, observed(CallerTurn(1.0, "On Sunday.")), "real") == []


def test_real_mode_looks_only_for_what_the_persona_itself_says():
    def found(text: str) -> list[str]:
        one = scenario(modes=["real"], not_in={"virtual": "x"}, expect={"in_order": [{"agent": text}]})
        one = one.model_copy(update={"expect": one.expect.model_copy(update={"caller_turns": None})})
        return complaints(one, observed(AgentTurn(2.0, "Anything a model says.", False, 1.0)), "real")

    assert found("Certainly.") == []
    assert found("nine to five")


def test_two_fillers_and_a_filler_over_the_caller_always_fail():
    filler = AgentTurn(3.0, "One moment.", False, 2.0, "filler")
    one = scenario(expect={"in_order": [], "caller_turns": 0})
    found = complaints(one, observed(filler, filler, spoken=[(1.0, 3.0)]), "virtual")
    assert "two fillers without an answer between them" in found
    assert "a filler was said over the caller" in found


# --- the line ---------------------------------------------------------------------------------------------------------


def test_lost_packets_are_concealed_and_cost_words_only_by_their_number():
    for loss, least in ((0.0, 100.0), (10.0, 80.0)):
        one = scenario(line={"loss_percent": loss, "jitter_ms": 40}, expect={"in_order": [], "caller_turns": None})
        kept = run(one).words_kept_percent
        assert kept is not None
        assert kept >= least


def test_a_frame_of_the_caller_comes_out_of_a_perfect_network_as_it_was_made():
    line = VirtualLine(scenario().line, 0.0)
    line.play(voice_like_sound(0.2))
    frames = [line.frame(0.02 * n, None) for n in range(1, 20)]
    known = [line.by_sound[frame.pcm] for frame in frames if frame.pcm in line.by_sound]
    assert len(known) >= 18
    assert known == sorted(known)


def test_echo_is_quieter_and_later():
    wire = [(1.0, b"\x20" * 160)]
    assert echo_of(wire, 1.0, loss_db=20, delay_s=0.2) is None
    echo = echo_of(wire, 1.2, loss_db=20, delay_s=0.2)
    assert echo is not None
    assert 0 < abs(int(echo[0])) < 2000


# --- files ------------------------------------------------------------------------------------------------------------

MINIMAL = "about: x\ncaller:\n  - hang_up\nexpect: {outcome: caller_hung_up}\n"

BROKEN: dict[str, tuple[str, int, str]] = {
    "unknown step": (MINIMAL.replace("hang_up\n", "hang_pu\n", 1), 3, "did you mean `hang_up`?"),
    "unknown field of a step": (MINIMAL.replace("- hang_up", "- say: {txt: hello}"), 3, "did you mean `text`?"),
    "two in one step": (MINIMAL.replace("- hang_up", "- pause: 1\n    say: hello"), 3, "a step is one of"),
    "nothing said": (MINIMAL.replace("- hang_up", "- say: ''"), 3, "nothing is said"),
    "keys that are none": (MINIMAL.replace("- hang_up", "- keys: 1-2"), 3, "pattern"),
    "a sound there is not": (MINIMAL.replace("- hang_up", "- sound: sneeze"), 3, "no such sound; there are"),
    "a mode left out": ("modes: [virtual]\n" + MINIMAL, 1, "say why under `not_in`"),
    "a reason for nothing": ("not_in: {real: y}\n" + MINIMAL, 1, "but `modes` names it"),
    "a provider step in real mode": (MINIMAL.replace("- hang_up", "- provider: {fail: llm}"), 1, "leave real out"),
    "a missing WAV": (MINIMAL.replace("- hang_up", "- say: {wav: there.wav, text: hello}"), 3, "there is no"),
    "a setting there is not": ("persona: {conversation: {filer_after_s: 1}}\n" + MINIMAL, 1, "`filler_after_s`"),
    "no steps": (MINIMAL.replace("  - hang_up", "  []"), 2, "at least 1"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_wrong_file_is_told_with_its_line(tmp_path: Path, broken: str):
    text, line, complaint = BROKEN[broken]
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert complaint in str(error.value)
    if line > 1:
        assert f"{path}:{line}: " in str(error.value)


def test_a_name_that_is_none_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'quick_yes'"):
        load_all(["quikc_yes"])


def test_pauses_inside_what_is_said():
    step = scenario(caller=[{"say": "zero three [0.8] five [1] six"}]).caller[0]
    assert list(step.value.pieces()) == [("zero three", 0.8), ("five", 1.0), ("six", 0.0)]


# --- the command ------------------------------------------------------------------------------------------------------


def call_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["scenarios", *arguments])
    return command.main()


def test_the_command_lists_and_runs(monkeypatch, capsys):
    assert call_command(monkeypatch, "--list") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in names())
    assert call_command(monkeypatch, "quick_yes", "dead_model", "-v") == 0
    printed = capsys.readouterr().out
    assert "ok     quick_yes" in printed
    assert "agent, answer: 'For how many people?'" in printed
    assert "2 of 2 as they should be" in printed


def write_failing(folder: Path, extra: str = "") -> None:
    (folder / "one.yaml").write_text(extra + MINIMAL.replace("caller_hung_up", "talking"))


def test_the_command_fails_where_a_scenario_does(monkeypatch, capsys, tmp_path):
    write_failing(tmp_path)
    assert call_command(monkeypatch, "--folder", str(tmp_path)) == 1
    assert "FAILED one\n      it came out as caller_hung_up, not talking" in capsys.readouterr().out


def test_a_known_failure_has_to_fail(monkeypatch, capsys, tmp_path):
    write_failing(tmp_path, "known_failing: {virtual: nobody knows}\n")
    assert call_command(monkeypatch, "--folder", str(tmp_path)) == 0
    assert "known to fail: nobody knows" in capsys.readouterr().out
    (tmp_path / "one.yaml").write_text("known_failing: {virtual: nobody knows}\n" + MINIMAL)
    assert call_command(monkeypatch, "--folder", str(tmp_path)) == 1
    assert "PASSED, though marked as failing" in capsys.readouterr().out


def test_a_wrong_file_ends_the_command_with_2(monkeypatch, capsys, tmp_path):
    (tmp_path / "one.yaml").write_text("abuot: x\n")
    assert call_command(monkeypatch, "--folder", str(tmp_path)) == 2
    assert "did you mean `about`?" in capsys.readouterr().err
