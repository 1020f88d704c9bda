"""The tables. A change here needs a migration beside it (`migrations/versions`), which a test checks.

Lines, tools and moments are only ever added, so what is written stays true should the engine die; a call's own row is
written anew with each thing learnt of it. `position` counts what happened within a call, in the order it happened.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from sqlalchemy import JSON, DateTime, Dialect, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

_NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraints have names, so that a later migration can name them."""


class UtcTime(TypeDecorator[datetime]):
    """An aware time, UTC in the database also where that knows no time zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcTime(),
        dict[str, Any]: JSON(none_as_null=True),
        float: Float(53),
    }


class CallRow(Base):
    """One call."""

    __tablename__ = "calls"
    __table_args__ = (
        Index("ix_calls_started_at_call_id", "started_at", "call_id"),
        Index("ix_calls_caller_number", "caller_number"),
    )

    call_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    engine_app: Mapped[str] = mapped_column(Text)
    """The Stasis application of the engine that took it."""
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    """None while it lasts."""
    caller_number: Mapped[str] = mapped_column(Text)
    caller_name: Mapped[str] = mapped_column(Text)
    dialled_number: Mapped[str] = mapped_column(Text)
    context: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    transport: Mapped[str] = mapped_column(Text)
    media_format: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str | None] = mapped_column(Text)
    """That of the metrics; `engine_died` where an engine found it unended when it started anew."""
    transferred_to: Mapped[str | None] = mapped_column(Text)
    recording_file: Mapped[str | None] = mapped_column(Text)
    """Below the folder of recordings."""
    error: Mapped[str | None] = mapped_column(Text)
    turns: Mapped[int]
    """The agent's."""
    barge_ins: Mapped[int]
    line_quality: Mapped[dict[str, Any] | None]
    """Between Asterisk and us."""
    caller_line_quality: Mapped[dict[str, Any] | None]
    """Between telephone and Asterisk."""


class LineRow(Base):
    """What one of both said at one time."""

    __tablename__ = "lines"

    call_id: Mapped[str] = mapped_column(String(64), ForeignKey("calls.call_id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    turn: Mapped[int]
    speaker: Mapped[str] = mapped_column(String(8))
    """`caller` or `agent`."""
    text: Mapped[str | None] = mapped_column(Text)
    """The agent's: as far as it was heard. None where words are not kept."""
    source: Mapped[str | None] = mapped_column(Text)
    """Where the agent's words came from."""
    interrupted: Mapped[bool]
    timeline_ms: Mapped[dict[str, Any] | None]
    """Stage of the answer → milliseconds since the caller's last sound."""


class ToolRow(Base):
    """A tool that was run."""

    __tablename__ = "tools"

    call_id: Mapped[str] = mapped_column(String(64), ForeignKey("calls.call_id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    name: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    """ok, refused, failed, timeout."""
    seconds: Mapped[float]
    arguments: Mapped[dict[str, Any] | None]
    """None where they are not kept."""


class MomentRow(Base):
    """What happened in between: interruptions, failures, transfers."""

    __tablename__ = "moments"

    call_id: Mapped[str] = mapped_column(String(64), ForeignKey("calls.call_id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)


TABLES: Final[dict[str, Table]] = {name: Base.metadata.tables[name] for name in ("calls", "lines", "tools", "moments")}
