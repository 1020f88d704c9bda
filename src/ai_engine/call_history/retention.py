"""At the start and each hour: calls that are older than they may be kept are deleted, those of a dead engine ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ai_engine.call_history.schema import SchemaTooNew
from ai_engine.call_history.store import HistoryStore

log = structlog.get_logger(__name__)

EVERY_S: Final = 3600.0
TRY_AGAIN_S: Final = 60.0
_MOST_DAYS: Final = 36_500.0


class Retention:
    """One engine's. Several on one database do no harm."""

    def __init__(
        self,
        store: HistoryStore,
        *,
        keep_days: float,
        engine_app: str,
        on_deleted: Callable[[int], None] = lambda _count: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`keep_days` 0: nothing is ever too old."""
        self._store = store
        self._keep = timedelta(days=min(keep_days, _MOST_DAYS)) if keep_days else None
        self._engine_app = engine_app
        self._on_deleted = on_deleted
        self._wall_clock = wall_clock
        self._started = datetime.fromtimestamp(wall_clock(), UTC)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.sweep()
            except (SQLAlchemyError, OSError, SchemaTooNew) as error:  # away or locked
                log.warning("history_not_swept", error=type(error).__name__)
                await asyncio.sleep(TRY_AGAIN_S)
            else:
                await asyncio.sleep(EVERY_S)

    async def sweep(self) -> int:
        """One round; returns how many calls it deleted. Raises what the database raises."""
        await self._store.open()
        if died := await self._store.end_unended(self._engine_app, self._started):
            log.warning("history_calls_ended", calls=died, why="their engine died")
        deleted = 0
        if self._keep is not None:
            now = datetime.fromtimestamp(self._wall_clock(), UTC)
            deleted = await self._store.delete_before(now - self._keep)
        if not await self._store.wipe():
            log.info("history_not_wiped", why="it is being read; tried again with the next round")
        if deleted:
            log.info("history_swept", calls=deleted)
            self._on_deleted(deleted)
        return deleted
