"""What became of each turn of a call, and the figures over all of them. Pure: recordings and events in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.turn_budget import STAGE_HEAD, spread, stage_figures, stage_rows
from benchmarks.turn_clip import clip
from tools.call import Recording
from tools.call.measure import Voiced, voiced_segments
from tools.call.wav import RATE_HZ

LATE_MS = 1500.0
"""A turn whose end the engine finds later than this after the caller's last sound counts as a missed end."""

_ONSET_TOLERANCE_S = 0.25
"""How far the engine's last voiced window and the recording's last voiced sample may be apart."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something a caller says: its pieces with `pause_ms` of silence between them."""

    pieces: tuple[str, ...]
    pause_ms: int
    expected: str
    """'known' or 'llm'."""

    @property
    def text(self) -> str:
        return f" … {self.pause_ms} ms … ".join(self.pieces)


@dataclass(slots=True)
class Turn:
    """One question as it was asked, and what was heard of the answer. Milliseconds, from the last voiced sample."""

    question: Question
    source: str = ""
    """The event's, or empty when no answer came."""
    caller_text: str = ""
    said: str = ""
    first_sound_ms: float | None = None
    answer_ms: float | None = None
    """The same, unless a filler sounded first."""
    filler: bool = False
    spoke_over: bool = False
    """The agent began before the last piece was over."""
    split: bool = False
    """The engine took the pieces for several turns."""
    trouble: str = ""
    """Why there was no answer."""
    timeline_ms: dict[str, float] = field(default_factory=dict)
    clip: dict[str, Any] | None = None
    """What it sounded like: `turn_clip.clip`."""

    @property
    def answered(self) -> bool:
        return self.answer_ms is not None

    @property
    def cut_off(self) -> bool:
        return self.spoke_over or self.split

    @property
    def missed_end(self) -> bool:
        """Never answered, or its end found far too late."""
        return not self.answered or self.timeline_ms.get("end_of_turn", 0.0) > LATE_MS

    @property
    def by_llm(self) -> bool:
        return self.source.startswith(("llm", "near"))

    @property
    def group(self) -> str:
        """Who answered: 'llm' or 'known'."""
        return "llm" if self.by_llm else "known"


def judge(
    question: Question, recording: Recording, begin_s: float, end_s: float, events: Sequence[dict[str, Any]]
) -> Turn:
    """The turn whose question was sent from `begin_s` to `end_s` (of `time.monotonic`).

    `events` are the engine's, of this call, from the beginning of the question on. What was said by the agent without
    being asked (source 'said') is a filler here.
    """
    turn = Turn(question)
    replies = [e for e in events if e["type"] == "agent_turn" and e["source"] != "said"]
    caller = [e["text"] for e in events if e["type"] == "caller_turn"]
    turn.caller_text = " | ".join(caller)
    turn.split = len(caller) > 1 or len(replies) > 1
    asked = _within(recording, begin_s - recording.begin_s - 0.02, end_s - recording.begin_s + 0.1)
    if asked is None:
        turn.trouble = "the question is not in the caller's recording"
        return turn
    heard = voiced_segments(recording.agent, join_ms=100)
    turn.spoke_over = any(asked.begin_s + 0.1 < a.begin_s < asked.end_s for a in heard)
    after = [a for a in heard if a.begin_s >= asked.end_s]
    if not replies:
        turn.trouble = "the engine reports no answer"
        return turn
    reply = replies[-1]
    turn.source, turn.said, turn.timeline_ms = reply["source"], reply["text"], reply["timeline_ms"]
    if not after:
        turn.trouble = "nothing was heard after the question"
        return turn
    turn.first_sound_ms = turn.answer_ms = (after[0].begin_s - asked.end_s) * 1000
    turn.filler = any(e["type"] == "agent_turn" and e["source"] == "said" for e in events)
    if turn.filler:
        turn.answer_ms = _real_answer_ms(asked, after, turn.timeline_ms)
    turn.clip = clip(recording.caller, recording.agent, end_s=asked.end_s, answer_s=after[0].begin_s)
    return turn


def as_dict(turn: Turn) -> dict[str, Any]:
    """The turn for a report with every turn; what `turn_plots` draws."""
    return {
        "said": turn.said, "heard_as": turn.caller_text, "question": turn.question.text,
        "pause_ms": turn.question.pause_ms, "source": turn.source, "answer_ms": turn.answer_ms,
        "first_sound_ms": turn.first_sound_ms, "filler": turn.filler, "cut_off": turn.cut_off,
        "missed_end": turn.missed_end, "timeline_ms": turn.timeline_ms, "trouble": turn.trouble, "clip": turn.clip,
    }  # fmt: skip


