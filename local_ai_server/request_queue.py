"""The requests in front of one backend: they wait for their turn, or while it loads, and move on when it is retired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from local_ai_server.admission import Admission, AtCapacity, Ticket
from local_ai_server.errors import ServeError
from model_worker.spec import Priority


class Moved(Exception):
    """The backend is retired: the request is to wait in its successor's queue."""


class HeldTooLong(Exception):
    """The backend was still loading when the request had waited as long as it may."""


@dataclass(eq=False, slots=True)
class Place:
    """A request's place in the queue of whatever backend serves it; `promote` may come before, in or after it."""

    priority: Priority
    queue_ms: float = 0.0
    on_promote: Callable[[], None] | None = None
    """Called by `promote`; belongs to whoever holds the request now."""

    def promote(self) -> None:
        """Somebody waits for it now."""
        self.priority = Priority.FINAL
        if self.on_promote is not None:
            self.on_promote()


@dataclass(eq=False, slots=True)
class _Waiter:
    may_move: bool
    granted: asyncio.Future[bool]
    """False: it is to move on."""
    limit: asyncio.Timeout
    """How long it may wait while the queue is held."""


class RequestQueue:
    """`Admission` for tasks."""

    def __init__(self, name: str, *, slots: int, max_waiting: int, held_s: float, reserved: int = 0) -> None:
        """`held_s`: how long a request may wait for a backend that is being loaded. `reserved`: as in `Admission`."""
        self._name = name
        self._admission = Admission(slots=slots, max_waiting=max_waiting, reserved=reserved)
        self._waiters: dict[Ticket, _Waiter] = {}
        self._held_s = held_s
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waiting(self) -> int:
        return self._admission.waiting

    @property
    def running(self) -> int:
        return self._admission.running

    @asynccontextmanager
    async def turn(self, place: Place, *, moved: bool, may_move: bool) -> AsyncIterator[None]:
        """Entered when it is the request's turn. Raises `Moved`, `HeldTooLong`, and `ServeError` when it is full.

        `moved`: it was let in elsewhere before, and is not refused here.
        """
        try:
            ticket, granted = self._admission.enter(place.priority, bounded=not moved)
        except AtCapacity as full:
            raise ServeError(
                "server_at_capacity",
                f"{self._name}: {full}",
                retryable=True,
                active=full.active,
                max=full.limit,
                available=0,
                at_capacity=True,
            ) from None
        self._empty.clear()
        place.on_promote = lambda: self._wake(self._admission.promote(ticket, place.priority))
        try:
            self._wake(granted)
            if not ticket.granted:
                await self._wait(ticket, may_move=may_move)
            yield
        finally:
            place.on_promote = None
            self._wake(self._admission.leave(ticket))
            if not self._admission.running and not self._admission.waiting:
                self._empty.set()

    async def _wait(self, ticket: Ticket, *, may_move: bool) -> None:
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(self._held_s if self._admission.held else None)
        waiter = self._waiters[ticket] = _Waiter(may_move, loop.create_future(), limit)
        try:
            async with limit:
                granted = await waiter.granted
        except TimeoutError:
            raise HeldTooLong from None
        finally:
            del self._waiters[ticket]
        if not granted:
            raise Moved

    def hold(self) -> None:
        """All wait until `open`."""
        self._admission.hold()

    def open(self) -> None:
        """It may serve."""
        for waiter in self._waiters.values():
            if not waiter.limit.expired():
                waiter.limit.reschedule(None)
        self._wake(self._admission.open())

    def move_on(self) -> None:
        """Those that wait and may move raise `Moved`, in their order."""
        for ticket in sorted(self._waiters):
            waiter = self._waiters[ticket]
            if waiter.may_move and not ticket.granted and not waiter.granted.done():
                waiter.granted.set_result(False)

    async def emptied(self) -> None:
        """Returns once nobody runs or waits."""
        await self._empty.wait()

    def _wake(self, granted: list[Ticket]) -> None:
        for ticket in granted:
            waiter = self._waiters.get(ticket)
            if waiter is not None and not waiter.granted.done():
                waiter.granted.set_result(True)
