"""What the metrics are told of a request over HTTP."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from local_ai_server.errors import ServeError
from local_ai_server.http_api.disconnect import ClientGone
from local_ai_server.metrics import ServerMetrics


class Counted:
    """One request, from its making to the end of its `with` block."""

    def __init__(self, metrics: ServerMetrics, operation: str) -> None:
        self._metrics = metrics
        self._operation = operation
        self._began = time.monotonic()
        self._answered = False

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def first_output(self) -> None:
        """The first of the answer is there; counts once."""
        if not self._answered:
            self._answered = True
            self._metrics.first_output(self._operation, self.elapsed_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = "done"
        if isinstance(error, ServeError):
            outcome = error.code
        elif isinstance(error, asyncio.CancelledError | GeneratorExit | ClientGone):
            outcome = "cancelled"
        elif error is not None:
            outcome = "failed"
        self._metrics.request_ended(self._operation, outcome, self.elapsed_s)
