"""What a download leaves on the disk: the part, its notes, the lock; and whether there is room for more."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local_ai_server.download_http import DownloadFailed, Stated
from local_ai_server.install_progress import megabytes

_CHUNK_BYTES: Final = 1 << 20
_LOCK_POLL_S: Final = 0.2


class DownloadCancelled(Exception):
    """Cancelled by the caller; what came so far is kept for the next try."""


@dataclass(slots=True)
class Part:
    """The bytes so far and what is known of the whole."""

    path: Path
    etag: str | None = None
    content: str | None = None
    """The content's own checksum as the server stated it."""

    @property
    def _notes(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def load(self, url: str) -> None:
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            if notes["url"] == url:
                self.etag, self.content = notes["etag"], notes["content"]
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.drop()

    def note(self, url: str, stated: Stated) -> None:
        self.etag, self.content = stated.etag, stated.sha256 or stated.git_sha1
        text = json.dumps({"url": url, "etag": self.etag, "content": self.content})
        self._notes.write_text(text, encoding="utf-8")

    def drop(self) -> None:
        self.etag = self.content = None
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        self.path.replace(target)
        self._notes.unlink(missing_ok=True)
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def need_space(folder: Path, needed_bytes: int, name: str, *, margin_bytes: int = 0) -> None:
    """Raises DownloadFailed, with both figures, where the disk has not `needed_bytes` and the margin."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes + margin_bytes:
        margin = f" ({megabytes(margin_bytes)} of that stay free)" if margin_bytes else ""
        raise DownloadFailed(
            f"{name} needs {megabytes(needed_bytes + margin_bytes)}{margin} and {folder} has {megabytes(free_bytes)} "
            "free: free some space, or choose another place with --models DIR"
        )


@contextmanager
def one_at_a_time(target: Path, waiting: Callable[[], None], cancelled: threading.Event) -> Iterator[None]:
    """Hold the target's lock file. It is removed at the end, so a lock on one that lost its name counts for nothing."""
    path = target.with_name(target.name + ".lock")
    while True:
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                if cancelled.wait(_LOCK_POLL_S):
                    raise DownloadCancelled from None
                continue
            try:
                if not os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                    continue
            except FileNotFoundError:
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


@contextmanager
def naming_full_disk(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadFailed(
            f"the disk of {target.parent} is full: free some space and run the same command again, it goes on where it "
            "stopped; or choose another place with --models DIR"
        ) from error


def git_sha1_of(path: Path) -> str:
    """As `git hash-object` counts it. Only small files are named so; nothing secret hangs on it."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
