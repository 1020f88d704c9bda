"""The database brought to this version's tables, whatever older version it was of."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

_SCRIPTS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x5041524C  # any number that is ours
"""PostgreSQL's lock while a schema is changed."""


class SchemaTooNew(Exception):
    """A later version of this program has changed the database."""


def versions() -> list[str]:
    """From the oldest to this one's."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def migrate(connection: Connection, to: str = "head") -> bool:
    """Within the transaction that `connection` is in; True where something had to be done.

    Several engines may do so at once: on SQLite the transaction has to be one that writes. Raises `SchemaTooNew`.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    found = version(connection)
    known = versions()
    if found == known[-1]:
        return False
    if found is not None and found not in known:
        raise SchemaTooNew(f"the call history is of version {found}, this program knows {known[-1]}: use a later one")
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    return True


def version(connection: Connection) -> str | None:
    """None where there are no tables yet."""
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config
