"""The database: opened, written to, and cleared of what has to go. Reading is in `queries.py`.

Everything blocks a thread of the driver's, never the loop. Whatever of a call stands in a statement goes as a
parameter, and errors do not repeat it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    delete,
    event,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ai_engine.call_history.entry import Entry
from ai_engine.call_history.models import TABLES, CallRow, LineRow, MomentRow
from ai_engine.call_history.schema import migrate

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_AT_A_TIME: Final = 200
"""Calls deleted in one transaction, so that what is written meanwhile waits for little."""
_AGAIN_S: Final = 0.02
DIED: Final = "engine_died"


class HistoryStore:
    """One engine's connections to the database. `open` before anything else; `close` afterwards."""

    def __init__(self, url: str, *, busy_s: float = 5.0) -> None:
        """`busy_s`: how long a statement waits for others' locks. Raises `ValueError` for what is no usable URL."""
        self._url = _parsed(url)
        self._opened = False
        self._busy_s = busy_s
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._file = Path(self._url.database) if self.is_sqlite and self._url.database else None
        options: dict[str, Any] = {"connect_args": {"timeout": busy_s}}
        if not self.is_sqlite:
            options = {"connect_args": {"timeout": busy_s, "command_timeout": 30.0}, "pool_pre_ping": True}
        try:
            # An error's text is logged: the words of callers must not be in it.
            self._engine = create_async_engine(
                self._url, pool_size=3, max_overflow=2, pool_timeout=busy_s, hide_parameters=True, **options
            )
        except ModuleNotFoundError as error:
            raise ValueError(f"{self._url.drivername} needs a package: pip install 'parley[postgres]'") from error
        if self.is_sqlite:
            event.listen(self._engine.sync_engine, "connect", _set_up_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
        self._writing = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        self._bare = self._engine.execution_options(begin=None)

    @property
    def reading(self) -> AsyncEngine:
        return self._engine

    async def open(self) -> bool:
        """Make the file where there is none, and bring the tables to this version; True where that did something.

        Raises `SchemaTooNew`, `OSError` and SQLAlchemy's errors. May be called again, also after a failure.
        """
        if self._opened:
            return False
        if self._file is not None:
            await asyncio.to_thread(_make_file, self._file, self._busy_s)
        async with self._writing.begin() as connection:
            changed = await connection.run_sync(migrate)
        self._opened = True
        return changed

    async def close(self) -> None:
        await self._engine.dispose()

    async def write(self, entries: Sequence[Entry]) -> None:
        """All of them or, where it raises, none. What had been written before is not written twice."""
        calls: dict[str, dict[str, Any]] = {}
        others: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in entries:
            if entry.table == "calls":
                calls[entry.call_id] = entry.values  # the latest has all
            else:
                others[entry.table].append(entry.values)
        async with self._writing.begin() as connection:
            if calls:
                await connection.execute(self._upsert, list(calls.values()))
            for table, rows in others.items():
                await connection.execute(self._insert(table).on_conflict_do_nothing(), rows)

    async def end_unended(self, engine_app: str, before: datetime) -> int:
        """Calls of that engine which began `before` it started and never ended: it died. Returns how many."""
        unended = CallRow.ended_at.is_(None) & (CallRow.engine_app == engine_app) & (CallRow.started_at < before)
        last = select(func.max(LineRow.at)).where(LineRow.call_id == CallRow.call_id).scalar_subquery()
        said = select(func.count()).where(LineRow.call_id == CallRow.call_id, LineRow.speaker == "agent")
        cut_in = select(func.count()).where(MomentRow.call_id == CallRow.call_id, MomentRow.kind == "barge_in")
        statement = update(CallRow).where(unended).values(
            outcome=DIED,
            ended_at=func.coalesce(last, CallRow.started_at),
            turns=said.scalar_subquery(),
            barge_ins=cut_in.scalar_subquery(),
        )  # fmt: skip
        async with self._writing.begin() as connection:
            return _count(await connection.execute(statement))

    # --- deleting -----------------------------------------------------------------------------------------------------

    async def delete_call(self, call_id: str, *, wipe: bool = True) -> bool:
        """With all that was said in it. False where there is none. Without `wipe`, call that afterwards."""
        return bool(await self._delete(CallRow.call_id == call_id, wipe=wipe))

    async def delete_before(self, moment: datetime) -> int:
        """Calls that ended before `moment`, or began before and were never ended; returns how many there were."""
        return await self._delete(func.coalesce(CallRow.ended_at, CallRow.started_at) < moment)

    async def _delete(self, which: ColumnElement[bool], *, wipe: bool = True) -> int:
        deleted = 0
        while True:
            some = select(CallRow.call_id).where(which).limit(_AT_A_TIME)
            async with self._writing.begin() as connection:
                count = _count(await connection.execute(delete(CallRow).where(CallRow.call_id.in_(some))))
            deleted += count
            if count < _AT_A_TIME:
                break
        if deleted and wipe:
            await self.wipe()
        return deleted

    async def wipe(self) -> bool:
        """Make sure that nothing of what was deleted is left in the files; False where a reader is in the way.

        SQLite overwrote it (`secure_delete`), but its write-ahead log still holds it until that is taken in.
        """
        if not self.is_sqlite:
            return True
        async with self._bare.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.execute_fetchall("PRAGMA incremental_vacuum")
            ((busy, _log_pages, _taken_in),) = await driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        return not busy

    # --- statements ---------------------------------------------------------------------------------------------------

    @property
    def _upsert(self) -> Any:
        insert = self._insert("calls")
        changed = {name: insert.excluded[name] for name in TABLES["calls"].columns.keys() if name != "call_id"}  # noqa: SIM118 - no dict
        return insert.on_conflict_do_update(index_elements=["call_id"], set_=changed)

    def _insert(self, table: str) -> Any:
        """The dialect's own insert, which knows `ON CONFLICT`."""
        return (sqlite.insert if self.is_sqlite else postgresql.insert)(TABLES[table])


def _count(result: Any) -> int:
    return int(result.rowcount)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("no database URL; write sqlite:///file or postgresql://user:password@host/database") from None
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        raise ValueError(f"{parsed.drivername}: the history is kept in sqlite or postgresql")
    return parsed.set(drivername=driver)


def _make_file(file: Path, busy_s: float) -> None:
    """A file that only this user can read, with a write-ahead log; SQLite gives what it puts beside it the same mode.

    Going over to the log takes every lock at once, and SQLite does not wait for them: who finds others there, as
    engines that start together do, has to try again. Raises `OSError` where it cannot be done.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    give_up = time.monotonic() + busy_s
    while True:
        with contextlib.closing(sqlite3.connect(file, timeout=busy_s)) as connection:
            try:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded as long as the file is empty
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.Error as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise OSError(f"{file}: {error}") from error
            else:
                return
        time.sleep(_AGAIN_S)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin_sqlite` does
    cursor = connection.cursor()
    for pragma in (
        "synchronous = FULL",  # a call that was written outlasts a power failure
        "foreign_keys = ON",
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
        cursor.fetchall()
    # Its own knows only ASCII: a search for "über" has to find "Über".
    connection.run_async(lambda own: own.create_function("lower", 1, _lower, deterministic=True))
    cursor.close()


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _begin_sqlite(connection: Connection) -> None:
    """Who will write says so at once: a reader's transaction cannot always be made a writer's."""
    begin = connection.get_execution_options().get("begin", "BEGIN")
    if begin is not None:
        connection.exec_driver_sql(begin)
