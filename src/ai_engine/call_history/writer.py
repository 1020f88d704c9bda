"""Writes the history as calls go, without ever holding one up: a bounded queue and one task.

A database that is locked, full or away is tried again for as long as the queue has room; what there is no room for,
and what the database will never take, is counted and told. Calls go on in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, Literal, Protocol

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from ai_engine.call_history.entry import Entry
from ai_engine.call_history.schema import SchemaTooNew

log = structlog.get_logger(__name__)

MOST_WAITING: Final = 5000
"""Entries; a busy call makes about one a second. A call's own row may still wait beyond it, up to the double."""
BATCH: Final = 200
GATHER_S: Final = 0.25
"""More may come: one transaction for many is one wait for the disk."""
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 15.0
TELL_AGAIN_S: Final = 60.0

Loss = Literal["full", "refused", "stopped"]
"""Why something was not written: no room in the queue, the database will never take it, the engine ended."""


class Store(Protocol):
    """What the writer needs of `HistoryStore`."""

    async def open(self) -> bool: ...

    async def write(self, entries: Sequence[Entry]) -> None: ...


class HistoryWriter:
    """One engine's. `put` on the loop that `start` ran on."""

    def __init__(
        self,
        store: Store,
        *,
        on_written: Callable[[int], None] = lambda _count: None,
        on_failure: Callable[[], None] = lambda: None,
        on_lost: Callable[[Loss, int], None] = lambda _why, _count: None,
        most_waiting: int = MOST_WAITING,
        gather_s: float = GATHER_S,
        first_retry_s: float = FIRST_RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_failure`: of one attempt, which will be repeated."""
        self._store = store
        self._on_written = on_written
        self._on_failure = on_failure
        self._on_lost = on_lost
        self._most_waiting = most_waiting
        self._gather_s = gather_s
        self._first_retry_s = first_retry_s
        self._clock = clock
        self._waiting: deque[Entry] = deque()
        self._something = asyncio.Event()
        self._nothing = asyncio.Event()
        self._nothing.set()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lost_full = 0
        self._failing_since: float | None = None
        self._told_at = 0.0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def put(self, entry: Entry) -> None:
        """Have `entry` written some time soon. Never blocks, never raises."""
        most = self._most_waiting * (2 if entry.table == "calls" else 1)
        if len(self._waiting) >= most:
            if not self._lost_full:
                log.error("history_lost", why="full", waiting=len(self._waiting), call_id=entry.call_id)
            self._lost_full += 1
            self._on_lost("full", 1)
            return
        self._waiting.append(entry)
        self._something.set()
        self._nothing.clear()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="call-history")

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Write what waits and end; what cannot be written in time is lost, and told."""
        self._stopping.set()
        self._something.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=timeout_s)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._waiting:
            log.error("history_lost", why="stopped", entries=len(self._waiting))
            self._on_lost("stopped", len(self._waiting))
            self._waiting.clear()

    async def written(self) -> None:
        """Returns when nothing waits any more."""
        await self._nothing.wait()

    # --- the task -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        retry_s = self._first_retry_s
        while True:
            await self._something.wait()
            if self._waiting:
                if len(self._waiting) < BATCH:
                    await self._pause(self._gather_s)
                if await self._write_some():
                    retry_s = self._first_retry_s
                else:
                    await self._pause(retry_s, also_at_the_end=True)
                    retry_s = min(2 * retry_s, LONGEST_RETRY_S)
            if not self._waiting:
                self._nothing.set()
                if self._stopping.is_set():
                    return
                self._something.clear()

    async def _pause(self, seconds: float, *, also_at_the_end: bool = False) -> None:
        """Shorter once the engine stops: then there is no time to lose."""
        if self._stopping.is_set():
            if also_at_the_end:
                await asyncio.sleep(min(seconds, self._first_retry_s))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _write_some(self) -> bool:
        """Whether it got further."""
        batch = list(islice(self._waiting, BATCH))
        opened = False
        try:
            await self._store.open()
            opened = True
            await self._store.write(batch)
        except Exception as error:  # noqa: BLE001 - root of the task: whatever it is, it is told and tried again
            if opened and _is_refusal(error):
                return await self._write_one_by_one(batch, error)
            self._failed(error)
            return False
        self._done(len(batch))
        return True

    async def _write_one_by_one(self, batch: Sequence[Entry], reason: Exception) -> bool:
        """Something in it is never taken, however often it is tried: find it, and leave it out."""
        log.warning("history_batch_refused", entries=len(batch), error=_words(reason))
        for entry in batch:
            try:
                await self._store.write([entry])
            except Exception as error:  # noqa: BLE001 - as above
                if not _is_refusal(error):
                    self._failed(error)
                    return False
                self._refused(entry, error)
            else:
                self._done(1)
        return True

    def _done(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self._on_written(count)
        if self._failing_since is not None:
            log.info("history_written_again", after_s=round(self._clock() - self._failing_since, 1))
            self._failing_since = None
        if self._lost_full and len(self._waiting) < self._most_waiting // 2:
            log.error("history_lost", why="full", entries=self._lost_full)
            self._lost_full = 0

    def _refused(self, entry: Entry, error: Exception) -> None:
        self._waiting.popleft()
        log.error("history_lost", why="refused", table=entry.table, call_id=entry.call_id, error=_words(error))
        self._on_lost("refused", 1)

    def _failed(self, error: Exception) -> None:
        self._on_failure()
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._told_at < TELL_AGAIN_S:
            return
        self._told_at = now
        log.error("history_not_written", error=_words(error), waiting=len(self._waiting), room=self._most_waiting)


def _is_refusal(error: Exception) -> bool:
    """Of the entry, however often it is tried."""
    inner = error.orig if isinstance(error, StatementError) and not isinstance(error, DBAPIError) else error
    return isinstance(inner, IntegrityError | DataError | ValueError | TypeError | OverflowError)


def _words(error: Exception) -> str:
    """What went wrong; of a value that was refused only in which way: drivers repeat the value."""
    inner = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if _is_refusal(error) or not isinstance(error, DBAPIError | OSError | SchemaTooNew):
        return type(inner).__name__
    return f"{type(inner).__name__}: {inner}"[:300]
