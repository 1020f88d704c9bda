"""What the engine tells of one call while a scenario runs in real time: where it stands, and at the end `Observed`.

The engine's live events carry wall-clock times; here everything is seconds of `time.monotonic`, as the caller has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from tools.engine_events import EngineEvents
from tools.scenarios import judge
from tools.scenarios.model import LINES, Outcome, Persona, plain

_NEXT_REPLY_S: Final = 0.1
"""An agent still sounding so long after the end of a turn has begun another one (a filler's answer)."""
_IN_BETWEEN: Final = frozenset({"barge_in", "resumed", "kept", "took_back", "failed"})
"""Announced like a state, but says what happened, not who has the floor."""
_OUTCOMES: Final[dict[str, Outcome]] = {
    "caller_hung_up": "caller_hung_up",
    "agent_hung_up": "agent_hung_up",
    "fell_back": "fell_back",
    "transferred": "transferred",
}


class CallRecord:
    """The events of the call of one caller, who is known by his number."""

    def __init__(self, events: EngineEvents, caller_number: str) -> None:
        self._events = events
        self._number = caller_number
        self._first = len(events.seen)
        self._call_id: str | None = None
        self._wall_minus_monotonic_s = time.time() - time.monotonic()

    async def started(self, timeout_s: float) -> None:
        """Wait until the engine has the call. Raises `TimeoutError`."""
        event = await self._events.find(
            lambda e: e["type"] == "call_started" and e["caller_number"] == self._number,
            start=self._first,
            timeout_s=timeout_s,
        )
        self._call_id = event["call_id"]

    async def ended(self, timeout_s: float) -> None:
        """Wait until the engine has given back everything of the call. Raises `TimeoutError`."""
        await self._events.find(
            lambda e: e["type"] == "call_ended" and e["call_id"] == self._call_id,
            start=self._first,
            timeout_s=timeout_s,
        )

    @property
    def mark(self) -> int:
        """How many events there are by now, for `observed(until=…)`."""
        return len(self._events.seen)

    @property
    def state(self) -> tuple[str, float]:
        """Who has the floor, in the engine's words, and since when."""
        for event in reversed(self._mine()):
            if event["type"] == "state" and event["state"] not in _IN_BETWEEN:
                return event["state"], self._at(event)
        return "new", 0.0

    def begun(self, until: int | None = None) -> list[float]:
        """When each turn of the agent began to sound. Going on after a pause is no beginning."""
        times: list[float] = []
        before, over_at = "", None
        for event in self._mine(until):
            at = self._at(event)
            if over_at is not None and event["type"] != "call_ended":
                if before == "speaking" and at - over_at > _NEXT_REPLY_S:
                    times.append(over_at)
                over_at = None
            if event["type"] == "agent_turn":
                over_at = at
            elif event["type"] == "state" and event["state"] not in _IN_BETWEEN:
                if event["state"] == "speaking" and before != "paused":
                    times.append(at)
                before = event["state"]
        alive = not any(event["type"] == "call_ended" for event in self._mine(until))
        if alive and over_at is not None and before == "speaking" and time.monotonic() - over_at > _NEXT_REPLY_S:
            times.append(over_at)
        return times

    def observed(self, persona: Persona, *, began: float, until: int | None = None) -> judge.Observed:
        """What the engine told of up to event `until`, and how the call came out."""
        observed = judge.Observed(began)
        begun = self.begun(until)
        for event in self._mine(until):
            at = self._at(event)
            match event["type"]:
                case "caller_turn":
                    observed.happened.append(judge.CallerTurn(at, event["text"]))
                case "agent_turn":
                    first_sound = next((time_s for time_s in reversed(begun) if time_s < at), None)
                    begun = [time_s for time_s in begun if time_s >= at]
                    turn = judge.AgentTurn(at, event["text"], event["interrupted"], first_sound, _kind(persona, event))
                    observed.happened.append(turn)
                case "state":
                    observed.happened.append(judge.StateChange(at, event["state"], event["detail"]))
                case "call_ended" if event["outcome"] in _OUTCOMES:
                    observed.outcome = _OUTCOMES[event["outcome"]]
                case "call_ended":
                    observed.broken.append(f"the engine ended the call: {event['outcome']}")
        if any(event["type"] == "missed" for event in self._events.seen[self._first :]):
            observed.broken.append("the engine's events came faster than they were read: some are missing")
        return observed

    def _mine(self, until: int | None = None) -> list[dict[str, Any]]:
        seen = self._events.seen[self._first : until]
        return [event for event in seen if event.get("call_id") == self._call_id] if self._call_id else []

    def _at(self, event: dict[str, Any]) -> float:
        return float(event["at"]) - self._wall_minus_monotonic_s


def _kind(persona: Persona, event: dict[str, Any]) -> str:
    """What the persona says by itself by its name, else `answer`. Of what was cut only the beginning is known."""
    if event["source"] == "said":
        heard = plain(event["text"])
        for name, text in _own_lines(persona):
            if text and plain(text).startswith(heard):
                return name
    return "answer"


def _own_lines(persona: Persona) -> Iterator[tuple[str, str]]:
    yield "greeting", persona.greeting
    for name in LINES:
        yield name, persona.line(name)
