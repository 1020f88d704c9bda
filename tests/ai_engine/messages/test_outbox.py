"""Deliveries that are tried again, also by the engine that comes after the one that had them."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ai_engine.messages.outbox import Delivery, DeliveryFailed, Outbox
from ai_engine.messages.spool import Spool
from ai_engine.tools.call_hooks import AfterCalls, CallFacts, CallRecord, HookFailed, Spoken

LIMIT_S = 30
BEGAN = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
FACTS = CallFacts("c1", "clinic", "100", "Ann", "700", "en", {"ai_tenant": "north"})
RECORD = CallRecord(FACTS, "caller_hung_up", BEGAN, BEGAN + timedelta(minutes=2), (Spoken("caller", "Hi"),))


def record(n: int) -> CallRecord:
    return replace(RECORD, call=replace(FACTS, call_id=f"c{n}"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


class Hook:
    """Away until it is told to be there."""

    def __init__(self, *, there: bool = False, summary: str | None = None) -> None:
        self.there = there
        self.taken: list[tuple[CallRecord, str]] = []
        self.tries = 0
        self.summary = self._summarise if summary is not None else None
        self._text = summary or ""

    async def _summarise(self, record: CallRecord) -> str:
        return self._text

    async def after_call(self, record: CallRecord, summary: str) -> None:
        self.tries += 1
        if not self.there:
            raise HookFailed("away", retryable=True)
        self.taken.append((record, summary))


async def test_what_was_not_delivered_when_the_engine_stopped_is_delivered_by_the_next(tmp_path: Path) -> None:
    spool, hook = Spool(tmp_path / "out"), Hook(summary="She greeted.")
    before = AfterCalls(spool, delays_s=(1000,), stop_within_s=0)
    before.call_ended(RECORD, [("office", hook)])
    await until(lambda: hook.tries == 1 and bool(spool.waiting()[0].content["summary"]))
    (file,) = (tmp_path / "out").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await before.stop()

    hook.there, hook.summary = True, None
    after = AfterCalls(spool)
    await after.resume({"office": hook}.get)
    await until(lambda: after.waiting == 0)
    assert hook.taken == [(RECORD, "She greeted.")]
    assert spool.waiting() == []


async def test_it_is_on_the_disk_before_it_is_tried_so_that_a_kill_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    seen: list[int] = []

    async def send() -> None:
        seen.append(len(spool.waiting()))

    box = Outbox("after_call", spool)
    box.add(Delivery("c1", "office", send, lambda: {"x": 1}))
    await until(lambda: box.waiting == 0)
    assert (seen, spool.waiting()) == ([1], [])


async def test_what_nobody_takes_any_more_or_cannot_be_read_keeps_nothing_else(tmp_path: Path) -> None:
    spool, hook = Spool(tmp_path), Hook(there=True)
    content = {"hook": "office", "record": RECORD.content(), "summary": ""}
    spool.put("c1.office", content)
    spool.put("c2.gone", content | {"hook": "gone"})
    spool.put("c3.office", {"hook": "office"})
    (tmp_path / "c4.office.json").write_text("{")
    (tmp_path / "c5.office.part").write_text("{}")
    box = AfterCalls(spool)
    with capture_logs() as logs:
        await box.resume({"office": hook}.get)
        await until(lambda: box.waiting == 0)
    assert len(hook.taken) == 1
    told = {log["event"] for log in logs if log["log_level"] in ("warning", "error")}
    assert told == {"delivery_has_no_taker", "delivery_not_readable"}


async def test_those_for_which_there_is_no_room_wait_on_the_disk_and_are_delivered_when_there_is(
    tmp_path: Path,
) -> None:
    spool, hook = Spool(tmp_path), Hook()
    for n in (0, 1, 2):
        spool.put(f"c{n}.office", {"hook": "office", "record": record(n).content(), "summary": ""})
    box = AfterCalls(spool, delays_s=(0.01,) * 1000, max_waiting=2, stop_within_s=LIMIT_S)
    await box.resume({"office": hook}.get)
    for n in (3, 4):
        box.call_ended(record(n), [("office", hook)])
    await until(lambda: len(spool.waiting()) == 5 and hook.tries > 2)
    assert box.waiting == 5
    await asyncio.to_thread(box.delete_call, "c3")
    hook.there = True
    await until(lambda: box.waiting == 0)
    assert sorted(told.call.call_id for told, _ in hook.taken) == ["c0", "c1", "c2", "c4"]
    assert spool.waiting() == []


async def test_one_that_neither_memory_nor_disk_has_room_for_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done: list[tuple[str, str]] = []
    hook = Hook()
    box = AfterCalls(
        Spool(tmp_path / "file" / "below"), delays_s=(1000,), max_waiting=1, stop_within_s=0,
        on_done=lambda taker, how: done.append((taker, how)),
    )  # fmt: skip
    await box.resume({"office": hook}.get)
    box.call_ended(RECORD, [("office", hook)])
    box.call_ended(record(2), [("other", hook)])
    await until(lambda: bool(done))
    assert done == [("other", "dropped")]
    await box.stop()


async def test_a_call_that_is_deleted_is_told_to_nobody_any_more(tmp_path: Path) -> None:
    spool, hook = Spool(tmp_path), Hook()
    box = AfterCalls(spool, delays_s=(0.01,) * 1000, stop_within_s=LIMIT_S)
    box.call_ended(RECORD, [("office", hook)])
    await until(lambda: hook.tries > 1)
    assert await asyncio.to_thread(box.delete_call, "c1") == 1
    hook.there = True
    await until(lambda: box.waiting == 0)
    assert (hook.taken, spool.waiting()) == ([], [])


async def test_a_disk_that_keeps_nothing_keeps_no_delivery_from_being_tried(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    box = Outbox("after_call", Spool(tmp_path / "file" / "below"), on_done=lambda _taker, how: told.append(how))

    async def send() -> None:
        raise DeliveryFailed("refused")

    box.add(Delivery("c1", "office", send))
    await until(lambda: box.waiting == 0)
    assert told == ["failed"]


def test_what_is_too_old_is_given_up(tmp_path: Path) -> None:
    now = 10_000_000_000.0
    spool = Spool(tmp_path, keep_s=60, wall_clock=lambda: now)
    spool.put("c1.office", {})
    with capture_logs() as logs:
        assert spool.waiting() == []
    assert [log["event"] for log in logs] == ["delivery_given_up"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_tried_again_gets_no_younger_and_what_cannot_be_read_no_older_than_the_rest(tmp_path: Path) -> None:
    now = 1_000_000.0
    spool = Spool(tmp_path, keep_s=60, wall_clock=lambda: now)
    spool.put("c1.office", {"try": 1})
    (tmp_path / "c2.office.json").write_text("[" * 100_000)
    (tmp_path / "c3.office.json").write_text("[]")
    (tmp_path / "c4.office.part").write_text("{}")
    for file in tmp_path.iterdir():
        os.utime(file, (now - 50, now - 50))
    spool.put("c1.office", {"try": 2})
    assert [spooled.content for spooled in spool.waiting()] == [{"try": 2}]
    assert len(list(tmp_path.iterdir())) == 4
    now += 20
    assert spool.waiting() == []
    assert list(tmp_path.iterdir()) == []


def test_deleting_a_call_deletes_what_was_being_written_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put("c1.office", {})
    for name in ("c1.office.part", "c1.other.part"):
        (tmp_path / name).write_text("{}")
    spool.put("c11.office", {})
    assert spool.delete_call("c1") == 2
    assert [file.name for file in tmp_path.iterdir()] == ["c11.office.json"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_a_name_stays_within_the_folder(tmp_path: Path, name: str) -> None:
    content: Mapping[str, Any] = {}
    with pytest.raises(ValueError, match="cannot be the name"):
        Spool(tmp_path).put(name, content)
