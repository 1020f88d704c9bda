"""P1: does the agent wait for callers who pause, and no longer than it must? `python -m benchmarks.turn_cut_offs`

200 turns with one pause of 200 to 700 ms each, and 60 without, 6 to a call. What is real and what is made up:
`virtual_turns.py`, `paused_speech.py`. Counted are turns that were cut off (the agent sounded before the caller had
finished, or answered him twice) and missed ends (no answer, or the end found more than 1.5 s late), for the wait policy
as it is and with all its waits shorter and longer: what each setting costs in latency, and in cut-offs. Prints a table
and one line of JSON; exit code 2 when a model is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.doc_figures import IMAGES, markdown_table, put
from benchmarks.machine import usage
from benchmarks.paused_speech import Speaker, Understanding, load_sentences, plan
from benchmarks.turn_budget import spread
from benchmarks.turn_figures import LATE_MS
from benchmarks.virtual_turns import Latencies, Outcome, run_calls, scaled
from local_ai_server.catalog import ModelMissing
from voice_core.end_of_turn import WaitLimits

TURNS_PER_CALL: Final = 6
FACTORS: Final = (0.6, 0.8, 1.0, 1.2, 1.4)
BUSY_STT: Final = 3.0
"""The policy as it is, on a machine whose speech-to-text takes so many times as long."""
KINDS: Final = ("open, level", "open, falling", "whole, level", "whole, falling")
"""Of pauses: where (`paused_speech.Sentence`), and how the voice goes into it (`paused_speech.Planned`)."""


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Counts, and milliseconds after the caller's last sound. Waits and answers are those of turns not cut off."""
    paused = [o for o in outcomes if o.turn.planned.place != "none"]
    whole = [o for o in outcomes if not o.cut_off]
    unpaused = [o for o in whole if o.turn.planned.place == "none"]
    by_kind = {kind: {"turns": 0, "cut_off": 0} for kind in KINDS}
    for outcome in paused:
        mine = by_kind[f"{outcome.turn.planned.place}, {outcome.turn.planned.ending}"]
        mine["turns"] += 1
        mine["cut_off"] += outcome.cut_off
    return {
        "turns": len(outcomes),
        "paused": len(paused),
        "cut_off": sum(o.cut_off for o in outcomes),
        "cut_off_percent": round(100 * sum(o.cut_off for o in paused) / max(1, len(paused)), 1),
        "answered_twice": sum(o.replies > 1 for o in outcomes),
        "missed_ends": sum(o.missed for o in outcomes),
        "taken_back_unheard": sum(o.taken_back for o in outcomes if not o.cut_off),
        "by_kind": by_kind,
        "wait_ms": spread([o.wait_ms for o in whole if o.wait_ms is not None]),
        "wait_unpaused_ms": spread([o.wait_ms for o in unpaused if o.wait_ms is not None]),
        "answer_ms": spread([o.answer_ms for o in whole if o.answer_ms is not None]),
    }


