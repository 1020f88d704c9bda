"""The tables are made from nothing and from every older version, and are those that the code reads and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sample_calls import sample_call
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from ai_engine.call_history.models import Base
from ai_engine.call_history.queries import one_call
from ai_engine.call_history.schema import SchemaTooNew, migrate, version, versions
from ai_engine.call_history.store import HistoryStore

FIRST_CALL = """
    INSERT INTO calls (call_id, engine_app, started_at, caller_number, caller_name, dialled_number, context, provider,
                       transport, media_format, turns, barge_ins)
    VALUES ('old', 'ai-agent', '2026-11-20 12:00:00', '+4930123', 'Ada', '6000', 'restaurant', 'local',
            'rtp', 'ulaw', 1, 0)
"""
FIRST_LINE = """
    INSERT INTO lines (call_id, position, at, turn, speaker, text, interrupted)
    VALUES ('old', 1, '2026-11-20 12:00:01', 1, 'caller', 'Grüß Gott', false)
"""


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))


def writing(store: HistoryStore) -> AsyncEngine:
    return store.reading.execution_options(begin="BEGIN IMMEDIATE")


async def test_the_migrations_make_the_tables_of_the_models(store: HistoryStore) -> None:
    async with store.reading.connect() as connection:
        assert await connection.run_sync(differences) == []
        assert await connection.run_sync(version) == versions()[-1]


@pytest.mark.parametrize("older", versions())
async def test_from_each_older_version_what_was_kept_is_kept(url: str, older: str) -> None:
    store = HistoryStore(url)
    try:
        async with writing(store).begin() as connection:
            await connection.run_sync(migrate, older)
            await connection.execute(text(FIRST_CALL))
            await connection.execute(text(FIRST_LINE))
        assert await store.open() is (older != versions()[-1])
        found = await one_call(store, "old")
        assert found is not None
        assert (found["caller_name"], found["lines"][0]["text"]) == ("Ada", "Grüß Gott")
        await sample_call("new").into(store)
        async with store.reading.connect() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await store.close()


async def test_what_a_later_version_made_is_left_alone(url: str) -> None:
    store = HistoryStore(url)
    try:
        async with writing(store).begin() as connection:
            await connection.run_sync(migrate)
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(SchemaTooNew, match="9999"):
            await store.open()
    finally:
        await store.close()


async def test_a_migration_that_is_broken_off_has_done_nothing(url: str) -> None:
    store = HistoryStore(url)

    def half(connection: Connection) -> None:
        migrate(connection)
        raise OSError("the machine goes down")

    try:
        with pytest.raises(OSError, match="goes down"):
            async with writing(store).begin() as connection:
                await connection.run_sync(half)
        async with store.reading.connect() as connection:
            assert await connection.run_sync(version) is None
        assert await store.open()
    finally:
        await store.close()


async def test_a_folder_with_a_percent_sign_is_no_trouble(tmp_path: Path) -> None:
    store = HistoryStore(f"sqlite:///{tmp_path}/50 % off/history.sqlite3")
    assert await store.open()
    await store.close()
