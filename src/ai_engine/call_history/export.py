"""The history as files: JSON with everything, CSV of calls or of what was said for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any, Final, Literal

from ai_engine.call_history.models import TABLES
from ai_engine.call_history.queries import Record

Rows = Literal["calls", "lines"]

_PLAIN_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_FORMULA: Final = re.compile(r"[\x00-\x1f]|[\s\x00-\x1f'\"]*[=+\-@|%\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet may take for the beginning of a formula, also behind what it strips, also full width."""


def to_json(value: Any) -> str:
    """One line, only ASCII; times in ISO 8601."""
    return json.dumps(value, default=_json_default)


async def json_lines(calls: AsyncIterator[Record]) -> AsyncIterator[str]:
    """An array, one call a line."""
    before = "[\n"
    async for call in calls:
        yield before + to_json(call)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


async def csv_lines(calls: AsyncIterator[Record], rows: Rows) -> AsyncIterator[str]:
    """`calls`: one a line. `lines`: what was said, each with its call's id."""
    columns = [column.name for column in TABLES[rows].columns]
    yield _csv([columns])
    async for call in calls:
        if rows == "calls":
            yield _csv([[call[name] for name in columns]])
        else:
            yield _csv([{"call_id": call["call_id"], **line}[name] for name in columns] for line in call["lines"])


def cell(value: Any) -> str:
    """A value that no spreadsheet takes for a formula: callers choose their names, and say what they like."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat()
        case dict() | list():
            return to_json(value)
    text = str(value).replace("\0", "")
    if _FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


def _json_default(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in the history")
