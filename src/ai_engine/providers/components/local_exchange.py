"""One request to local_ai_server and the answers that come back for it."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from ai_engine.providers.components.component import ComponentFailed, ComponentName
from voice_wire.messages import (
    Done,
    Error,
    LlmDelta,
    LlmRequest,
    LlmToolResponse,
    SttFinalize,
    SttResult,
    TtsRequest,
    TtsStart,
    Warm,
)

Request = LlmRequest | TtsRequest | SttFinalize | Warm
Answer = LlmDelta | LlmToolResponse | SttResult | TtsStart | Done | bytes

INBOX_ITEMS: Final = 4096
"""Answers not yet read: minutes of audio. Beyond it the reader is stuck, and the request fails rather than grow."""

_TRY_AGAIN: Final = frozenset({"server_at_capacity", "rate_limited", "timeout", "worker_failed", "internal_error"})
"""Error codes after which the same request may succeed, where the server does not say itself."""


class _Socket(Protocol):
    def cancel(self, request_id: str) -> None: ...

    def release(self, request_id: str) -> None: ...

    def adopt(self, request_id: str) -> None: ...


class Exchange:
    """Made by `LocalSocket.request`. `receive` until `Done`, then, whatever happened, `close`."""

    def __init__(self, socket: _Socket, component: ComponentName, request_id: str, timeout_s: float) -> None:
        self.request_id = request_id
        self._socket = socket
        self._component: ComponentName = component
        self._timeout_s = timeout_s
        self._inbox: asyncio.Queue[Answer | ComponentFailed] = asyncio.Queue()

    async def receive(self) -> Answer:
        """The next answer. Raises `ComponentFailed`; the exchange is over then."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._inbox.get()
        except TimeoutError:
            self.close()
            message = f"local_ai_server was silent for {self._timeout_s:g} s on a request"
            raise ComponentFailed(self._component, message, retryable=True) from None
        if isinstance(answer, ComponentFailed):
            raise answer
        return answer

    def adopt(self) -> None:
        """The work is no speculation any more."""
        self._socket.adopt(self.request_id)

    def close(self) -> None:
        """End the request if it has not ended; the server is told to stop. Idempotent."""
        self._socket.cancel(self.request_id)

    def release(self) -> None:
        """The answer is complete but for its `done`, which nobody needs to wait for."""
        self._socket.release(self.request_id)

    def put(self, answer: Answer | Error) -> None:
        if isinstance(answer, Error):
            retryable = answer.code in _TRY_AGAIN if answer.retryable is None else answer.retryable
            failure = ComponentFailed(self._component, f"{answer.code}: {answer.message}", retryable=retryable)
            self._inbox.put_nowait(failure)
        elif self._inbox.qsize() < INBOX_ITEMS:
            self._inbox.put_nowait(answer)
        else:
            self.close()
            self._inbox.put_nowait(
                ComponentFailed(self._component, f"more than {INBOX_ITEMS} answers waited to be read")
            )

    def fail(self, failure: ComponentFailed) -> None:
        """The connection went; the component that asked is the one that failed."""
        self._inbox.put_nowait(ComponentFailed(failure.component, str(failure), retryable=failure.retryable))
