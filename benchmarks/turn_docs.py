"""What turn_latency and barge_in put into docs/performance.md: tables and pictures of the run that was just made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.doc_figures import IMAGES, PERFORMANCE, machine_line, markdown_table, put
from benchmarks.turn_budget import STAGE_HEAD, stage_rows

_GROUPS: Final = (("llm", "language model", "800 / 1400"), ("known", "known answer", "550 / –"))


def write_latency(report: dict[str, Any], *, document: Path = PERFORMANCE, images: Path = IMAGES) -> None:
    """`report` with `every_turn`. Of turns asked with `--paused` a table of their own."""
    if report["every_turn"]:
        put("turn_latency", _latency(report, images), document=document)
    if "paused_turns" in report:
        put("turn_latency_paused", _paused(report["paused_turns"], report["machine"]), document=document)


def _latency(report: dict[str, Any], images: Path) -> str:
    from benchmarks.turn_plots import plot_distribution, plot_timeline  # noqa: PLC0415 - matplotlib is in an extra

    plot_distribution(report, images / "turn_latency_distribution.svg")
    has_timeline = plot_timeline(report, images / "turn_timeline.svg")
    rows = []
    for group, name, target in _GROUPS:
        net = report[group]["net_ms"]
        rows.append((name, net["n"], net.get("p50"), net.get("p95"), net.get("max"), target))
    parts = [
        f"{report['turns']} turns of {report['questions']} different questions, {report['with_pauses']} with a pause "
        f"inside; {machine_line(report['machine'])}. `Echo()`, taken off: {report['echo_ms']:.0f} ms. Unanswered "
        f"{report['unanswered']}, cut off {report['cut_off']}, missed ends {report['missed_ends']}.",
        markdown_table(("answered by", "turns", "p50", "p95", "max", "target p50 / p95"), rows),
        "![How many turns were answered by when](images/turn_latency_distribution.svg)",
    ]
    for group, name, _ in _GROUPS:
        if report[group]["stages"]:
            parts.append(f"Stages, answered by {name}:")
            parts.append(markdown_table(STAGE_HEAD, stage_rows(report[group]["stages"])))
    if has_timeline:
        parts.append("![One turn: the sound of both sides and the engine's stages](images/turn_timeline.svg)")
    return "\n\n".join(parts)


def _paused(mine: dict[str, Any], machine: dict[str, Any]) -> str:
    llm, known = mine["llm"]["net_ms"], mine["known"]["net_ms"]
    rows = [
        ("cut off", f"{mine['cut_off']} of {mine['turns']} ({100 * mine['cut_off'] / mine['turns']:.1f} %)", "2 %"),
        ("missed ends", f"{mine['missed_ends']} of {mine['turns']}", "0"),
        ("language model, p50 / p95", f"{llm.get('p50', '–')} / {llm.get('p95', '–')} ms", "800 / 1400 ms"),
        ("known answers, p50 / p95", f"{known.get('p50', '–')} / {known.get('p95', '–')} ms", "550 / –"),
    ]
    return f"{machine_line(machine)}.\n\n" + markdown_table(("real calls, a pause in every turn", "", "target"), rows)


def write_barge_in(report: dict[str, Any], *, document: Path = PERFORMANCE, images: Path = IMAGES) -> None:
    """`report` with `every_outcome` and `rows`."""
    from benchmarks.turn_plots import plot_barge_in  # noqa: PLC0415 - matplotlib is in an extra

    plot_barge_in(report, images / "barge_in_distribution.svg")
    parts = [
        f"{report['calls_at_once']} call(s) at once; {machine_line(report['machine'])}.",
        markdown_table(("", "measured", "target"), report["rows"]),
        "![How soon the agent is silent](images/barge_in_distribution.svg)",
    ]
    put("barge_in", "\n\n".join(parts), document=document)
