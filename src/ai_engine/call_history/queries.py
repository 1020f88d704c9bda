"""What is asked of the history: lists of calls, newest first and page by page, and one call with all that was said."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ai_engine.call_history.models import TABLES, CallRow, LineRow
from ai_engine.call_history.store import HistoryStore

MOST_CALLS: Final = 500
"""On one page."""
_EXPORT_CALLS: Final = 100
_MOST_TEXT: Final = 200

Record = dict[str, Any]
"""A row by its columns' names."""

EQUALS: Final = ("caller_number", "dialled_number", "context", "provider", "outcome", "engine_app", "transport")


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls. Empty or None: whatever it is."""

    equals: tuple[tuple[str, str], ...] = ()
    """Columns, of `EQUALS`, and what they have to be."""
    since: datetime | None = None
    until: datetime | None = None
    """Begun from `since` on and before `until`."""
    text: str = ""
    """Somewhere in what was said, or in a name or number; large or small letters are the same."""

    def conditions(self) -> list[ColumnElement[bool]]:
        found = [CallRow.__table__.c[name] == value for name, value in self.equals]
        if self.since is not None:
            found.append(CallRow.started_at >= self.since)
        if self.until is not None:
            found.append(CallRow.started_at < self.until)
        if self.text:
            said = select(LineRow.call_id).where(LineRow.text.icontains(self.text, autoescape=True))
            found.append(
                or_(
                    CallRow.call_id.in_(said),
                    *(
                        column.icontains(self.text, autoescape=True)
                        for column in (CallRow.caller_name, CallRow.caller_number, CallRow.dialled_number)
                    ),
                )
            )
        return found


@dataclass(frozen=True, slots=True)
class Query:
    filter: CallFilter
    limit: int = 50
    after: tuple[datetime, str] | None = None
    """The last call of the page before: its `started_at` and `call_id`."""


def parse_query(words: Mapping[str, str]) -> Query:
    """From a page's query string. Raises `ValueError` that says what may be asked."""
    known = {*EQUALS, "since", "until", "q", "limit", "after"}
    if unknown := sorted(set(words) - known):
        raise ValueError(f"there is no filter {', '.join(unknown)[:100]}; there are {', '.join(sorted(known))}")
    text = words.get("q", "").strip()
    if len(text) > _MOST_TEXT:
        raise ValueError(f"q: at most {_MOST_TEXT} characters")
    limit = words.get("limit", "50")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= MOST_CALLS:
        raise ValueError(f"limit: a number from 1 to {MOST_CALLS}")
    equals = tuple((name, _no_nul(words[name])) for name in EQUALS if name in words)
    wanted = CallFilter(equals, _moment(words, "since"), _moment(words, "until"), _no_nul(text))
    return Query(wanted, int(limit), _from_cursor(words["after"]) if "after" in words else None)


async def list_calls(store: HistoryStore, query: Query) -> tuple[list[Record], str | None]:
    """A page of calls without what was said, and what to ask for as `after` to get the next; None on the last."""
    async with store.reading.connect() as connection:
        rows = await _calls(connection, query.filter, query.limit + 1, query.after)
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return rows, cursor(rows[-1]) if more else None


async def one_call(store: HistoryStore, call_id: str) -> Record | None:
    """A call with `lines`, `tools` and `moments`; None where there is none."""
    async with store.reading.connect() as connection:
        table = TABLES["calls"]
        row = (await connection.execute(select(table).where(table.c.call_id == call_id))).mappings().first()
        if row is None:
            return None
        return (await _whole(connection, [dict(row)]))[0]


async def whole_calls(store: HistoryStore, wanted: CallFilter) -> AsyncIterator[Record]:
    """All of them as `one_call` has them, newest first, a few at a time."""
    after: tuple[datetime, str] | None = None
    while True:
        async with store.reading.connect() as connection:
            rows = await _calls(connection, wanted, _EXPORT_CALLS, after)
            whole = await _whole(connection, rows)
        for call in whole:
            yield call
        if len(rows) < _EXPORT_CALLS:
            return
        after = (rows[-1]["started_at"], rows[-1]["call_id"])


def cursor(call: Record) -> str:
    """Where a page ends."""
    return base64.urlsafe_b64encode(f"{call['started_at'].isoformat()} {call['call_id']}".encode()).decode()


# --- inside ---------------------------------------------------------------------------------------------------------


async def _calls(
    connection: AsyncConnection, wanted: CallFilter, limit: int, after: tuple[datetime, str] | None
) -> list[Record]:
    conditions = wanted.conditions()
    if after is not None:
        moment, call_id = after
        same_moment = and_(CallRow.started_at == moment, CallRow.call_id < call_id)
        conditions.append(or_(CallRow.started_at < moment, same_moment))
    statement = (
        select(TABLES["calls"])
        .where(*conditions)
        .order_by(CallRow.started_at.desc(), CallRow.call_id.desc())
        .limit(limit)
    )
    return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def _whole(connection: AsyncConnection, calls: Sequence[Record]) -> list[Record]:
    ids = [call["call_id"] for call in calls]
    parts: dict[str, dict[str, list[Record]]] = {}
    for name in ("lines", "tools", "moments"):
        table = TABLES[name]
        ordered = select(table).where(table.c.call_id.in_(ids)).order_by(table.c.call_id, table.c.position)
        of_call = parts[name] = {call_id: [] for call_id in ids}
        for row in (await connection.execute(ordered)).mappings():
            values = dict(row)
            of_call[values.pop("call_id")].append(values)
    return [call | {name: found[call["call_id"]] for name, found in parts.items()} for call in calls]


def _moment(words: Mapping[str, str], name: str) -> datetime | None:
    """`2026-11-21`, `2026-11-21T19:04:23+01:00` (without an offset: UTC) or Unix seconds."""
    if not (said := words.get(name, "")):
        return None
    try:
        if said.replace(".", "", 1).isdecimal():
            return datetime.fromtimestamp(float(said), UTC)
        moment = datetime.fromisoformat(said)
        # An offset at the ends of the calendar leads out of it.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{name}: a time like 2026-11-21T19:04:23+01:00, or seconds since 1970") from None


def _from_cursor(text: str) -> tuple[datetime, str]:
    try:
        moment, _, call_id = base64.b64decode(text, altchars=b"-_", validate=True).decode().partition(" ")
        began = datetime.fromisoformat(moment).astimezone(UTC)
    except (ValueError, OverflowError, binascii.Error):
        raise ValueError("after: what the page before gave as `next`") from None
    return began, _no_nul(call_id)


def _no_nul(text: str) -> str:
    """No database holds one, and PostgreSQL does not even take the question; nor what is no Unicode."""
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("what is asked for is no text")
    return text
