"""The calls of one worker: which waits, which runs, which is cancelled. Used from the reader and the call threads."""

from __future__ import annotations

import heapq
import threading
from dataclasses import dataclass, field
from typing import Any, Final

from model_worker.spec import Priority

_SPECULATIVE: Final = int(Priority.SPECULATIVE)


@dataclass(slots=True)
class Call:
    """One request to the model."""

    id: int
    op: str
    method: str
    args: dict[str, Any]
    body: bytes
    priority: int
    cancelled: threading.Event = field(default_factory=threading.Event)


class CallQueue:
    """Waiting calls by priority, first come first served within one; at most one speculative call runs at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, Call]] = []
        self._running: dict[int, Call] = {}
        self._arrivals = 0
        self._closed = False

    def put(self, call: Call) -> None:
        """Adds a waiting call."""
        with self._changed:
            heapq.heappush(self._waiting, (call.priority, self._arrivals, call))
            self._arrivals += 1
            self._changed.notify()

    def take(self) -> Call | None:
        """The next call, now running, as soon as there is one; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                if self._waiting and self._may_run(self._waiting[0][0]):
                    call = heapq.heappop(self._waiting)[2]
                    self._running[call.id] = call
                    return call
                self._changed.wait()
            return None

    def finished(self, call: Call) -> None:
        """The call that was taken has ended."""
        with self._changed:
            del self._running[call.id]
            self._changed.notify_all()

    def cancel(self, call_id: int) -> Call | None:
        """Tells a running call to end; or takes a waiting one out and returns it. Unknown calls have ended already."""
        with self._changed:
            running = self._running.get(call_id)
            if running is not None:
                running.cancelled.set()
                return None
            for at, (_, _, call) in enumerate(self._waiting):
                if call.id == call_id:
                    self._waiting[at] = self._waiting[-1]
                    self._waiting.pop()
                    heapq.heapify(self._waiting)
                    return call
            return None

    def close(self, grace_s: float) -> None:
        """No call is taken any more. Cancels the running ones and waits up to `grace_s` for them to end."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            for call in self._running.values():
                call.cancelled.set()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running, grace_s)

    def counts(self) -> tuple[int, int]:
        """(waiting, running)."""
        with self._changed:
            return len(self._waiting), len(self._running)

    def _may_run(self, priority: int) -> bool:
        return priority < _SPECULATIVE or all(call.priority < _SPECULATIVE for call in self._running.values())
