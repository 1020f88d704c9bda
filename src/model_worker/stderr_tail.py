"""The last words of a worker: what it, or a native library in it, wrote to stderr or stdout."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

_LINES: Final = 40
_LINE_CHARACTERS: Final = 400


class StderrTail(asyncio.Protocol):
    """Keeps the last lines of a pipe; never lets the writer wait."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._begun = b""

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        *whole, begun = (self._begun + data).replace(b"\r", b"\n").split(b"\n")
        self._begun = begun[-4 * _LINE_CHARACTERS :]
        self._lines.extend(_printable(line) for line in whole[-_LINES:] if line.strip())

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self.closed.set()

    def lines(self) -> tuple[str, ...]:
        """Oldest first; a line not yet ended is the last."""
        return (*self._lines, _printable(self._begun)) if self._begun.strip() else tuple(self._lines)


def _printable(line: bytes) -> str:
    text = line.decode("utf-8", "replace").rstrip()[:_LINE_CHARACTERS]
    return "".join(character if character.isprintable() else " " for character in text)