def _within(recording: Recording, begin_s: float, end_s: float) -> Voiced | None:
    """From the caller's first to the last voiced sample in that part of the recording."""
    first = max(0, round(begin_s * RATE_HZ))
    segments = voiced_segments(recording.caller[first : round(end_s * RATE_HZ)])
    if not segments:
        return None
    return Voiced(first / RATE_HZ + segments[0].begin_s, first / RATE_HZ + segments[-1].end_s)


def _real_answer_ms(asked: Voiced, after: Sequence[Voiced], timeline_ms: dict[str, float]) -> float | None:
    """The onset closest to where the engine says that it sent the answer's first packet; else that moment itself."""
    first_packet_ms = timeline_ms.get("first_packet")
    if first_packet_ms is None:
        return None
    expected_s = asked.end_s + first_packet_ms / 1000
    onset_s = min((a.begin_s for a in after), key=lambda begin_s: abs(begin_s - expected_s))
    if abs(onset_s - expected_s) > _ONSET_TOLERANCE_S:
        return first_packet_ms
    return (onset_s - asked.end_s) * 1000


def figures(turns: Sequence[Turn], echo_ms: float) -> dict[str, Any]:
    """The report's numbers: latencies net of `echo_ms`, for who answered apart; without turns whose pieces were cut."""
    report: dict[str, Any] = {
        "turns": len(turns),
        "questions": len({t.question.text for t in turns}),
        "unanswered": sum(not t.answered for t in turns),
        "with_pauses": sum(len(t.question.pieces) > 1 for t in turns),
        "cut_off": sum(t.cut_off for t in turns),
        "missed_ends": sum(t.missed_end for t in turns),
        "not_as_expected": sum(t.answered and t.group != t.question.expected for t in turns),
        "echo_ms": round(echo_ms, 1),
    }
    whole = [t for t in turns if t.answered and not t.cut_off]
    for group in ("llm", "known"):
        mine = [t for t in whole if t.group == group]
        direct = [t for t in mine if not t.filler]
        report[group] = {
            "net_ms": spread([t.answer_ms - echo_ms for t in mine if t.answer_ms is not None]),
            "fillers": sum(t.filler for t in mine),
            "filler_net_ms": spread([t.first_sound_ms - echo_ms for t in mine if t.filler and t.first_sound_ms]),
            "without_filler_net_ms": spread([t.answer_ms - echo_ms for t in direct if t.answer_ms is not None]),
            "stages": stage_figures(mine, group, echo_ms),
        }
    return report


def table(turns: Sequence[Turn], report: dict[str, Any]) -> str:
    """The same to read."""
    echo_ms = report["echo_ms"]
    lines = ["net ms  engine  source               question"]
    for turn in turns:
        net = f"{turn.answer_ms - echo_ms:6.0f}" if turn.answer_ms is not None else "     -"
        packet = turn.timeline_ms.get("first_packet")
        notes = [
            f"filler after {turn.first_sound_ms - echo_ms:.0f} ms" if turn.filler and turn.first_sound_ms else "",
            "spoken over" if turn.spoke_over else "",
            "split" if turn.split else "",
            turn.trouble,
        ]
        note = "; ".join(n for n in notes if n)
        packet_text = f"{packet:6.0f}" if packet is not None else "     -"
        lines.append(f"{net}  {packet_text}  {turn.source:<20} {turn.question.text}{f'  [{note}]' if note else ''}")
    lines.append("")
    for group in ("llm", "known"):
        lines += _group_lines(group, report[group])
    lines.append(
        f"{report['turns']} turns, {report['questions']} different questions, {report['unanswered']} unanswered; "
        f"{report['cut_off']} cut off ({report['with_pauses']} had a pause inside), "
        f"{report['missed_ends']} missed ends (unanswered, or found more than {LATE_MS:.0f} ms late); "
        f"{report['not_as_expected']} answered by the other kind; Echo() {echo_ms:.0f} ms, taken off"
    )
    return "\n".join(lines)


def _group_lines(group: str, mine: dict[str, Any]) -> list[str]:
    net = mine["net_ms"]
    if not net["n"]:
        return [f"{group}: no turns", ""]
    lines = [f"{group}: {net['n']} turns, net p50 {net['p50']}, p95 {net['p95']}, max {net['max']} ms"]
    if mine["fillers"]:
        first, direct = mine["filler_net_ms"], mine["without_filler_net_ms"]
        lines.append(
            f"  {mine['fillers']} began with a filler (p50 {first['p50']} ms); "
            f"the others: p50 {direct.get('p50', '-')}, p95 {direct.get('p95', '-')} ms"
        )
    rows = stage_rows(mine["stages"])
    lines.append(f"  {STAGE_HEAD[0]:<16}" + "".join(f"{title:>10}" for title in STAGE_HEAD[1:]))
    for stage, *values in rows:
        lines.append(f"  {stage:<16}" + "".join(f"{'-' if ms is None else format(ms, '.0f'):>10}" for ms in values))
    return [*lines, ""]
