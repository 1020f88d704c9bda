"""Databases for the tests of the history: a file, and a PostgreSQL of the tests' own where there is one to start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from ai_engine.call_history.store import HistoryStore


def postgres_program(name: str) -> str | None:
    """Debian keeps them out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=str, reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)]))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of an empty server that listens on a socket in a folder of its own, and nowhere else."""
    initdb, server = postgres_program("initdb"), postgres_program("postgres")
    if initdb is None or server is None:
        pytest.skip("needs PostgreSQL's server programs")
    pytest.importorskip("asyncpg")
    folder = Path(tempfile.mkdtemp(prefix="parley-pg-"))
    user = None
    if os.geteuid() == 0:  # it refuses to be root
        user = "nobody"
        shutil.chown(folder, user)
    data, options = folder / "data", ["-k", str(folder)]
    # Nobody reads its log once it is ready: it must not fill the pipe.
    for setting in ("fsync=off", "listen_addresses=", "log_min_messages=log", "log_checkpoints=off"):
        options += ["-c", setting]
    running: subprocess.Popen[bytes] | None = None
    try:
        making = [initdb, "-D", str(data), "-U", "parley", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(making, check=True, capture_output=True, cwd=folder, timeout=110, user=user)
        running = subprocess.Popen(
            [server, "-D", str(data), *options],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            user=user,
        )
        assert running.stderr is not None
        for line in running.stderr:
            if b"ready to accept connections" in line:
                break
        else:
            pytest.fail("PostgreSQL did not start")
        yield f"postgresql://parley@/postgres?host={folder}"
    finally:
        if running is not None:
            running.send_signal(signal.SIGINT)  # no waiting for clients
            assert running.stderr is not None
            running.stderr.read()
            running.wait(60)
            running.stderr.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/history.sqlite3"
    found: str = request.getfixturevalue("postgres")
    engine = create_async_engine(found.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    return found


@pytest.fixture
async def store(url: str) -> AsyncIterator[HistoryStore]:
    """Opened, of each kind."""
    store = HistoryStore(url)
    await store.open()
    yield store
    await store.close()
