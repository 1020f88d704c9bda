"""Progress of an install: a bar where rich is installed and someone watches, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

_PLAIN_LINE_EVERY_S = 5.0

Advance = Callable[[int], None]
"""Takes the bytes there are so far."""


class Progress(Protocol):
    def note(self, text: str, *, minor: bool = False) -> None:
        """Show a line; a minor one only where lines are cheap (a terminal's bar)."""

    def download(self, name: str, size_bytes: int) -> AbstractContextManager[Advance]:
        """A download of `size_bytes` in the scope of the context."""


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e7 else f"{size_bytes / 1e6:.1f} MB"


class PlainProgress:
    """Lines on a stream; a long download gets one every few seconds."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock

    def note(self, text: str, *, minor: bool = False) -> None:
        if not minor:
            self._write(text + "\n")

    @contextmanager
    def download(self, name: str, size_bytes: int) -> Iterator[Advance]:
        self._write(f"  downloading {name} ({megabytes(size_bytes)})\n")
        last_s = self._clock()

        def advance(done_bytes: int) -> None:
            nonlocal last_s
            if self._clock() - last_s >= _PLAIN_LINE_EVERY_S:
                last_s = self._clock()
                self._write(f"  {name}: {done_bytes * 100 // max(size_bytes, 1)} %\n")

        yield advance


@contextmanager
def open_progress() -> Iterator[Progress]:
    """Progress on standard output."""
    if sys.stdout.isatty():
        try:
            from local_ai_server.install_progress_rich import RichProgress  # noqa: PLC0415 - rich is an extra
        except ImportError:
            pass
        else:
            with RichProgress() as progress:
                yield progress
            return

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    yield PlainProgress(write)
