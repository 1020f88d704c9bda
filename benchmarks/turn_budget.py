"""Where the time of a turn goes, by the engine's own timeline, and how much of it each stage may take.

A stage's time counts from what it waits for. The budgets add up to P1's target at the caller: what the engine does not
see (its voice activity, which hears a word's end out; the network; the telephone's jitter buffer) is the last of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

STAGES: Final = ("stt_done", "end_of_turn", "llm_first_token", "first_phrase", "tts_first_audio", "first_packet")
OUTSIDE: Final = "outside"
"""What the recording shows beside the engine's first packet, less the delay of Echo()."""

BUDGET_MS: Final[dict[str, dict[str, float]]] = {
    "llm": {
        "stt_done": 300, "llm_first_token": 200, "first_phrase": 90, "tts_first_audio": 90, "first_packet": 20,
        OUTSIDE: 100,
    },
    "known": {"end_of_turn": 430, "first_packet": 20, OUTSIDE: 100},
}  # fmt: skip
"""By who answers, of the stages that a turn waits for one after the other: 800 and 550 ms. A known answer is ready
before the turn is over, so there the wait for its end is the budget; the model's answer is not."""

_BEFORE: Final[dict[str, tuple[str, ...]]] = {
    "llm_first_token": ("stt_done",),
    "first_phrase": ("llm_first_token", "stt_done"),
    "tts_first_audio": ("first_phrase",),
    "first_packet": ("tts_first_audio", "end_of_turn"),
}
"""What a stage waits for: for `first_phrase` the first that there is, for `first_packet` the later of the two."""


class Timed(Protocol):
    """A turn, as `turn_figures.Turn`."""

    timeline_ms: dict[str, float]
    answer_ms: float | None


class Spent(NamedTuple):
    """A stage of one turn: how long after the caller's last sound, by the engine's clock, and what it took."""

    at_ms: float
    took_ms: float


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """n, p50, p95 (nearest rank) and max."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    return {
        "n": len(ordered),
        "p50": round(statistics.median(ordered)),
        "p95": round(ordered[math.ceil(0.95 * len(ordered)) - 1]),
        "max": round(ordered[-1]),
    }


def spent(timeline_ms: dict[str, float]) -> dict[str, Spent]:
    """The stages of one turn that it has."""
    found: dict[str, Spent] = {}
    for stage in STAGES:
        if stage not in timeline_ms:
            continue
        at_ms = timeline_ms[stage]
        before = [timeline_ms[name] for name in _BEFORE.get(stage, ()) if name in timeline_ms]
        since_ms = 0.0 if not before else max(before) if stage == "first_packet" else before[0]
        found[stage] = Spent(at_ms, at_ms - since_ms)
    return found


def stage_figures(turns: Sequence[Timed], group: str, echo_ms: float) -> dict[str, dict[str, Any]]:
    """For each stage the spread of when it was reached and of how long it took, with its budget (None: none)."""
    every: dict[str, list[Spent]] = {}
    for turn in turns:
        stages = spent(turn.timeline_ms)
        if turn.answer_ms is not None and "first_packet" in stages:
            heard_ms = turn.answer_ms - echo_ms
            stages[OUTSIDE] = Spent(heard_ms, heard_ms - stages["first_packet"].at_ms)
        for stage, one in stages.items():
            every.setdefault(stage, []).append(one)
    return {
        stage: {
            "budget_ms": BUDGET_MS[group].get(stage),
            "at_ms": spread([one.at_ms for one in every[stage]]),
            "took_ms": spread([one.took_ms for one in every[stage]]),
        }
        for stage in (*STAGES, OUTSIDE)
        if stage in every
    }


STAGE_HEAD: Final = ("stage", "budget", "took p50", "took p95", "at p50", "at p95")


def stage_rows(stages: dict[str, dict[str, Any]]) -> list[tuple[str, float | None, float, float, float, float]]:
    """Under `STAGE_HEAD`, in milliseconds."""
    return [
        (
            stage,
            mine["budget_ms"],
            mine["took_ms"]["p50"],
            mine["took_ms"]["p95"],
            mine["at_ms"]["p50"],
            mine["at_ms"]["p95"],
        )
        for stage, mine in stages.items()
    ]
