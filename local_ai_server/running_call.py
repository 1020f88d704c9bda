"""One request to a backend, wherever it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from local_ai_server.request_queue import Moved, Place
from model_worker.errors import WorkerDied, WorkerUnavailable

if TYPE_CHECKING:
    from local_ai_server.service import Service


class Answers(Protocol):
    """What a worker's call gives: (header, body) chunk by chunk, then what the method returned."""

    result: dict[str, Any]

    def __aiter__(self) -> AsyncIterator[tuple[dict[str, Any], bytes]]: ...

    async def finish(self) -> tuple[dict[str, Any], bytes]: ...


class RunningCall:
    """It moves to the service's successor while it waits, and again when its worker is gone before anything of the
    answer was handed out: `finish` hands out all or nothing. What a streaming engine hears of one utterance stays.
    """

    def __init__(
        self, service: Service, method: str, args: Mapping[str, Any], body: bytes, place: Place, *, may_move: bool
    ) -> None:
        self.service = service
        """What serves it now: `service.backend.name` is the engine that really answered."""
        self.result: dict[str, Any] = {}
        """What the method returned, after the last chunk."""
        self._method = method
        self._args = args
        self._body = body
        self._place = place
        self._may_move = may_move
        self._stack = AsyncExitStack()
        self._answers: Answers
        self._chunks: AsyncIterator[tuple[dict[str, Any], bytes]]
        self._handed_out = False

    async def __aenter__(self) -> Self:
        await self._enter(moved=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[dict[str, Any], bytes]:
        while True:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self.result = self._answers.result
                raise
            except (WorkerDied, WorkerUnavailable):
                if self._handed_out or not await self._follow():
                    raise
            else:
                self._handed_out = True
                return chunk

    async def finish(self) -> tuple[dict[str, Any], bytes]:
        """Reads to the end: what the method returned, and all bytes of the answer."""
        while True:
            try:
                self.result, body = await self._answers.finish()
            except (WorkerDied, WorkerUnavailable):
                if self._handed_out or not await self._follow():
                    raise
            else:
                return self.result, body

    async def _enter(self, *, moved: bool) -> None:
        while True:
            while self._may_move and self.service.successor is not None:
                self.service = self.service.successor
            service, stack = self.service, AsyncExitStack()
            try:
                await stack.enter_async_context(service.turn(self._place, moved=moved, may_move=self._may_move))
                call = service.link.call(self._method, service.suit(self._args), self._body)
                self._answers = await stack.enter_async_context(call)
            except Moved:
                moved = True
                continue
            except (WorkerDied, WorkerUnavailable):
                await stack.aclose()
                if not self._may_move or service.successor is None:
                    raise
                moved = True
                continue
            except BaseException:
                await stack.aclose()
                raise
            self._chunks = aiter(self._answers)
            self._stack = stack
            return

    async def _follow(self) -> bool:
        """Begins anew at the successor; False where there is none."""
        if not self._may_move or self.service.successor is None:
            return False
        await self._stack.aclose()
        await self._enter(moved=True)
        return True
