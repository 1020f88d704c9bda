"""benchmarks/turn_latency.py: what it makes of recordings and events, and that its short form runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.turn_budget import BUDGET_MS, OUTSIDE, spread
from benchmarks.turn_figures import Question, as_dict, figures, judge
from benchmarks.turn_latency import choose, load_questions
from local_ai_server.catalog import ModelMissing, find_model
from tools.call import Recording
from tools.pbx_instance import Pbx
from tools.stack import PROJECT

PLAIN = Question(("a question",), 0, "llm")
IN_PIECES = Question(("a question", "in pieces"), 400, "llm")


def voiced(*spans: tuple[float, float], seconds: float = 8.0) -> Any:
    pcm = np.zeros(int(seconds * 8000), np.int16)
    for begin_s, end_s in spans:
        pcm[int(begin_s * 8000) : int(end_s * 8000)] = 6000 * np.sin(np.arange(int(end_s * 8000) - int(begin_s * 8000)))
    return pcm


def recording(caller: list[tuple[float, float]], agent: list[tuple[float, float]]) -> Recording:
    return Recording(100.0, voiced(*caller), voiced(*agent))


def agent_turn(source: str = "llm", **timeline_ms: float) -> dict[str, Any]:
    return {"type": "agent_turn", "source": source, "text": "an answer", "timeline_ms": timeline_ms}


CALLER_TURN = {"type": "caller_turn", "text": "a question"}


def test_the_wait_is_from_the_last_voiced_sample_to_the_first() -> None:
    heard = recording([(1.0, 2.0)], [(0.1, 0.5), (2.7, 3.5)])
    turn = judge(PLAIN, heard, 101.0, 102.0, [CALLER_TURN, agent_turn(first_packet=650)])
    assert turn.answer_ms == pytest.approx(700, abs=10)
    assert turn.answered
    assert not turn.cut_off


def test_a_filler_is_told_apart_from_the_answer() -> None:
    heard = recording([(1.0, 2.0)], [(4.5, 5.2), (5.6, 7.0)])
    events = [CALLER_TURN, agent_turn("said"), agent_turn(first_packet=3590)]
    turn = judge(PLAIN, heard, 101.0, 102.0, events)
    assert turn.filler
    assert turn.first_sound_ms == pytest.approx(2500, abs=10)
    assert turn.answer_ms == pytest.approx(3600, abs=10)


def test_an_answer_into_the_pause_is_cut_off_and_not_measured() -> None:
    heard = recording([(1.0, 2.0), (2.4, 3.0)], [(2.3, 2.6), (3.8, 5.0)])
    turn = judge(IN_PIECES, heard, 101.0, 103.0, [CALLER_TURN, agent_turn(first_packet=750)])
    assert turn.spoke_over
    report = figures([turn], echo_ms=5.0)
    assert report["cut_off"] == 1
    assert report["llm"]["net_ms"] == {"n": 0}


def test_pieces_taken_for_two_turns_are_cut_off() -> None:
    heard = recording([(1.0, 2.0), (2.4, 3.0)], [(3.8, 5.0)])
    turn = judge(IN_PIECES, heard, 101.0, 103.0, [CALLER_TURN, CALLER_TURN, agent_turn(first_packet=750)])
    assert turn.split


def test_a_turn_without_a_reply_is_unanswered() -> None:
    turn = judge(PLAIN, recording([(1.0, 2.0)], []), 101.0, 102.0, [CALLER_TURN])
    assert not turn.answered
    assert turn.trouble
    assert figures([turn], echo_ms=0.0)["unanswered"] == 1


def test_an_end_found_far_too_late_is_missed_though_it_was_answered() -> None:
    heard = recording([(1.0, 2.0)], [(4.2, 5.0)])
    late, quick = (
        judge(PLAIN, heard, 101.0, 102.0, [CALLER_TURN, agent_turn(end_of_turn=ms, first_packet=2150)])
        for ms in (2000, 500)
    )
    assert late.answered
    assert late.missed_end
    assert not quick.missed_end
    assert figures([late, quick], echo_ms=0.0)["missed_ends"] == 1


def test_a_stage_takes_what_passes_after_the_one_it_waits_for() -> None:
    heard = recording([(1.0, 2.0)], [(2.75, 3.5)])
    stages = {"stt_done": 280, "llm_first_token": 480, "end_of_turn": 505, "first_phrase": 560, "tts_first_audio": 640}
    turn = judge(PLAIN, heard, 101.0, 102.0, [CALLER_TURN, agent_turn(**stages, first_packet=650)])
    took = {name: mine["took_ms"]["p50"] for name, mine in figures([turn], echo_ms=5.0)["llm"]["stages"].items()}
    outside = took.pop(OUTSIDE)
    assert took == {
        "stt_done": 280, "end_of_turn": 505, "llm_first_token": 200, "first_phrase": 80, "tts_first_audio": 80,
        "first_packet": 10,
    }  # fmt: skip
    assert outside == pytest.approx(750 - 5 - 650, abs=10)


@pytest.mark.parametrize(("group", "target_ms"), [("llm", 800), ("known", 550)])
def test_the_budgets_add_up_to_the_target(group: str, target_ms: float) -> None:
    assert sum(BUDGET_MS[group].values()) == target_ms


def test_a_report_keeps_the_sound_of_a_turn_small() -> None:
    turn = judge(
        PLAIN, recording([(1.0, 2.0)], [(2.75, 3.5)]), 101.0, 102.0, [CALLER_TURN, agent_turn(first_packet=650)]
    )
    kept = as_dict(turn)
    sound = kept["clip"]
    assert sound["from_ms"] == pytest.approx(-1500, abs=10)
    assert len(sound["caller"]) == len(sound["agent"]) == pytest.approx((1.5 + 0.75 + 1.2) / 0.02, abs=2)
    assert len(json.dumps(kept)) < 3000


def test_the_spread_uses_the_nearest_rank() -> None:
    assert spread([float(n) for n in range(1, 101)]) == {"n": 100, "p50": 50, "p95": 95, "max": 100}
    assert spread([]) == {"n": 0}


def test_no_question_comes_again_before_all_have_been_asked() -> None:
    questions = load_questions()
    assert len(set(questions)) == len(questions) >= 20
    assert any(200 <= question.pause_ms <= 700 for question in questions)
    chosen = choose(list(questions), 30, seed=1)
    assert len(set(chosen)) == 30
    assert [question.expected for question in chosen[:4]] == ["known", "llm", "known", "llm"]


@pytest.mark.asterisk
@pytest.mark.models
@pytest.mark.timeout(300)
def test_the_short_form_runs(pbx: Pbx, tmp_path: Path) -> None:
    del pbx  # says whether there is an Asterisk to be had; the benchmark brings up its own
    try:
        for name in ("whisper-tiny.en", "en_US-joe-medium", "SmolLM2-135M-Instruct-Q8_0", "silero_vad"):
            find_model(name)
    except ModelMissing as missing:
        pytest.skip(f"needs the embedded models: {missing}")
    out = tmp_path / "latency.json"
    command = [sys.executable, "-m", "benchmarks.turn_latency", "--short", "--json-out", str(out)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["turns"] == 4
    assert report["unanswered"] == 0
    assert report["echo_ms"] >= 0
    assert report["llm"]["net_ms"]["n"] + report["known"]["net_ms"]["n"] + report["cut_off"] == 4
    for group in ("llm", "known"):
        assert {"end_of_turn", "first_phrase", "first_packet"} <= report[group]["stages"].keys()
    assert {"cores", "loadavg_before", "loadavg_after", "cpu_share_others"} <= report["machine"].keys()
    assert len(json.loads(out.read_text())["every_turn"]) == 4
