"""Pictures of turns: `python -m benchmarks.turn_plots latency.json FOLDER` from what turn_latency wrote (--json-out).

The distribution of the waits with their targets; one turn, that of the median, with the sound of both sides and each
stage of the engine on one time axis; and cut-offs against waiting, from turn_cut_offs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ai_engine.conversation.conversation_settings import ConversationSettings
from benchmarks.plots import BLUE, GREEN, GREY, ORANGE, RED, draw_distribution, draw_target, label_distribution, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TARGETS_MS: Final = {"llm": ((50, 800.0), (95, 1400.0)), "known": ((50, 550.0),)}
_GROUPS: Final = (("llm", "language model", BLUE), ("known", "known answer", ORANGE))


def net_ms(turn: dict[str, Any], echo_ms: float) -> float | None:
    """The wait of a turn of `every_turn`, less the telephone's own delay; None where it is not measured."""
    if turn["answer_ms"] is None or turn["cut_off"]:
        return None
    return float(turn["answer_ms"]) - echo_ms


def group_of(turn: dict[str, Any]) -> str:
    """Who answered."""
    return "llm" if turn["source"].startswith(("llm", "near")) else "known"


def plot_distribution(report: dict[str, Any], path: Path) -> None:
    """Of all turns that were answered and not cut off, by who answered."""
    with picture(path) as (axes,):
        for group, name, color in _GROUPS:
            waits = [
                ms
                for turn in report["every_turn"]
                if group_of(turn) == group and (ms := net_ms(turn, report["echo_ms"])) is not None
            ]
            draw_distribution(axes, waits, label=f"{name} ({len(waits)} turns)", color=color)
            for share, ms in TARGETS_MS[group]:
                draw_target(axes, ms, share, f"p{share} ≤ {ms:.0f}", color)
        label_distribution(axes, "ms from the caller's last sound to the answer's first, less Echo()'s delay")
        axes.set_ylabel("turns answered by then")


