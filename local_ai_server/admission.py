"""Who may use a backend now: a bounded queue by priority. Pure: requests in, grants out.

Final work goes before live speech before speculation before batches; within one priority, first come first served. At
most one speculative job runs, and none is begun while another call waits.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from model_worker.spec import Priority


class AtCapacity(Exception):
    """The queue is full."""

    def __init__(self, *, active: int, limit: int) -> None:
        super().__init__(f"{active} requests are running or waiting, which is the limit of {limit}; try again shortly")
        self.active = active
        self.limit = limit


@dataclass(eq=False, slots=True)
class Ticket:
    """One request's place. `granted` is set by `Admission`."""

    priority: Priority
    arrival: int
    granted: bool = False
    gone: bool = False

    def __lt__(self, other: Ticket) -> bool:
        return (self.priority, self.arrival) < (other.priority, other.arrival)


class Admission:
    """`slots` requests run at once, up to `max_waiting` wait; while it is held, all wait."""

    def __init__(self, *, slots: int, max_waiting: int, reserved: int = 0) -> None:
        """`reserved`: so many of the slots are not for batches."""
        self._slots = slots
        self._batch_slots = slots - reserved
        self._max_waiting = max_waiting
        self._waiting: list[Ticket] = []
        self._running: set[Ticket] = set()
        self._arrivals = 0
        self._held = False

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def held(self) -> bool:
        return self._held

    def hold(self) -> None:
        """Grants nothing until `open`: what is to serve is being loaded."""
        self._held = True

    def open(self) -> list[Ticket]:
        """The tickets granted now."""
        self._held = False
        return self._grant()

    def enter(self, priority: Priority, *, bounded: bool = True) -> tuple[Ticket, list[Ticket]]:
        """A new request's ticket, and the tickets granted now. Raises `AtCapacity`.

        One that waited in another queue before comes in whatever the length of this one (`bounded` false).
        """
        if bounded and len(self._waiting) >= self._max_waiting:
            raise AtCapacity(active=len(self._running) + len(self._waiting), limit=self._slots + self._max_waiting)
        ticket = Ticket(priority, self._arrivals)
        self._arrivals += 1
        heapq.heappush(self._waiting, ticket)
        return ticket, self._grant()

    def promote(self, ticket: Ticket, priority: Priority) -> list[Ticket]:
        """The request has become more urgent. The tickets granted now."""
        if priority < ticket.priority and not ticket.gone:
            ticket.priority = priority
            heapq.heapify(self._waiting)
        return self._grant()

    def leave(self, ticket: Ticket) -> list[Ticket]:
        """The request has ended, or gave up waiting. The tickets granted now. Idempotent."""
        if not ticket.gone:
            ticket.gone = True
            if ticket.granted:
                self._running.remove(ticket)
            else:
                self._waiting.remove(ticket)
                heapq.heapify(self._waiting)
        return self._grant()

    def _grant(self) -> list[Ticket]:
        granted: list[Ticket] = []
        while not self._held and self._waiting and len(self._running) < self._slots and self._may_run(self._waiting[0]):
            ticket = heapq.heappop(self._waiting)
            ticket.granted = True
            self._running.add(ticket)
            granted.append(ticket)
        return granted

    def _may_run(self, ticket: Ticket) -> bool:
        running = [other.priority for other in self._running]
        if ticket.priority == Priority.BATCH:
            return running.count(Priority.BATCH) < self._batch_slots
        return ticket.priority != Priority.SPECULATIVE or Priority.SPECULATIVE not in running
