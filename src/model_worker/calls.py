"""One call to a worker, as its caller sees it: a context that cancels when left, with the answer's chunks inside."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from model_worker.errors import CallFailed, CallTimedOut, WorkerError
from model_worker.frames import Header


class CallCarrier(Protocol):
    """The process that a call goes to."""

    def begin(self, call: CallStream) -> None:
        """Sends the call; from now on its events come back by `CallStream.take`."""

    def cancel(self, call: CallStream) -> None:
        """Tells the worker that nobody wants the call any more."""


class CallStream:
    """`async with` sends the call and cancels it when left early; `async for` gives (header, body) of each chunk.

    Chunks wait here without limit until they are read: a call's answer is one phrase or one reply. Inside the context
    raises `CallFailed`, `CallTimedOut` or `WorkerDied`, after the chunks that came before; entering it may raise
    `WorkerUnavailable`. After the last chunk `result` and `result_body` hold what the method returned.
    """

    def __init__(
        self,
        acquire: Callable[[], Awaitable[CallCarrier]],
        request: Mapping[str, Any],
        body: bytes,
        *,
        deadline_s: float,
    ) -> None:
        self.request = request
        self.body = body
        self.deadline_s = deadline_s
        self.id = 0
        self.cancelled_at: float | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.patience: asyncio.TimerHandle | None = None
        self.result: Header = {}
        self.result_body = b""
        self._acquire = acquire
        self._carrier: CallCarrier | None = None
        self._chunks: deque[tuple[Header, bytes]] = deque()
        self._over = False
        self._error: WorkerError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        if self._carrier is not None:
            raise RuntimeError("a call can be made once; ask the link for another")
        self._carrier = await self._acquire()
        self._carrier.begin(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._over and self._carrier is not None:
            self._carrier.cancel(self)
            self._over = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Header, bytes]:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._chunks.popleft()

    async def finish(self) -> tuple[Header, bytes]:
        """Reads to the end. What the method returned; its body follows those of the chunks, if there were any."""
        bodies = [body async for _, body in self]
        return self.result, b"".join((*bodies, self.result_body)) if bodies else self.result_body

    def take(self, header: Header, body: bytes) -> bool:
        """One event from the worker. True when it was the last. Raises `KeyError` when it is not one."""
        match header["event"]:
            case "chunk":
                if not self._over:
                    self._chunks.append((header["header"], body))
                    self._wake()
                return False
            case "done":
                self.result, self.result_body = header["result"] or {}, body
                self._over = True
                self._wake()
                return True
            case "error":
                self.fail(CallFailed(header["kind"], header["message"]))
                return True
            case event:
                raise KeyError(event)

    def fail(self, error: WorkerError) -> None:
        """Ends the call with an error, after the chunks that came."""
        if not self._over:
            self._over = True
            self._error = error
            self._wake()

    def time_out(self) -> None:
        """Ends the call for its deadline."""
        self.fail(CallTimedOut(str(self.request.get("method", self.request["op"])), self.deadline_s))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
