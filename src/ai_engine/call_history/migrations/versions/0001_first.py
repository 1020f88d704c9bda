"""Calls, what was said, tools and moments."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "calls",
        sa.Column("call_id", sa.String(64), nullable=False),
        sa.Column("engine_app", sa.Text, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("caller_number", sa.Text, nullable=False),
        sa.Column("caller_name", sa.Text, nullable=False),
        sa.Column("dialled_number", sa.Text, nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("transport", sa.Text, nullable=False),
        sa.Column("media_format", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("transferred_to", sa.Text),
        sa.Column("recording_file", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("turns", sa.Integer, nullable=False),
        sa.Column("barge_ins", sa.Integer, nullable=False),
        sa.Column("line_quality", sa.JSON),
        sa.Column("caller_line_quality", sa.JSON),
        sa.PrimaryKeyConstraint("call_id", name="pk_calls"),
    )
    op.create_index("ix_calls_started_at_call_id", "calls", ["started_at", "call_id"])
    op.create_index("ix_calls_caller_number", "calls", ["caller_number"])
    op.create_table(
        "lines",
        *_of_a_call("lines"),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("speaker", sa.String(8), nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("source", sa.Text),
        sa.Column("interrupted", sa.Boolean, nullable=False),
        sa.Column("timeline_ms", sa.JSON),
    )
    op.create_table(
        "tools",
        *_of_a_call("tools"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("arguments", sa.JSON),
    )
    op.create_table(
        "moments",
        *_of_a_call("moments"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )


def _of_a_call(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("call_id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("call_id", "position", name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["call_id"], ["calls.call_id"], name=f"fk_{table}_call_id", ondelete="CASCADE"),
    )
