"""What became of each sound over the agent's speech, and the figures over all of them. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(slots=True)
class Outcome:
    """What became of one sound over the agent's speech."""

    part: str
    sound: str
    committed: bool = False
    paused: bool = False
    heard: bool = False
    """For yes and no: it reached the agent as words."""
    words: str = ""
    """What it was taken for."""
    silent_ms: float | None = None
    trouble: str = ""


def figures(outcomes: list[Outcome]) -> dict[str, Any]:
    """The report without the machine."""
    parts = {name: [o for o in outcomes if o.part == name] for name in ("words", "non_words", "answer", "echo")}
    silent = sorted(o.silent_ms for o in parts["words"] if o.silent_ms is not None and o.committed)
    return {
        "interruptions": len(parts["words"]),
        "missed": sum(not o.committed for o in parts["words"]),
        "silent_p50_ms": _percentile(silent, 50),
        "silent_p95_ms": _percentile(silent, 95),
        "non_words": len(parts["non_words"]),
        "non_words_resumed": sum(not o.committed for o in parts["non_words"] if not o.trouble),
        "answers": len(parts["answer"]),
        "answers_heard": sum(o.heard for o in parts["answer"]),
        "echo_turns": len(parts["echo"]),
        "echo_commits": sum(o.committed for o in parts["echo"]),
        "echo_pauses": sum(o.paused and not o.committed for o in parts["echo"]),
        "troubles": sum(bool(o.trouble) for o in outcomes),
    }


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None


def rows(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What was measured, how it came out, its target."""
    silent = f"p50 {report['silent_p50_ms']} ms, p95 {report['silent_p95_ms']} ms"
    return [
        ("caller's onset → agent silent", silent, "p95 350 ms"),
        ("interruptions missed", f"{report['missed']} of {report['interruptions']}", "-"),
        ("coughs, uh-huh: agent went on", f"{report['non_words_resumed']} of {report['non_words']}", "9 of 10"),
        ("yes and no heard", f"{report['answers_heard']} of {report['answers']}", "all"),
        ("echo: interruptions by itself", f"{report['echo_commits']} of {report['echo_turns']}", "0"),
        ("echo: pauses by itself", f"{report['echo_pauses']} of {report['echo_turns']}", "5 of 100"),
        ("turns that broke", str(report["troubles"]), "0"),
    ]  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """For people."""
    return "\n".join(f"{name:<32} {value:<32} target {target}" for name, value, target in rows(report))


def as_dicts(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """For a report with every outcome; what `turn_plots` draws."""
    return [asdict(outcome) for outcome in outcomes]
