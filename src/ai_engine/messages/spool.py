"""Deliveries on the disk until they are done: one file each, so that they outlive the engine.

`<folder>/<id>.json`, written under another name first and renamed when the disk has it: a file is whole or not
there. Only the engine's user can read what is in it. Every method blocks: never on a loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

KEEP_S: Final = 3 * 86_400.0
"""An older delivery is given up at a start: whoever was to have it has not taken it for three days."""
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,150}")
_PART: Final = ".part"


@dataclass(frozen=True, slots=True)
class Spooled:
    """One delivery that was not done when it was read."""

    id: str
    content: Mapping[str, Any]


class Spool:
    """One engine's folder of one kind of deliveries."""

    def __init__(self, folder: Path, *, keep_s: float = KEEP_S, wall_clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._keep_s = keep_s
        self._wall_clock = wall_clock

    def put(self, id: str, content: Mapping[str, Any]) -> None:
        """Keep `content` (JSON), in place of what that id had, which stays as old as it was.

        Raises `OSError`, and `ValueError` for a bad id.
        """
        path = self._path(id)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(_PART)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            json.dump(content, file)
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                before = path.stat()
                os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
            os.fsync(file.fileno())
        part.replace(path)
        self._sync_folder()

    def remove(self, id: str) -> None:
        """It is done. Idempotent."""
        self._path(id).unlink(missing_ok=True)

    def waiting(self) -> list[Spooled]:
        """Oldest first. What is too old is told and deleted, what cannot be read is told and left until then."""
        found: list[tuple[float, Spooled]] = []
        for path in self._files():
            try:
                changed_at = path.stat().st_mtime
                if self._wall_clock() - changed_at > self._keep_s:
                    log.error("delivery_given_up", file=path.name, older_than_days=round(self._keep_s / 86_400, 1))
                    path.unlink(missing_ok=True)
                    continue
            except OSError as error:
                log.warning("delivery_not_readable", file=path.name, error=type(error).__name__)
                continue
            if path.suffix != _PART and (spooled := self.get(path.stem)) is not None:
                found.append((changed_at, spooled))
        return [spooled for _, spooled in sorted(found, key=lambda one: (one[0], one[1].id))]

    def get(self, id: str) -> Spooled | None:
        """None where it is not there any more or, which is told, cannot be read."""
        path = self._folder / f"{id}.json"
        try:
            return Spooled(id, _read(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("delivery_not_readable", file=path.name, error=type(error).__name__)
            return None

    def delete_call(self, call_id: str) -> int:
        """Delete what is still to be delivered of that call; returns how many there were."""
        files = [path for path in self._files() if path.stem.startswith(f"{call_id}.")]
        for path in files:
            path.unlink(missing_ok=True)
        return len({path.stem for path in files})  # one may be being written anew

    def _files(self) -> list[Path]:
        """Those that a killed writer left unfinished among them."""
        try:
            files = list(self._folder.iterdir())
            return [path for path in files if path.suffix in (".json", _PART) and not path.is_symlink()]
        except OSError:
            return []

    def _path(self, id: str) -> Path:
        if not _ID.fullmatch(id):
            raise ValueError(f"{id!r} cannot be the name of a delivery")
        return self._folder / f"{id}.json"

    def _sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):  # some file systems cannot
                os.fsync(handle)
        finally:
            os.close(handle)


def _read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("no delivery")  # noqa: TRY004 - as for what is no JSON
    return content
