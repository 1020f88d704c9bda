"""The call history of one engine: made from settings, started and stopped with the engine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from ai_engine.call_history.notes import CallNotes, Kept
from ai_engine.call_history.pages import CallPages
from ai_engine.call_history.retention import Retention
from ai_engine.call_history.schema import SchemaTooNew
from ai_engine.call_history.store import HistoryStore
from ai_engine.call_history.writer import HistoryWriter
from ai_engine.config_file import ConfigError
from ai_engine.media.recording_folder import RecordingFolder
from ai_engine.metrics import Metrics
from ai_engine.settings import HistorySettings

log = structlog.get_logger(__name__)

FILE: Final = "call-history.sqlite3"


class CallHistory:
    """Raises `ConfigError` for what cannot work."""

    def __init__(
        self,
        settings: HistorySettings,
        *,
        state_folder: Path,
        engine_app: str,
        recordings: RecordingFolder,
        metrics: Metrics,
        also_delete: Callable[[str], int] = lambda call_id: 0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        url = settings.url.get_secret_value()
        if not url:
            file = (state_folder / FILE).absolute()
            url = URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)
        try:
            self.store = HistoryStore(url)
        except ValueError as error:
            raise ConfigError(f"history.url (ENGINE_HISTORY_URL): {error}") from None
        self.pages = CallPages(self.store, recordings, also_delete)
        self._engine_app = engine_app
        self._kept = Kept(words=settings.transcripts, arguments=settings.tool_arguments)
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._writer = HistoryWriter(
            self.store,
            on_written=self._written,
            on_failure=metrics.history_failures.inc,
            on_lost=lambda why, count: metrics.history_lost.labels(why).inc(count),
        )
        self._retention = Retention(
            self.store,
            keep_days=settings.keep_days,
            engine_app=engine_app,
            on_deleted=metrics.history_deleted.inc,
            wall_clock=wall_clock,
        )
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises `ConfigError` where a later version has changed the database. One that is away is waited for."""
        try:
            if await self.store.open():
                log.info("history_migrated")
        except SchemaTooNew as error:
            await self.store.close()
            raise ConfigError(str(error)) from None
        except (SQLAlchemyError, OSError) as error:
            log.warning("history_not_opened", error=type(error).__name__, remedy="calls go on; it is tried again")
        self._metrics.history_waiting.set_function(lambda: self._writer.waiting)
        self._writer.start()
        self._sweeping = asyncio.create_task(self._retention.run(), name="call-history-retention")

    async def stop(self) -> None:
        """After the last call."""
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeping
        await self._writer.stop()
        await self.store.close()

    def notes(self, call_id: str) -> CallNotes:
        """For a call that begins."""
        return CallNotes(
            call_id, self._writer.put, engine_app=self._engine_app, kept=self._kept, wall_clock=self._wall_clock
        )

    async def written(self) -> None:
        """Returns when nothing waits to be written."""
        await self._writer.written()

    def _written(self, count: int) -> None:
        self._metrics.history_written.inc(count)
