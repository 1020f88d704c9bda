"""The progress bar of an install, drawn by rich (an extra)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import rich.progress

from local_ai_server.install_progress import Advance


class RichProgress:
    """See `install_progress.Progress`; a context manager that owns the terminal's live area."""

    def __init__(self) -> None:
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn("  {task.description}"),
            rich.progress.BarColumn(),
            rich.progress.DownloadColumn(),
            rich.progress.TransferSpeedColumn(),
            rich.progress.TimeRemainingColumn(),
            transient=True,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def note(self, text: str, *, minor: bool = False) -> None:
        self._bars.console.print(text, style="dim" if minor else None, markup=False, highlight=False)

    @contextmanager
    def download(self, name: str, size_bytes: int) -> Iterator[Advance]:
        task = self._bars.add_task(name, total=size_bytes or None)
        try:
            yield lambda done_bytes: self._bars.update(task, completed=done_bytes)
        finally:
            self._bars.remove_task(task)
