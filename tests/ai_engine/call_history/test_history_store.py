"""What the database keeps, and what it does not keep any more once it was deleted."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_calls import NOON, SampleCall, sample_call
from sqlalchemy.exc import IntegrityError

from ai_engine.call_history.entry import Entry, fit
from ai_engine.call_history.queries import CallFilter, Query, list_calls, one_call
from ai_engine.call_history.store import DIED, HistoryStore


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def test_a_call_is_read_as_it_was_written(store: HistoryStore) -> None:
    await sample_call("c1").into(store)
    call = await one_call(store, "c1")
    assert call is not None
    lines, tools, moments = call.pop("lines"), call.pop("tools"), call.pop("moments")
    assert call == {
        "call_id": "c1",
        "engine_app": "ai-agent",
        "started_at": moment(NOON),
        "ended_at": moment(NOON + 9),
        "caller_number": "+4930123",
        "caller_name": "Ada",
        "dialled_number": "6000",
        "context": "restaurant",
        "provider": "local",
        "transport": "rtp",
        "media_format": "ulaw",
        "outcome": "caller_hung_up",
        "transferred_to": None,
        "recording_file": None,
        "error": None,
        "turns": 2,
        "barge_ins": 1,
        "line_quality": {"received": 500, "lost": 1, "jitter_ms": 0.4},
        "caller_line_quality": None,
    }
    assert [(line["position"], line["speaker"], line["text"]) for line in lines] == [
        (1, "agent", "Good day."),
        (2, "caller", "I would like a table"),
        (4, "agent", "For how many?"),
    ]
    answer = lines[2]
    assert (answer["source"], answer["interrupted"], answer["timeline_ms"]) == ("llm", True, {"first_packet": 612.5})
    assert answer["at"] == moment(NOON + 4)
    assert [(tool["name"], tool["outcome"], tool["seconds"]) for tool in tools] == [("book", "ok", 0.25)]
    assert tools[0]["arguments"] == {"people": 2}
    assert [(one["kind"], one["detail"]) for one in moments] == [("barge_in", "for two")]


async def test_what_is_written_twice_is_there_once_and_the_latest_of_a_call_stands(store: HistoryStore) -> None:
    call = sample_call("c1")
    await store.write(call.entries[:4])
    await store.write(call.entries)
    found = await one_call(store, "c1")
    assert found is not None
    assert (len(found["lines"]), found["outcome"]) == (3, "caller_hung_up")


async def test_a_line_of_no_call_is_refused_with_all_that_came_with_it(store: HistoryStore) -> None:
    stray = SampleCall("nobody")
    stray.notes.caller_said(1, "hello")
    with pytest.raises(IntegrityError) as caught:
        await store.write([*sample_call("c1").entries, *stray.entries])
    assert "hello" not in str(caught.value)
    assert await one_call(store, "c1") is None


async def test_calls_of_an_engine_that_died_are_ended_and_no_others(store: HistoryStore) -> None:
    await sample_call("left", ended=False).into(store)
    await sample_call("mute", ended=False).into(store)
    await sample_call("others", app="ai-agent-2", ended=False).into(store)
    await sample_call("now", at=NOON + 100, ended=False).into(store)
    await sample_call("ended").into(store)
    assert await store.end_unended("ai-agent", moment(NOON + 50)) == 2
    outcomes = {call["call_id"]: call["outcome"] for call in (await list_calls(store, Query(CallFilter())))[0]}
    assert outcomes == {"left": DIED, "mute": DIED, "others": None, "now": None, "ended": "caller_hung_up"}
    left = await one_call(store, "left")
    assert left is not None
    assert (left["ended_at"], left["turns"], left["barge_ins"]) == (moment(NOON + 4), 2, 1)


async def test_a_deleted_call_takes_all_of_itself_along(store: HistoryStore) -> None:
    await sample_call("c1").into(store)
    await sample_call("c2").into(store)
    assert await store.delete_call("c1")
    assert not await store.delete_call("c1")
    assert await one_call(store, "c1") is None
    kept = await one_call(store, "c2")
    assert kept is not None
    assert (len(kept["lines"]), len(kept["tools"]), len(kept["moments"])) == (3, 1, 1)


async def test_what_is_too_old_goes_however_much_it_is(store: HistoryStore) -> None:
    old = [entry for n in range(450) for entry in sample_call(f"old{n}", at=NOON - 1000).entries]
    await store.write(old)
    await sample_call("kept", at=NOON).into(store)
    assert await store.delete_before(moment(NOON - 500)) == 450
    calls, _ = await list_calls(store, Query(CallFilter()))
    assert [call["call_id"] for call in calls] == ["kept"]


async def test_several_engines_may_open_and_write_at_once(url: str) -> None:
    stores = [HistoryStore(url, busy_s=60) for _ in range(12)]
    try:
        made = await asyncio.gather(*(store.open() for store in stores))
        assert sum(made) == 1
        await asyncio.gather(*(sample_call(f"c{n}").into(store) for n, store in enumerate(stores)))
        calls, _ = await list_calls(stores[0], Query(CallFilter()))
        assert {call["call_id"] for call in calls} == {f"c{n}" for n in range(12)}
    finally:
        for store in stores:
            await store.close()


async def test_a_file_that_another_engine_is_just_making_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite3"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store = HistoryStore(f"sqlite:///{file}", busy_s=60)
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0.2)
    assert not opening.done()
    other.execute("COMMIT")
    other.close()
    assert await opening
    await store.close()


async def test_a_file_that_stays_locked_is_given_up(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite3"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store = HistoryStore(f"sqlite:///{file}", busy_s=0.1)
    with pytest.raises(OSError, match="locked"):
        await store.open()
    other.close()
    await store.close()


async def test_deleted_words_are_in_no_file_any_more(tmp_path: Path) -> None:
    store = HistoryStore(f"sqlite:///{tmp_path}/history.sqlite3")
    await store.open()
    for n in range(30):
        await sample_call(f"c{n}", said="my password is swordfish " * 100).into(store)
    assert any(b"swordfish" in file.read_bytes() for file in tmp_path.iterdir())
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert await store.delete_before(moment(NOON + 100)) == 30
    assert not [file.name for file in tmp_path.iterdir() if b"swordfish" in file.read_bytes()]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < size / 2
    await store.close()


async def test_the_file_is_for_its_user_alone_and_is_sound(tmp_path: Path) -> None:
    file = tmp_path / "state" / "history.sqlite3"
    store = HistoryStore(f"sqlite:///{file}")
    await store.open()
    await sample_call("c1").into(store)
    modes = {stat.S_IMODE(one.stat().st_mode) for one in file.parent.iterdir()}
    await store.close()
    assert modes == {0o600}
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()


@pytest.mark.parametrize("wrong", ["", "history", "mysql://host/x", "sqlite+pysqlcipher", "postgresql:/nothing here"])
def test_what_is_no_usable_address_is_said(wrong: str) -> None:
    with pytest.raises(ValueError, match="postgresql"):
        HistoryStore(wrong)


anything = st.recursive(
    st.text(st.characters(), max_size=30) | st.none() | st.booleans() | st.floats() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def writes_and_reads(url: str, text: str, arguments: dict[str, object]) -> None:
    async def there_and_back() -> None:
        call = SampleCall("c1")
        call.notes.know(caller_name=text, caller_number=text)
        call.notes.caller_said(1, text)
        call.notes.tool_ran(text, "ok", 1.0, arguments)
        store = HistoryStore(url)
        try:
            await store.open()
            await store.delete_call("c1")
            await call.into(store)
            found = await one_call(store, "c1")
        finally:
            await store.close()
        assert found is not None
        assert (found["caller_name"], found["lines"][0]["text"]) == (fit(text), fit(text))
        assert found["tools"][0]["arguments"] == fit(arguments)

    asyncio.run(there_and_back())


TEXTS = st.text(st.characters()) | st.sampled_from(["\0", "\ud800", "'; DROP TABLE calls; --", "%_\\", "𝄞", "?1", ":x"])


@settings(max_examples=12, deadline=None)
@given(TEXTS, st.dictionaries(st.text(st.characters(), max_size=5), anything, max_size=3))
def test_whatever_is_said_is_kept_in_sqlite(text: str, arguments: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writes_and_reads(f"sqlite:///{folder}/history.sqlite3", text, arguments)


def test_whatever_is_said_is_kept_in_postgresql(postgres: str) -> None:
    @settings(max_examples=12, deadline=None)
    @given(TEXTS, st.dictionaries(st.text(st.characters(), max_size=5), anything, max_size=3))
    def kept(text: str, arguments: dict[str, object]) -> None:
        writes_and_reads(postgres, text, arguments)

    kept()


@given(st.text(st.characters()))
def test_plain_text_is_left_as_it_is(text: str) -> None:
    if "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text):
        assert fit(text) == text
    fit(text).encode()


def test_an_entry_knows_its_call() -> None:
    assert Entry("calls", {"call_id": "c1"}).call_id == "c1"
