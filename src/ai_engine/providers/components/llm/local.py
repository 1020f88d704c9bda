"""A language model by local_ai_server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ai_engine.providers.components.component import Output
from ai_engine.providers.components.local_exchange import Exchange
from ai_engine.providers.components.local_settings import NoOptions, shared_socket
from ai_engine.providers.components.local_socket import LocalSocket
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.services import CallScope
from voice_core.history import Message
from voice_wire.messages import ChatMessage, Done, LlmDelta, LlmRequest, Sampling, Warm


class LocalLanguageModel:
    def __init__(self, socket: LocalSocket) -> None:
        self._socket = socket

    async def start(self) -> None:
        await self._socket.ready()

    async def stop(self) -> None:
        await self._socket.close()

    @asynccontextmanager
    async def reply(
        self, messages: Sequence[Message], *, sampling: Sampling, speculative: bool
    ) -> AsyncIterator[Output[str]]:
        chat = _chat(messages)
        exchange = await self._socket.request(
            "llm",
            lambda request_id: LlmRequest(
                request_id=request_id, messages=chat, sampling=sampling, stream=True, speculative=speculative
            ),
        )
        try:
            yield _Deltas(exchange)
        finally:
            exchange.close()

    async def warm(self, messages: Sequence[Message]) -> None:
        chat = _chat(messages)
        exchange = await self._socket.request(
            "llm", lambda request_id: Warm(request_id=request_id, messages=chat, speculative=True)
        )
        try:
            while not isinstance(await exchange.receive(), Done):
                pass
        finally:
            exchange.close()


class _Deltas:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while not isinstance(answer := await self._exchange.receive(), Done):
            if isinstance(answer, LlmDelta) and answer.text:
                return answer.text
        raise StopAsyncIteration

    def adopt(self) -> None:
        self._exchange.adopt()


def _chat(messages: Sequence[Message]) -> tuple[ChatMessage, ...]:
    return tuple(ChatMessage(role=message.role, content=message.content) for message in messages)


def local_language_model(scope: CallScope, options: Options) -> LocalLanguageModel:
    read_options(NoOptions, options, "local language model")
    return LocalLanguageModel(shared_socket(scope))