def report_rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row per setting, for the table and the document."""
    rows: list[tuple[str, ...]] = []
    runs = {**report["policies"], f"1.0, speech-to-text × {BUSY_STT:g}": report["busy"]}
    if "by_voice" in report:
        runs["1.0, semantic model"] = report["by_voice"]
    for name, mine in runs.items():
        wait, answer = mine["wait_ms"], mine["answer_ms"]
        kinds = [f"{mine['by_kind'][kind]['cut_off']} of {mine['by_kind'][kind]['turns']}" for kind in KINDS]
        rows.append((
            name,
            f"{mine['cut_off']} ({mine['cut_off_percent']} %)",
            *kinds,
            str(mine["missed_ends"]),
            f"{wait.get('p50', '-')} / {wait.get('p95', '-')}",
            f"{answer.get('p50', '-')} / {answer.get('p95', '-')}",
        ))  # fmt: skip
    return rows


HEAD: Final = (
    "waits ×", "cut off", *KINDS, "missed ends", "end of turn p50 / p95", "answer p50 / p95",
)  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """For people."""
    rows = [HEAD, *report_rows(report)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Speak the turns, then run them under each policy. Raises `ModelMissing`."""
    before = usage()
    speaker, ears = Speaker(options.seed), Understanding()
    planned = plan(load_sentences(), paused=options.turns, plain=options.plain, seed=options.seed)
    turns = []
    for n, one in enumerate(planned, 1):
        turns.append(speaker.speak(one))
        if n % 50 == 0:
            print(f"  {n} of {len(planned)} turns spoken", file=sys.stderr, flush=True)

    def outcomes(factor: float, latencies: Latencies) -> list[Outcome]:
        waits = scaled(WaitLimits(), factor)
        return run_calls(
            turns, ears, turns_per_call=TURNS_PER_CALL, waits=waits, latencies=latencies, seed=options.seed
        )

    report: dict[str, Any] = {"benchmark": "turn_cut_offs", "seed": options.seed, "policies": {}}
    for factor in options.factors:
        run = outcomes(factor, Latencies())
        report["policies"][f"{factor:.1f}"] = figures(run)
        if factor == 1.0 or options.verbose:
            _show(factor, run)
    report["busy"] = figures(outcomes(1.0, Latencies(stt_ms=BUSY_STT * Latencies().stt_ms)))
    if not options.short:
        try:
            ears.by_voice = True
            report["by_voice"] = figures(outcomes(1.0, Latencies()))
        except ModelMissing as missing:
            print(f"without the semantic model: {missing}", file=sys.stderr)
    after = usage()
    ours, others = after.shares_since(before)
    report |= {"latencies_ms": Latencies().as_dict(), "decodes": ears.decodes}
    machine = {"cores": os.cpu_count(), "cpu_share_ours": round(ours, 3), "cpu_share_others": round(others, 3)}
    return report | {"machine": machine}


def _show(factor: float, outcomes: Sequence[Outcome]) -> None:
    print(f"waits × {factor:.1f}", file=sys.stderr)
    for o in outcomes:
        if not (o.cut_off or o.missed):
            continue
        what = "cut off" if o.cut_off else "missed "
        heard, planned = " -> ".join(o.heard_as), o.turn.planned
        print(
            f"  {what} ({planned.place}, {planned.ending}) {planned.question.text}   heard as: {heard}; "
            f"{o.spoken_over_ms:.0f} ms spoken over, {o.replies} answers",
            file=sys.stderr,
        )


def write_docs(report: dict[str, Any]) -> None:
    """Table and picture into docs/performance.md."""
    from benchmarks.turn_plots import plot_cut_offs  # noqa: PLC0415 - matplotlib is in an extra

    plot_cut_offs(report, IMAGES / "turn_cut_offs.svg")
    now = report["policies"]["1.0"]
    lines = [
        f"{now['paused']} turns with a pause of 200 to 700 ms and {now['turns'] - now['paused']} without, seed "
        f"{report['seed']}. Milliseconds after the caller's last voiced sample, of turns that were not cut off.",
        markdown_table(HEAD, report_rows(report)),
        "![End of turn against cut-offs](images/turn_cut_offs.svg)",
    ]
    put("turn_cut_offs", "\n\n".join(lines))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turn_cut_offs", description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=200, help="with a pause inside (%(default)s)")
    parser.add_argument("--plain", type=int, default=60, help="without (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which turns, voices and times (%(default)s)")
    parser.add_argument("--short", action="store_true", help="4 turns, one policy: only whether it runs")
    parser.add_argument("--verbose", action="store_true", help="list the cut-offs of every policy, not of × 1.0 only")
    parser.add_argument("--json-out", type=Path, metavar="FILE", help="write the JSON line there too")
    parser.add_argument("--write-docs", action="store_true", help="put the figures and the plot into docs/")
    options = parser.parse_args()
    options.factors = FACTORS
    if options.short:
        options.turns, options.plain, options.factors = 3, 1, (1.0,)
    return options


def main() -> int:
    """Measure and report."""
    options = _arguments()
    try:
        report = measure(options)
    except ModelMissing as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 2
    print(table(report))
    machine = report["machine"]
    print(
        f"A missed end is no answer, or an end found more than {LATE_MS:.0f} ms late. On virtual time: others used "
        f"{100 * machine['cpu_share_others']:.0f} % of the machine, to no effect"
    )
    if options.json_out:
        options.json_out.write_text(json.dumps(report) + "\n")
    if options.write_docs:
        write_docs(report)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
