"""The pictures of benchmarks/turn_plots.py, drawn from made-up reports; and the figures put into a document."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks import turn_plots
from benchmarks.doc_figures import NoPlace, markdown_table, put
from benchmarks.turn_docs import write_barge_in, write_latency

MACHINE = {"cores": 2, "cpu_share_ours": 0.5, "cpu_share_others": 0.25}
LARGEST_BYTES = 150_000


def turn(answer_ms: float | None, *, source: str = "llm", **changed: Any) -> dict[str, Any]:
    timeline = {"stt_done": 280, "llm_first_token": 480, "end_of_turn": 505, "first_phrase": 580}
    timeline |= {"tts_first_audio": 630, "first_packet": 640}
    steps = 150
    clip = {"from_ms": -1500, "step_ms": 20, "caller": [n % 99 for n in range(steps)], "agent": [0] * steps}
    made = {
        "question": "What is it?", "pause_ms": 0, "source": source, "answer_ms": answer_ms, "filler": False,
        "cut_off": False, "timeline_ms": timeline, "clip": clip,
    }  # fmt: skip
    return made | changed


def latency_report(turns: list[dict[str, Any]]) -> dict[str, Any]:
    spread = {"n": 2, "p50": 740, "p95": 900, "max": 910}
    stages = {"stt_done": {"budget_ms": 300, "at_ms": spread, "took_ms": spread}}
    stages["end_of_turn"] = {"budget_ms": None, "at_ms": spread, "took_ms": spread}
    figures = {
        "turns": 4, "questions": 4, "with_pauses": 1, "unanswered": 0, "cut_off": 1, "missed_ends": 0, "echo_ms": 4.0,
        "llm": {"net_ms": spread, "stages": stages}, "known": {"net_ms": {"n": 0}, "stages": {}},
    }  # fmt: skip
    return {**figures, "machine": MACHINE, "every_turn": turns, "paused_turns": figures}


def texts(svg: Path) -> str:
    """All the words in a picture; also: it is an SVG, and small enough for a repository."""
    assert svg.stat().st_size < LARGEST_BYTES
    root = ET.parse(svg).getroot()
    assert root.tag.endswith("}svg")
    return " ".join(part.strip() for part in root.itertext() if part.strip())


TURNS = [turn(500.0 + 40 * n) for n in range(9)] + [turn(430.0, source="known:hours")]


def test_the_distribution_shows_both_groups_and_their_targets(tmp_path: Path) -> None:
    turn_plots.plot_distribution(latency_report(TURNS), tmp_path / "d.svg")
    words = texts(tmp_path / "d.svg")
    assert "language model (9 turns)" in words
    assert "known answer (1 turns)" in words
    for target in ("p50 ≤ 800", "p95 ≤ 1400", "p50 ≤ 550"):
        assert target in words


def test_turns_that_were_cut_off_or_not_answered_are_not_in_the_distribution(tmp_path: Path) -> None:
    report = latency_report([turn(500.0), turn(300.0, cut_off=True), turn(None)])
    turn_plots.plot_distribution(report, tmp_path / "d.svg")
    assert "language model (1 turns)" in texts(tmp_path / "d.svg")


def test_no_turns_make_an_empty_picture(tmp_path: Path) -> None:
    turn_plots.plot_distribution(latency_report([]), tmp_path / "d.svg")
    assert "p50 ≤ 800" in texts(tmp_path / "d.svg")
    assert not turn_plots.plot_timeline(latency_report([]), tmp_path / "t.svg")


def test_the_same_figures_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        turn_plots.plot_timeline(latency_report(TURNS), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_timeline_is_that_of_the_models_median_turn(tmp_path: Path) -> None:
    report = latency_report([*TURNS, turn(5000.0, filler=True)])
    chosen = turn_plots.median_turn(report)
    assert chosen is not None
    assert chosen["answer_ms"] == 660.0
    assert turn_plots.plot_timeline(report, tmp_path / "t.svg")
    words = texts(tmp_path / "t.svg")
    for stage in ("speech-to-text, by guess", "end of turn confirmed", "model's first token", "first packet"):
        assert stage in words
    assert "656 ms" in words, "what the caller waited, less the telephone"


def test_a_known_answers_timeline_has_no_model(tmp_path: Path) -> None:
    timeline = {"stt_done": 280.0, "first_phrase": 300.0, "tts_first_audio": 300.0, "first_packet": 340.0}
    known = turn(430.0, source="known:hours", timeline_ms=timeline)
    assert turn_plots.plot_timeline(latency_report([known]), tmp_path / "t.svg")
    assert "model's first token" not in texts(tmp_path / "t.svg")


def test_cut_offs_stand_against_the_wait(tmp_path: Path) -> None:
    policies = {
        factor: {"wait_ms": {"n": 9, "p50": 500 * float(factor), "p95": 900}, "cut_off_percent": 4 / float(factor)}
        for factor in ("0.6", "1.0", "1.4")
    }
    turn_plots.plot_cut_offs({"policies": policies}, tmp_path / "c.svg")
    words = texts(tmp_path / "c.svg")
    assert "× 0.6" in words
    assert "target: 2 %" in words


def test_a_barge_in_that_was_missed_is_not_in_the_picture(tmp_path: Path) -> None:
    words = {"part": "words", "sound": "Stop.", "committed": True, "silent_ms": 150.0}
    outcomes = [words, words | {"committed": False}, words | {"silent_ms": None}, words | {"part": "non_words"}]
    turn_plots.plot_barge_in({"every_outcome": outcomes}, tmp_path / "b.svg")
    assert "interruptions (1)" in texts(tmp_path / "b.svg")


# --- the document -----------------------------------------------------------------------------------------------------

DOCUMENT = """# A page

