"""Whatever the database does, no call waits for it, and nothing is lost without being told."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from sample_calls import SampleCall, sample_call
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from ai_engine.call_history.entry import Entry
from ai_engine.call_history.queries import CallFilter, Query, list_calls, one_call
from ai_engine.call_history.store import HistoryStore
from ai_engine.call_history.writer import BATCH, HistoryWriter

PATIENCE_S = 60


class StandIn:
    """A database that fails as it is told to."""

    def __init__(self) -> None:
        self.written: list[Entry] = []
        self.batches: list[int] = []
        self.failure: Callable[[Sequence[Entry]], Exception | None] = lambda _entries: None
        self.hangs = False

    async def open(self) -> bool:
        return False

    async def write(self, entries: Sequence[Entry]) -> None:
        if self.hangs:
            await asyncio.sleep(3600)
        if (error := self.failure(entries)) is not None:
            raise error
        self.written += entries
        self.batches.append(len(entries))


class Told:
    """What the writer told."""

    def __init__(self) -> None:
        self.lost: dict[str, int] = {}
        self.failures = 0
        self.written = 0

    def on_lost(self, why: str, count: int) -> None:
        self.lost[why] = self.lost.get(why, 0) + count

    def on_failure(self) -> None:
        self.failures += 1

    def on_written(self, count: int) -> None:
        self.written += count


@asynccontextmanager
async def writing(
    store: StandIn | HistoryStore, *, most_waiting: int = 5000, stop_s: float = PATIENCE_S
) -> AsyncIterator[tuple[HistoryWriter, Told]]:
    told = Told()
    writer = HistoryWriter(
        store,
        on_written=told.on_written,
        on_failure=told.on_failure,
        on_lost=told.on_lost,
        most_waiting=most_waiting,
        gather_s=0.001,
        first_retry_s=0.01,
    )
    writer.start()
    try:
        yield writer, told
    finally:
        await writer.stop(stop_s)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def written(writer: HistoryWriter) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await writer.written()


def locked(_entries: Sequence[Entry]) -> Exception:
    return OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))


def entry(n: int, table: str = "lines") -> Entry:
    return Entry("calls" if table == "calls" else "lines", {"call_id": "c1", "position": n})


async def test_what_is_put_is_written_in_order_many_at_a_time() -> None:
    store = StandIn()
    async with writing(store) as (writer, told):
        entries = [entry(n) for n in range(3 * BATCH)]
        for one in entries:
            writer.put(one)
        await written(writer)
        assert store.written == entries
        assert store.batches == [BATCH] * 3
        assert (told.written, told.lost, writer.waiting) == (3 * BATCH, {}, 0)


async def test_a_failing_database_is_tried_until_it_works_and_both_are_told() -> None:
    store = StandIn()
    store.failure = locked
    with structlog.testing.capture_logs() as logs:
        async with writing(store) as (writer, told):
            writer.put(entry(1))
            await until(lambda: told.failures >= 3)
            writer.put(entry(2))
            store.failure = lambda _entries: None
            await written(writer)
        assert [one.values["position"] for one in store.written] == [1, 2]
    assert told.lost == {}
    assert [line["event"] for line in logs] == ["history_not_written", "history_written_again"]
    assert logs[0]["error"] == "OperationalError: database is locked"


async def test_what_there_is_no_room_for_is_counted_and_the_ends_of_calls_still_have_room() -> None:
    store = StandIn()
    store.failure = locked
    with structlog.testing.capture_logs() as logs:
        async with writing(store, most_waiting=10) as (writer, told):
            for n in range(15):
                writer.put(entry(n))
            writer.put(entry(99, "calls"))
            assert (writer.waiting, told.lost) == (11, {"full": 5})
            for n in range(30):
                writer.put(entry(n, "calls"))
            assert writer.waiting == 20
            store.failure = lambda _entries: None
            await written(writer)
    assert [line["why"] for line in logs if line["event"] == "history_lost"] == ["full", "full"]
    assert logs[-1]["entries"] == told.lost["full"] == 5 + 21


async def test_one_entry_that_is_never_taken_keeps_no_other_back() -> None:
    store = StandIn()
    secret = "what the caller said"
    store.failure = lambda entries: ValueError(secret) if entry(2) in entries else None
    with structlog.testing.capture_logs() as logs:
        async with writing(store) as (writer, told):
            for n in range(4):
                writer.put(entry(n))
            await written(writer)
    assert [one.values["position"] for one in store.written] == [0, 1, 3]
    assert told.lost == {"refused": 1}
    assert secret not in str(logs)


async def test_a_database_that_goes_away_amid_refusals_loses_nothing_else() -> None:
    store = StandIn()
    failures: list[Callable[[Sequence[Entry]], Exception | None]] = [
        lambda _: ValueError(),  # the batch
        lambda _: None,  # its first
        locked,
        lambda _: None,
    ]

    def next_failure(entries: Sequence[Entry]) -> Exception | None:
        return (failures.pop(0) if len(failures) > 1 else failures[0])(entries)

    store.failure = next_failure
    async with writing(store) as (writer, told):
        for n in range(3):
            writer.put(entry(n))
        await written(writer)
    assert [one.values["position"] for one in store.written] == [0, 1, 2]
    assert (told.lost, told.failures) == ({}, 1)


async def test_stopping_writes_what_waits() -> None:
    store = StandIn()
    async with writing(store) as (writer, told):
        for n in range(5):
            writer.put(entry(n))
    assert (len(store.written), told.lost) == (5, {})


@pytest.mark.parametrize("hangs", [True, False])
async def test_stopping_waits_only_so_long_for_a_database_that_does_not_answer(hangs: bool) -> None:
    store = StandIn()
    store.hangs, store.failure = hangs, locked
    with structlog.testing.capture_logs() as logs:
        async with writing(store, stop_s=0.05) as (writer, told):
            for n in range(5):
                writer.put(entry(n))
    assert told.lost == {"stopped": 5}
    assert {"why": "stopped", "entries": 5}.items() <= logs[-1].items()


async def test_a_full_disk_costs_nothing_once_there_is_room_again(tmp_path: Path) -> None:
    store = HistoryStore(f"sqlite:///{tmp_path}/history.sqlite3")
    pages = [40]

    def limit(connection: object, _record: object, _proxy: object) -> None:
        connection.cursor().execute(f"PRAGMA max_page_count = {pages[0]}")  # type: ignore[attr-defined]

    event.listen(store.reading.sync_engine, "checkout", limit)
    calls = 0
    async with writing(store) as (writer, told):
        while not told.failures:
            for one in sample_call(f"c{calls}", said="words " * 500).entries:
                writer.put(one)
            calls += 1
            await until(lambda: not writer.waiting or bool(told.failures))
        before = told.written
        await until(lambda: told.failures >= 3)
        assert told.written == before
        pages[0] = 1_000_000
        await written(writer)
        found, _ = await list_calls(store, Query(CallFilter(), 500))
    await store.close()
    assert len(found) == calls
    assert all(call["outcome"] for call in found)
    assert told.lost == {}


async def test_a_locked_database_holds_nobody_up_and_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite3"
    store = HistoryStore(f"sqlite:///{file}", busy_s=0.01)
    await store.open()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with writing(store) as (writer, told):
        for one in sample_call("c1").entries:
            writer.put(one)
        await until(lambda: told.failures >= 2)
        assert await one_call(store, "c1") is None  # reading goes on
        other.execute("ROLLBACK")
        other.close()
        await written(writer)
        assert await one_call(store, "c1") is not None
    await store.close()
    assert told.lost == {}


async def test_a_database_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.write_text("in the way")
    store = HistoryStore(f"sqlite:///{folder}/history.sqlite3")
    async with writing(store) as (writer, told):
        for one in sample_call("c1").entries:
            writer.put(one)
        await until(lambda: told.failures >= 2)
        folder.unlink()
        await written(writer)
        assert await one_call(store, "c1") is not None
    await store.close()


async def test_a_server_that_throws_everybody_out_loses_nothing(postgres: str) -> None:
    store = HistoryStore(postgres)
    await store.open()
    for n in range(5):
        await store.delete_call(f"c{n}")
    other = create_async_engine(postgres.replace("postgresql:", "postgresql+asyncpg:"))
    async with writing(store) as (writer, told):
        for n in range(5):
            for one in sample_call(f"c{n}").entries:
                writer.put(one)
            async with other.connect() as connection:
                await connection.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
                )
        await written(writer)
    found = [await one_call(store, f"c{n}") for n in range(5)]
    await other.dispose()
    await store.close()
    assert all(call is not None and len(call["lines"]) == 3 for call in found)
    assert told.lost == {}


async def test_lines_of_a_call_that_was_deleted_meanwhile_are_left_out(tmp_path: Path) -> None:
    store = HistoryStore(f"sqlite:///{tmp_path}/history.sqlite3")
    gone, kept = SampleCall("gone"), sample_call("kept")
    async with writing(store) as (writer, told):
        gone.notes.caller_said(1, "still here?")
        for one in [*gone.entries, *kept.entries]:
            writer.put(one)
        await written(writer)
        found = await one_call(store, "kept")
    await store.close()
    assert found is not None
    assert len(found["lines"]) == 3
    assert told.lost == {"refused": 1}


CHILD = """
import asyncio, sys
from ai_engine.call_history.store import HistoryStore
from ai_engine.call_history.writer import HistoryWriter
from sample_calls import sample_call

async def main():
    writer = HistoryWriter(HistoryStore(sys.argv[1]), gather_s=0.0)
    writer.start()
    for n in range(1_000_000):
        for entry in sample_call(f"c{n}", said="words " * 50).entries:
            writer.put(entry)
        if n % 3 == 2:
            await writer.written()
            print(n, flush=True)

asyncio.run(main())
"""


async def test_an_engine_that_is_killed_loses_no_call_that_was_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/history.sqlite3"
    places = [str(Path(__file__).parent), str(Path(__file__).parents[3] / "src")]
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {places!r}\n{CHILD}", url],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    told = -1
    for line in child.stdout:
        told = int(line)
        if told > 30:
            break
    child.send_signal(signal.SIGKILL)  # wherever it is in its next transaction
    for line in child.stdout:
        told = int(line)
    child.wait(PATIENCE_S)
    child.stdout.close()
    with sqlite3.connect(tmp_path / "history.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    store = HistoryStore(url)
    await store.open()
    for n in range(told + 1):
        call = await one_call(store, f"c{n}")
        assert call is not None, n
        assert call["outcome"] == "caller_hung_up"
        assert (len(call["lines"]), len(call["tools"]), len(call["moments"])) == (3, 1, 1)
    await store.close()
