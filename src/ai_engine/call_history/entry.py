"""What waits to be written: a row for a table, made fit for any database."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

TableName = Literal["calls", "lines", "tools", "moments"]

MOST_CHARS: Final = 20_000
"""Of one text; a minute of speech is about a thousand."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row to be added; for `calls` the call's row as it now is. Its values are `fit`."""

    table: TableName
    values: dict[str, Any]

    @property
    def call_id(self) -> str:
        return str(self.values["call_id"])


def fit(value: Any) -> Any:
    """`value` as every database takes it: no lone surrogates, no NUL, no figure that JSON has no word for.

    Callers choose their names, and models the arguments of tools; no text of theirs may keep a batch from being
    written.
    """
    if isinstance(value, str):
        text = value[:MOST_CHARS].replace("\0", "\ufffd")
        return text.encode(errors="replace").decode()
    if isinstance(value, bool | int):
        return value if -(2**63) <= value < 2**63 else str(value)[:MOST_CHARS]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {fit(str(key)): fit(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fit(item) for item in value]
    return value if value is None or isinstance(value, datetime) else fit(str(value))