<!-- figures: turn_latency -->
old
<!-- end of figures -->
between
<!-- figures: turn_latency_paused -->
<!-- end of figures -->

<!-- figures: barge_in -->
<!-- end of figures -->
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(DOCUMENT, encoding="utf-8")
    return path


def test_figures_replace_only_what_is_between_their_marks(document: Path) -> None:
    put("turn_latency", "| new \\1 |", document=document)
    put("turn_latency", "| newer \\1 |", document=document)
    text = document.read_text(encoding="utf-8")
    assert "| newer \\1 |" in text
    assert "old" not in text
    assert text.replace("| newer \\1 |", "").split() == DOCUMENT.replace("old", "").split()


def test_figures_without_a_place_are_told(document: Path) -> None:
    with pytest.raises(NoPlace):
        put("something_else", "figures", document=document)


def test_a_table_rounds_and_leaves_empty_what_there_is_not() -> None:
    assert markdown_table(("a", "b"), [(None, 1.6)]) == "| a | b |\n| --- | --- |\n|  | 2 |"


def test_a_run_is_written_with_its_tables_and_pictures(document: Path, tmp_path: Path) -> None:
    write_latency(latency_report(TURNS), document=document, images=tmp_path / "images")
    text = document.read_text(encoding="utf-8")
    assert "| language model | 2 | 740 | 900 | 910 | 800 / 1400 |" in text
    assert "| known answer | 0 |  |  |  | 550 / – |" in text
    assert "| stt_done | 300 | 740 | 900 | 740 | 900 |" in text
    assert "| cut off | 1 of 4 (25.0 %) | 2 % |" in text
    assert "between" in text
    written = {path.name for path in (tmp_path / "images").iterdir()}
    assert written == {"turn_latency_distribution.svg", "turn_timeline.svg"}


def test_interruptions_are_written(document: Path, tmp_path: Path) -> None:
    report = {"calls_at_once": 1, "machine": MACHINE, "rows": [["missed", "0 of 1", "-"]], "every_outcome": []}
    write_barge_in(report, document=document, images=tmp_path)
    assert "| missed | 0 of 1 | - |" in document.read_text(encoding="utf-8")
    assert (tmp_path / "barge_in_distribution.svg").exists()
