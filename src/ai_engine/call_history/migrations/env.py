"""Alembic's entry: migrates over the connection that `ai_engine.call_history.schema` hands it."""

from alembic import context

from ai_engine.call_history.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters few things in place
)
with context.begin_transaction():
    context.run_migrations()
