"""One call's facts on their way into the history. Used on the control loop; nothing here waits or raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ai_engine.call_history.entry import Entry, TableName, fit


@dataclass(frozen=True, slots=True)
class Kept:
    """What of a call is kept besides that it was."""

    words: bool = True
    """What was said. False: also no arguments, and no details that may hold words."""
    arguments: bool = True
    """Of tools."""


class CallNotes:
    """One call's; made when it begins. Each thing learnt of it goes out at once."""

    def __init__(
        self,
        call_id: str,
        put: Callable[[Entry], None],
        *,
        engine_app: str,
        kept: Kept,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._put = put
        self._kept = kept
        self._wall_clock = wall_clock
        self._position = 0
        self._call: dict[str, Any] = {
            "call_id": call_id,
            "engine_app": engine_app,
            "started_at": self._now(),
            "ended_at": None,
            **dict.fromkeys(("caller_number", "caller_name", "dialled_number"), ""),
            **dict.fromkeys(("context", "provider", "transport", "media_format"), ""),
            **dict.fromkeys(("outcome", "transferred_to", "recording_file", "error")),
            "turns": 0,
            "barge_ins": 0,
            "line_quality": None,
            "caller_line_quality": None,
        }

    def know(self, **facts: Any) -> None:
        """Columns of the call's own row; written now, or with what else of the call is written."""
        self._call.update(facts)
        self._put(Entry("calls", fit(self._call)))

    def will_know(self, **facts: Any) -> None:
        """The same, written with the next thing that `know` is told."""
        self._call.update(facts)

    def caller_said(self, turn: int, text: str) -> None:
        self._line(turn, "caller", text)

    def agent_said(
        self, turn: int, text: str, *, source: str, interrupted: bool, timeline_ms: Mapping[str, float]
    ) -> None:
        """`text` as far as it was heard."""
        self._call["turns"] += 1
        self._line(turn, "agent", text, source=source, interrupted=interrupted, timeline_ms=dict(timeline_ms))

    def tool_ran(self, name: str, outcome: str, seconds: float, arguments: Mapping[str, Any] | None = None) -> None:
        shown = dict(arguments) if arguments is not None and self._kept.words and self._kept.arguments else None
        self._add("tools", name=name, outcome=outcome, seconds=round(seconds, 3), arguments=shown)

    def moment(self, kind: str, detail: str = "", *, words: bool = False) -> None:
        """`words`: `detail` may be what somebody said."""
        if kind == "barge_in":
            self._call["barge_ins"] += 1
        self._add("moments", kind=kind, detail="" if words and not self._kept.words else detail)

    def ended(self, outcome: str) -> None:
        self.know(outcome=outcome, ended_at=self._now())

    def _line(
        self,
        turn: int,
        speaker: str,
        text: str,
        *,
        source: str | None = None,
        interrupted: bool = False,
        timeline_ms: dict[str, float] | None = None,
    ) -> None:
        self._add(
            "lines",
            turn=turn,
            speaker=speaker,
            text=text if self._kept.words else None,
            source=source,
            interrupted=interrupted,
            timeline_ms=timeline_ms,
        )

    def _add(self, table: TableName, **facts: Any) -> None:
        self._position += 1
        of_call = {"call_id": self._call["call_id"], "position": self._position, "at": self._now()}
        self._put(Entry(table, fit(of_call | facts)))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall_clock(), UTC)
