"""Exports can be read back, and no cell is a formula."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_calls import sample_call

from ai_engine.call_history.export import cell, csv_lines, json_lines
from ai_engine.call_history.models import TABLES
from ai_engine.call_history.queries import CallFilter, Record, whole_calls
from ai_engine.call_history.store import HistoryStore

ANY = st.text(st.characters(exclude_categories=["Cs"]))
STARTS = st.sampled_from("=+-@|%\t\r＝＋－＠")
BEFORE = st.sampled_from(["", " ", "\n", "'", '"', " \t"])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (7, "7"),
        (-1.5, "-1.5"),
        ("hello", "hello"),
        ("+4930123", "+4930123"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("  =1+1", "'  =1+1"),
        ('"=1+1', "'\"=1+1"),
        ("\n@SUM(A1)", "'\n@SUM(A1)"),
        ("＝1+1", "'＝1+1"),
        ("-2+3", "'-2+3"),
        ({"a": "=1"}, '{"a": "=1"}'),
        (datetime(2026, 11, 20, 12, tzinfo=UTC), "2026-11-20T12:00:00+00:00"),
    ],
)
def test_no_cell_is_a_formula_and_others_are_as_they_were(value: Any, shown: str) -> None:
    assert cell(value) == shown


@given(ANY, STARTS, BEFORE)
def test_whatever_a_caller_is_called_no_spreadsheet_calculates(rest: str, start: str, before: str) -> None:
    text = before + start + rest
    shown = cell(text)
    if not shown.startswith("'"):
        assert re.fullmatch(r"[+-][0-9.]+", text) or not re.match(r"[\x00-\x1f]|[\s\"]*[=+@-]", text)
    assert shown in {text.replace("\0", ""), "'" + text.replace("\0", "")}


async def calls_of(*calls: Record) -> AsyncIterator[Record]:
    for call in calls:
        yield call


@pytest.fixture
async def calls(tmp_path: Path) -> AsyncIterator[AsyncIterator[Record]]:
    store = HistoryStore(f"sqlite:///{tmp_path}/history.sqlite3")
    await store.open()
    await sample_call("c1", said='=1+1, "quoted"\nand ümlauts').into(store)
    await sample_call("c2").into(store)
    yield whole_calls(store, CallFilter())
    await store.close()


async def test_json_has_everything(calls: AsyncIterator[Record]) -> None:
    found = json.loads("".join([line async for line in json_lines(calls)]))
    assert [call["call_id"] for call in found] == ["c2", "c1"]
    assert found[1]["lines"][1]["text"] == '=1+1, "quoted"\nand ümlauts'
    assert found[1]["started_at"] == "2026-11-20T12:00:00+00:00"


async def test_json_of_nothing_is_a_list() -> None:
    assert json.loads("".join([line async for line in json_lines(calls_of())])) == []


async def test_csv_of_calls_has_a_row_each(calls: AsyncIterator[Record]) -> None:
    rows = list(csv.DictReader(io.StringIO("".join([line async for line in csv_lines(calls, "calls")]), newline="")))
    assert list(rows[0]) == TABLES["calls"].columns.keys()
    assert [(row["call_id"], row["turns"], row["outcome"]) for row in rows] == [
        ("c2", "2", "caller_hung_up"),
        ("c1", "2", "caller_hung_up"),
    ]


async def test_csv_of_lines_has_what_was_said(calls: AsyncIterator[Record]) -> None:
    rows = list(csv.DictReader(io.StringIO("".join([line async for line in csv_lines(calls, "lines")]), newline="")))
    assert len(rows) == 6
    said = next(row for row in rows if row["call_id"] == "c1" and row["speaker"] == "caller")
    assert (said["text"], said["interrupted"]) == ('\'=1+1, "quoted"\nand ümlauts', "no")