def median_turn(report: dict[str, Any]) -> dict[str, Any] | None:
    """The turn whose wait is nearest to the median of those the model answered (else of all); None without any.

    Only turns without a pause inside and without a filler, of which the sound is kept.
    """
    measured = [
        (ms, turn)
        for turn in report["every_turn"]
        if (ms := net_ms(turn, report["echo_ms"])) is not None
        and turn.get("clip")
        and not turn["filler"]
        and "first_packet" in turn["timeline_ms"]
    ]
    of_model = [(ms, turn) for ms, turn in measured if group_of(turn) == "llm"]
    chosen = of_model or measured
    if not chosen:
        return None
    middle = sorted(ms for ms, _ in chosen)[len(chosen) // 2]
    plain = [(ms, turn) for ms, turn in chosen if not turn.get("pause_ms")] or chosen
    found: dict[str, Any] = min(plain, key=lambda one: abs(one[0] - middle))[1]
    return found


def plot_timeline(report: dict[str, Any], path: Path) -> bool:
    """One turn of both sides' sound and of the engine's stages; False when there is none to show.

    The engine counts from where its voice activity last heard the caller. That point is placed such that its first
    packet meets the first sample the caller heard, less the telephone's delay.
    """
    turn = median_turn(report)
    if turn is None:
        return False
    stages = turn["timeline_ms"]
    zero = turn["answer_ms"] - report["echo_ms"] - stages["first_packet"]
    with picture(path, size=(7.2, 4.6), rows=(1.0, 1.7)) as (sound, bars):
        _draw_sound(sound, turn["clip"])
        sound.set_title(
            f"“{turn['question']}” → {turn['answer_ms'] - report['echo_ms']:.0f} ms", loc="left", fontsize=9
        )
        rows = _stage_rows(stages, zero)
        for n, (name, begin, end, color) in enumerate(rows):
            bars.barh(n, max(end - begin, 4.0), left=begin, height=0.6, color=color)
            bars.text(end + 12, n, f"{end - begin:.0f}" if end > begin else "", va="center", fontsize=8)
            bars.text(-30, n, name, va="center", ha="right", fontsize=8)
        bars.set_ylim(len(rows) - 0.4, -0.6)
        bars.set_yticks([])
        bars.set_xlabel("ms from the caller's last voiced sample")
        for axes, name in ((sound, "caller's last sound"), (bars, "")):
            axes.axvline(0, color=GREY, linewidth=0.8)
            axes.axvline(turn["answer_ms"], color=GREY, linewidth=0.8)
            if name:
                axes.annotate(name, (0, 1), xycoords=("data", "axes fraction"), xytext=(3, -8),
                              textcoords="offset points", fontsize=7.5, color=GREY)  # fmt: skip
        bars.set_xlim(max(turn["clip"]["from_ms"], -1200), turn["answer_ms"] + 700)
    return True


def _draw_sound(axes: Axes, clip: dict[str, Any]) -> None:
    at = [clip["from_ms"] + n * clip["step_ms"] for n in range(len(clip["caller"]))]
    for side, color, base in (("caller", GREEN, 1.0), ("agent", BLUE, -1.0)):
        loudest = max(1, *clip[side])
        height = [0.9 * level / loudest for level in clip[side]]
        axes.fill_between(at, [base - h for h in height], [base + h for h in height], color=color, linewidth=0)
    axes.set_yticks([1.0, -1.0])
    axes.set_yticklabels(["caller", "agent"])
    axes.grid(visible=False, axis="y")
    axes.set_ylim(-2.1, 2.1)


def _stage_rows(stages: dict[str, float], zero: float) -> list[tuple[str, float, float, str]]:
    """Name, begin, end (ms after the caller's last sample) and color of each bar, in the order of what happens."""
    guess_ms = ConversationSettings().speculation_ms
    rows = [("line, voice activity", 0.0, zero, GREY), ("a short pause", zero, zero + guess_ms, GREY)]

    def bar(name: str, begin: float | None, end: float | None, color: str) -> None:
        if begin is not None and end is not None:
            rows.append((name, zero + begin, zero + max(begin, end), color))

    heard, phrase, audio = (stages.get(name) for name in ("stt_done", "first_phrase", "tts_first_audio"))
    token = stages.get("llm_first_token")
    bar("speech-to-text, by guess", min(guess_ms, heard) if heard is not None else None, heard, GREEN)
    bar("end of turn confirmed", 0.0, stages.get("end_of_turn"), RED)
    bar("model's first token", heard, token, BLUE)
    bar("first phrase", token if token is not None else heard, phrase, BLUE)
    bar("its sound", phrase, audio, ORANGE)
    ready = max((ms for ms in (audio, stages.get("end_of_turn")) if ms is not None), default=None)
    bar("first packet", ready, stages["first_packet"], ORANGE)
    return rows


def plot_cut_offs(report: dict[str, Any], path: Path) -> None:
    """What each setting of the waits costs: cut-offs against the median wait, and against the 95th percentile."""
    with picture(path) as (axes,):
        for measure, color in (("p50", BLUE), ("p95", GREY)):
            points = [
                (mine["wait_ms"][measure], mine["cut_off_percent"], factor)
                for factor, mine in report["policies"].items()
                if mine["wait_ms"]["n"]
            ]
            axes.plot(
                [p[0] for p in points], [p[1] for p in points], marker="o", color=color, label=f"end of turn, {measure}"
            )
            for ms, percent, factor in points:
                axes.annotate(f"× {factor}", (ms, percent), textcoords="offset points", xytext=(4, 4), fontsize=7.5)
        axes.axhline(2.0, color=RED, linewidth=1.0, linestyle=(0, (4, 3)), label="target: 2 %")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("ms from the caller's last sound to the end of turn")
        axes.set_ylabel("% of turns with a pause cut off")
        axes.legend(loc="upper right")


def plot_barge_in(report: dict[str, Any], path: Path) -> None:
    """How soon the agent is silent: of interruptions that were taken for such."""
    silent: Sequence[float] = [
        outcome["silent_ms"]
        for outcome in report["every_outcome"]
        if outcome["part"] == "words" and outcome["committed"] and outcome["silent_ms"] is not None
    ]
    with picture(path) as (axes,):
        draw_distribution(axes, silent, label=f"interruptions ({len(silent)})", color=BLUE)
        draw_target(axes, 350.0, 95, "p95 ≤ 350", RED)
        label_distribution(axes, "ms from the caller's first sound to the agent's last")
        axes.set_ylabel("silent by then")


def main() -> int:
    """Draw again what was measured before."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turn_plots", description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path, help="what a benchmark wrote with --json-out")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    options = parser.parse_args()
    report = json.loads(options.report.read_text(encoding="utf-8"))
    match report["benchmark"]:
        case "turn_latency":
            plot_distribution(report, options.folder / "turn_latency_distribution.svg")
            plot_timeline(report, options.folder / "turn_timeline.svg")
        case "turn_cut_offs":
            plot_cut_offs(report, options.folder / "turn_cut_offs.svg")
        case "barge_in":
            plot_barge_in(report, options.folder / "barge_in_distribution.svg")
        case other:
            parser.error(f"no pictures of {other}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
