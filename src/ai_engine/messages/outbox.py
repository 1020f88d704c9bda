"""Deliveries off the calls' clock: tried again with growing pauses, and after a restart of the engine.

Each is on the disk (`Spool`) before it is tried, and until it is done or will never be. Lives on the control loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from ai_engine.messages.spool import Spool, Spooled

log = structlog.get_logger(__name__)

RETRY_DELAYS_S: Final = (2.0, 10.0, 60.0, 300.0)
"""After each failed try; then it is given up."""
MAX_WAITING: Final = 500
"""Deliveries at one time, those between two tries included; more wait on the disk until one of these is done."""
STOP_WITHIN_S: Final = 5.0
_AT_ONCE: Final = 4


class DeliveryFailed(Exception):
    """What was to be delivered could not be; the message says why and holds no secrets."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing for one taker."""

    call_id: str
    taker: str
    """The tool's name."""
    send: Callable[[], Awaitable[None]]
    """Raises `DeliveryFailed`; may come again after one that is `retryable`."""
    content: Callable[[], Mapping[str, Any]] = field(default=lambda: {})
    """What has to be kept for it to be sent after a restart, as JSON. Asked again after each try."""
    id: str = ""
    """Unlike any other that waits; empty: call and taker."""

    @property
    def name(self) -> str:
        return self.id or f"{self.call_id}.{self.taker}"


