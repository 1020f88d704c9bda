"""The requests of one session: each ends in exactly one message, and nothing of it follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from local_ai_server.errors import ServeError
from local_ai_server.metrics import ServerMetrics
from local_ai_server.service import Place
from model_worker.spec import Priority
from voice_wire.messages import Done, ProtocolError, WireModel

log = structlog.get_logger(__name__)

MAX_IN_FLIGHT: Final = 64
"""Requests of one session at once: a call has fewer than ten, and each holds what its client sent."""


class Client(Protocol):
    """The other end of a session's connection. Both return at once; what is sent keeps its order."""

    def send(self, message: WireModel | bytes) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


class Request:
    """One request at work."""

    def __init__(self, request_id: str, operation: str, *, client: Client, speculative: bool = False) -> None:
        self.id = request_id
        self.operation = operation
        self.place = Place(Priority.SPECULATIVE if speculative else Priority.FINAL)
        self.arrived_at = time.monotonic()
        self.outcome: str | None = None
        """`done`, `cancelled` or an error's code, once it has ended."""
        self.task: asyncio.Task[None] | None = None
        self.on_end: Callable[[], None] = lambda: None
        """Called before the message that ends it is sent: whoever reads that may use the id again at once."""
        self._client = client

    def send(self, message: WireModel | bytes) -> None:
        """Sends a part of the answer, unless the request has ended."""
        if self.outcome is None:
            self._client.send(message)

    def end(self, *messages: WireModel, outcome: str = "done") -> None:
        """Sends what ends the request. Idempotent: what comes later is dropped."""
        if self.outcome is None:
            self.outcome = outcome
            self.on_end()
            for message in messages:
                self._client.send(message)

    def elapsed_ms(self) -> float:
        return round(1000 * (time.monotonic() - self.arrived_at), 1)


class Requests:
    """Requests in flight, by id."""

    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics
        self._open: dict[str, Request] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, request_id: str | None) -> Request | None:
        return self._open.get(request_id) if request_id is not None else None

    def start(
        self,
        request: Request,
        work: Callable[[Request], Awaitable[None]],
        *,
        explain: Callable[[ServeError], tuple[WireModel, ...]],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Runs `work`; a `ServeError` ends the request with `explain`'s messages. `on_end` is called in any case.

        Raises `ProtocolError` when the id is in flight already. Beyond `MAX_IN_FLIGHT` it ends in server_at_capacity.
        """
        if request.id in self._open:
            raise ProtocolError("duplicate_request", f"request_id {request.id!r} is still in flight; use a new one")
        if len(self._tasks) >= MAX_IN_FLIGHT:
            work = _refuse
        self._open[request.id] = request
        request.on_end = lambda: self._release(request)
        request.task = asyncio.create_task(self._run(request, work, explain), name=f"{request.operation} {request.id}")
        self._tasks.add(request.task)
        # Not in the task itself: one that is cancelled before its first step never runs.
        request.task.add_done_callback(lambda task: self._ended(task, request, on_end))

    def cancel(self, request_id: str) -> None:
        """Ends one request with `done {cancelled}` at once. One that is not in flight is left alone."""
        request = self._open.get(request_id)
        if request is not None and request.task is not None:
            request.end(Done(request_id=request.id, cancelled=True), outcome="cancelled")
            request.task.cancel()

    def cancel_all(self) -> None:
        for request_id in list(self._open):
            self.cancel(request_id)

    def drop_all(self) -> None:
        """Ends all requests without a word (version 2 knows no `done`)."""
        for request in list(self._open.values()):
            self.drop(request)

    def drop(self, request: Request) -> None:
        """Ends one without a word; nothing when it has ended."""
        if request.outcome is None and request.task is not None:
            request.end(outcome="cancelled")
            request.task.cancel()

    async def close(self) -> None:
        """Ends all work and waits until it has."""
        self.drop_all()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _release(self, request: Request) -> None:
        if self._open.get(request.id) is request:
            del self._open[request.id]

    def _ended(self, task: asyncio.Task[None], request: Request, on_end: Callable[[], None]) -> None:
        self._tasks.discard(task)
        self._release(request)
        self._metrics.request_ended(request.operation, request.outcome or "silent", request.elapsed_ms() / 1000)
        on_end()

    async def _run(
        self,
        request: Request,
        work: Callable[[Request], Awaitable[None]],
        explain: Callable[[ServeError], tuple[WireModel, ...]],
    ) -> None:
        try:
            await work(request)
        except ServeError as error:
            request.end(*explain(error), outcome=error.code)
        except Exception:  # the root of a request: the session and its other requests go on
            log.exception("request_failed", operation=request.operation)
            request.end(*explain(ServeError("internal_error", "the server failed; see its log")), outcome="failed")


async def _refuse(_request: Request) -> None:
    raise ServeError(
        "server_at_capacity",
        f"{MAX_IN_FLIGHT} requests of this session are in flight, which is the limit; wait for one to end",
        retryable=True,
        active=MAX_IN_FLIGHT,
        max=MAX_IN_FLIGHT,
        available=0,
        at_capacity=True,
    )
