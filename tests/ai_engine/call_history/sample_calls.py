"""Calls for the tests of the history, as their notes make them."""

from __future__ import annotations

from ai_engine.call_history.entry import Entry
from ai_engine.call_history.notes import CallNotes, Kept
from ai_engine.call_history.store import HistoryStore

NOON = 1_795_176_000.0
"""2026-11-20 12:00 UTC."""


class SampleCall:
    """One call's notes and what they put."""

    def __init__(self, call_id: str, *, at: float = NOON, app: str = "ai-agent", kept: Kept | None = None) -> None:
        self.entries: list[Entry] = []
        self.now = at
        kept = kept or Kept()
        self.notes = CallNotes(call_id, self.entries.append, engine_app=app, kept=kept, wall_clock=lambda: self.now)

    async def into(self, store: HistoryStore) -> None:
        await store.write(self.entries)
        self.entries.clear()


def sample_call(
    call_id: str,
    *,
    at: float = NOON,
    caller: str = "+4930123",
    said: str = "I would like a table",
    context: str = "restaurant",
    app: str = "ai-agent",
    ended: bool = True,
) -> SampleCall:
    """A call with something of everything."""
    call = SampleCall(call_id, at=at, app=app)
    notes = call.notes
    notes.know(caller_number=caller, caller_name="Ada", dialled_number="6000", context=context)
    notes.know(provider="local", transport="rtp", media_format="ulaw")
    notes.agent_said(1, "Good day.", source="said", interrupted=False, timeline_ms={})
    call.now += 3
    notes.caller_said(2, said)
    notes.tool_ran("book", "ok", 0.25, {"people": 2})
    call.now += 1
    notes.agent_said(2, "For how many?", source="llm", interrupted=True, timeline_ms={"first_packet": 612.5})
    notes.moment("barge_in", "for two", words=True)
    if ended:
        call.now += 5
        notes.will_know(line_quality={"received": 500, "lost": 1, "jitter_ms": 0.4}, caller_line_quality=None)
        notes.ended("caller_hung_up")
    return call