class Outbox:
    """The engine's deliveries of one kind."""

    def __init__(
        self,
        kind: str,
        spool: Spool | None = None,
        *,
        delays_s: Sequence[float] = RETRY_DELAYS_S,
        max_waiting: int = MAX_WAITING,
        stop_within_s: float = STOP_WITHIN_S,
        on_done: Callable[[str, str], None] = lambda taker, outcome: None,
    ) -> None:
        """`kind` is what logs call it. `spool` None: nothing outlives the engine.

        `on_done` is told taker and outcome (delivered, failed, dropped) of each.
        """
        self._kind = kind
        self._spool = spool
        self._delays_s = tuple(delays_s)
        self._max_waiting = max_waiting
        self._stop_within_s = stop_within_s
        self._on_done = on_done
        self._tasks: set[asyncio.Task[None]] = set()
        self._of: Callable[[Mapping[str, Any]], Delivery | None] | None = None
        self._on_disk: deque[str] = deque()
        """Names of those for which there is no room yet."""
        self._stopping = False
        self._erased: set[str] = set()
        """Calls that nothing more is to be told of."""
        self._room = asyncio.Semaphore(_AT_ONCE)

    @property
    def waiting(self) -> int:
        """Deliveries that are not done."""
        return len(self._tasks) + len(self._on_disk)

    def add(self, delivery: Delivery) -> None:
        """Have it sent; returns at once."""
        if self._has_room:
            self._start(self._deliver(delivery))
        elif self._of is not None:
            self._start(self._wait_on_disk(delivery))
        else:
            self._drop(delivery)

    async def resume(self, of: Callable[[Mapping[str, Any]], Delivery | None]) -> None:
        """Take up what an engine before this one left; `of` makes a delivery of its content, None: nobody takes it."""
        if self._spool is None:
            return
        self._of = of
        for spooled in await asyncio.to_thread(self._spool.waiting):
            delivery = self._read(spooled)
            if delivery is None:
                continue
            log.info("delivery_taken_up", kind=self._kind, **self._facts(delivery))
            if self._has_room:
                self.add(delivery)
            else:
                self._on_disk.append(spooled.id)

    async def stop(self) -> None:
        """A moment for what is under way; the rest is left for the next start. Idempotent."""
        self._stopping = True
        if not self._tasks:
            return
        tasks = tuple(self._tasks)
        _, left = await asyncio.wait(tasks, timeout=self._stop_within_s)
        for task in left:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if left and self._spool is None:
            log.error("deliveries_given_up", kind=self._kind, deliveries=len(left))
        elif left:
            log.warning(
                "deliveries_left", kind=self._kind, deliveries=len(left), remedy="tried again at the next start"
            )

    def delete_call(self, call_id: str) -> int:
        """Nothing more of that call is to be kept on the disk, or sent. Blocks on the disk."""
        self._erased.add(call_id)
        return self._spool.delete_call(call_id) if self._spool is not None else 0

    def _facts(self, delivery: Delivery) -> dict[str, str]:
        return {"call_id": delivery.call_id, "hook": delivery.taker}

    @property
    def _has_room(self) -> bool:
        return len(self._tasks) < self._max_waiting

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"delivery-{self._kind}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._on_disk and self._has_room and not self._stopping:
            self._start(self._take_up(self._on_disk.popleft()))

    def _drop(self, delivery: Delivery) -> None:
        log.error("delivery_dropped", kind=self._kind, **self._facts(delivery), waiting=self.waiting)
        self._on_done(delivery.taker, "dropped")

    async def _wait_on_disk(self, delivery: Delivery) -> None:
        if not await self._keep(delivery):
            self._drop(delivery)
            return
        log.warning("delivery_waits_for_room", kind=self._kind, **self._facts(delivery), waiting=self.waiting)
        self._on_disk.append(delivery.name)

    async def _take_up(self, name: str) -> None:
        """There is room for it. Who deleted its call has deleted it, too."""
        assert self._spool is not None
        spooled = await asyncio.to_thread(self._spool.get, name)
        delivery = self._read(spooled) if spooled is not None else None
        if delivery is not None:
            await self._deliver(delivery)

    def _read(self, spooled: Spooled) -> Delivery | None:
        """None, which is told, for what makes no delivery."""
        try:
            delivery = self._of(spooled.content) if self._of is not None else None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.error("delivery_not_readable", kind=self._kind, file=spooled.id, error=type(error).__name__)  # noqa: TRY400
            return None
        if delivery is None or delivery.name != spooled.id:
            log.error("delivery_has_no_taker", kind=self._kind, file=spooled.id)
            return None
        return delivery

    async def _deliver(self, delivery: Delivery) -> None:
        facts = self._facts(delivery)
        try:
            await self._keep(delivery)
            for delay_s in (*self._delays_s, None):
                if delivery.call_id in self._erased:
                    await self._done(delivery, "dropped")
                    return
                try:
                    async with self._room:
                        await delivery.send()
                except DeliveryFailed as error:
                    if delay_s is None or not error.retryable:
                        log.error("delivery_failed", kind=self._kind, **facts, error=str(error))  # noqa: TRY400 - it says why
                        await self._done(delivery, "failed")
                        return
                    log.warning("delivery_retried", kind=self._kind, **facts, error=str(error), in_s=delay_s)
                    await self._keep(delivery)
                    await asyncio.sleep(delay_s)
                else:
                    log.info("delivery_done", kind=self._kind, **facts)
                    await self._done(delivery, "delivered")
                    return
        except Exception:  # root of a task: other deliveries go on
            log.exception("delivery_broke", kind=self._kind, **facts)
            await self._done(delivery, "failed")

    async def _keep(self, delivery: Delivery) -> bool:
        """On the disk, or told that it is not: it is tried all the same."""
        if self._spool is None or delivery.call_id in self._erased:
            return False
        try:
            await asyncio.to_thread(self._spool.put, delivery.name, delivery.content())
        except OSError as error:
            log.warning("delivery_not_kept", kind=self._kind, **self._facts(delivery), error=str(error))
            return False
        return True

    async def _done(self, delivery: Delivery, outcome: str) -> None:
        if self._spool is not None:
            try:
                await asyncio.to_thread(self._spool.remove, delivery.name)
            except OSError as error:
                log.warning("delivery_not_removed", kind=self._kind, **self._facts(delivery), error=str(error))
        self._on_done(delivery.taker, outcome)
