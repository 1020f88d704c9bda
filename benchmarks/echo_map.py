"""How often the agent's own echo interrupts it, and how often a caller who talks over it is not heard: a map.

    python -m benchmarks.echo_map [--turns 100] [--modes off cancel] [--jobs 2] [--write-docs] [--short]

Over echo return loss (6 to 30 dB) and delay (20 to 300 ms), without and with the echo canceller: calls on virtual time
(`benchmarks.echo_calls`) with the real conversation, playout and voice activity, Piper as the agent, two voices of
Kokoro as the caller and Whisper (tiny.en) where an interruption is decided. Every second turn is spoken into. The same
seed gives the same calls. Finished rows are kept in `--results` and not measured again. Prints tables and one line of
JSON; `--write-docs` puts the tables into docs/echo.md and the maps beside it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ai_engine.media.echo import WebRtcCanceller
from benchmarks.echo_calls import TURNS_PER_CALL, Cell, EchoCall, Hear, SteppedDetector, Tally, whisper
from benchmarks.echo_report import DELAYS_MS, LOSSES_DB, MODES, table, write_docs
from benchmarks.echo_speech import make_stock
from tools.stack import PROJECT

WEIGHTS: Final = PROJECT / "models" / "vad" / "silero_vad.onnx"
CACHE: Final = PROJECT / "var" / "echo_map"


def measure(mode: str, cells: Sequence[Cell], turns: int, seed: int, *, short: bool = False) -> list[dict[str, Any]]:
    """Figures of each cell, all cells in step so that their voice activity is judged together."""
    stock = make_stock(CACHE, short=short)
    hear = _whisper()
    detector = SteppedDetector(WEIGHTS, len(cells))
    make_canceller = WebRtcCanceller if mode == "cancel" else None
    tallies = [Tally() for _ in cells]
    calls: list[EchoCall | None] = [None] * len(cells)
    placed = [0] * len(cells)
    while True:
        for n, tally in enumerate(tallies):
            call = calls[n]
            if call is not None and call.over:
                call.close()
                call = calls[n] = None
            if call is None and tally.turns < turns:
                placed[n] += 1
                kind = [round(cells[n].loss_db), round(cells[n].delay_ms), int(cells[n].wanders)]
                call = calls[n] = EchoCall(
                    cells[n], stock, tally, seed=[seed, *kind, placed[n]], detector=detector, hear=hear,
                    make_canceller=make_canceller, most_turns=min(turns, TURNS_PER_CALL),
                )  # fmt: skip
            if call is not None:
                call.tick()
        if not any(calls):
            break
        detector.step()
    return [{"mode": mode, **asdict(cell), **figures(tally)} for cell, tally in zip(cells, tallies, strict=True)]


@functools.cache
def _whisper() -> Hear:
    """One for all rows of a process."""
    return whisper()


def figures(tally: Tally) -> dict[str, Any]:
    """Counts, and what they are in 100 turns."""
    paused = sorted(tally.pause_ms)
    return {
        "turns": tally.turns,
        "interrupted": tally.interrupted,
        "self_interruptions": tally.self_interruptions,
        "self_pauses": tally.self_pauses,
        "missed": tally.missed,
        "self_interruptions_per_100": round(100 * tally.self_interruptions / max(tally.turns, 1), 1),
        "missed_per_100": round(100 * tally.missed / max(tally.interrupted, 1), 1),
        "pause_p50_ms": round(paused[len(paused) // 2]) if paused else None,
    }


def run(rows: Sequence[tuple[str, Sequence[Cell]]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows, `--jobs` at a time; those in `--results` are taken from there."""
    done: list[dict[str, Any]] = []
    if options.results is not None and options.results.exists():
        done = [json.loads(line) for line in options.results.read_text().splitlines()]
    known = {(row["mode"], row["loss_db"], row["delay_ms"], row["wanders"]) for row in done}
    todo = [
        (mode, cells)
        for mode, cells in rows
        if any((mode, c.loss_db, c.delay_ms, c.wanders) not in known for c in cells)
    ]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(max_workers=options.jobs, mp_context=context) as pool:
        futures = [
            pool.submit(measure, mode, cells, options.turns, options.seed, short=options.short) for mode, cells in todo
        ]
        for future in concurrent.futures.as_completed(futures):
            found = future.result()
            done += found
            print(f"  {found[0]['mode']} at {found[0]['loss_db']:g} dB: done", file=sys.stderr, flush=True)
            if options.results is not None:
                options.results.parent.mkdir(parents=True, exist_ok=True)
                with options.results.open("a") as kept:
                    kept.writelines(json.dumps(cell) + "\n" for cell in found)
    return done


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.echo_map", description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=100, help="of the agent, in each cell (%(default)s)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--losses", nargs="+", type=float, default=list(LOSSES_DB), metavar="DB")
    parser.add_argument("--delays", nargs="+", type=float, default=list(DELAYS_MS), metavar="MS")
    parser.add_argument("--wander", action="store_true", help="also delays that move by a packet, at 20 dB")
    parser.add_argument("--jobs", type=int, default=1, help="processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, help="JSON lines of finished rows: kept and not measured again")
    parser.add_argument("--write-docs", action="store_true", help="tables and maps into docs/")
    parser.add_argument("--short", action="store_true", help="two cells of a few turns: only whether it runs")
    options = parser.parse_args()
    if options.short:
        options.turns, options.losses, options.delays, options.modes = 2, [20.0], [200.0], ["cancel"]
    make_stock(CACHE, short=options.short)
    rows = [
        (mode, [Cell(loss, delay) for delay in options.delays]) for loss in options.losses for mode in options.modes
    ]
    if options.wander:
        rows += [(mode, [Cell(20.0, delay, wanders=True) for delay in options.delays]) for mode in options.modes]
    cells = run(rows, options)
    print(table(cells))
    if options.write_docs:
        write_docs(cells, PROJECT / "docs")
    print(json.dumps({"benchmark": "echo_map", "seed": options.seed, "cells": cells}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
