"""A language model by local_ai_server.

The server asks a small model in two short questions, held to a grammar, whether it wants a tool and with what; only
requests that offer tools pay for that (docs/tools.md).
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from ai_engine.providers.components.component import ComponentFailed, LanguageModel, Output, ToolWanted
from ai_engine.providers.components.llm.chain import ChainedLanguageModel
from ai_engine.providers.components.local_exchange import Exchange
from ai_engine.providers.components.local_failover import OverServers
from ai_engine.providers.components.local_settings import NoOptions, shared_socket
from ai_engine.providers.components.local_socket import LocalSocket
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.services import CallScope
from ai_engine.tools.tool import ToolSpec
from voice_core.history import Message
from voice_wire.messages import ChatMessage, Done, LlmDelta, LlmRequest, LlmToolResponse, Sampling, Warm

_UNKNOWN_TO_GRAMMARS: Final = frozenset(
    {"$id", "$anchor", "$dynamicRef", "$recursiveRef"}
    | {"patternProperties", "unevaluatedProperties", "unevaluatedItems"}
)


class LocalLanguageModel:
    def __init__(self, socket: LocalSocket) -> None:
        self._socket = socket
        self._begins: Sequence[Message] = ()
        """What the next request is likely to begin with."""
        self._priming: asyncio.Task[None] | None = None
        if socket.servers > 1:
            socket.on_reconnected(self._prime_again)

    async def start(self) -> None:
        await self._socket.ready()

    async def stop(self) -> None:
        priming, self._priming = self._priming, None
        if priming is not None:
            priming.cancel()
            await asyncio.gather(priming, return_exceptions=True)
        await self._socket.close()

    @asynccontextmanager
    async def reply(
        self, messages: Sequence[Message], *, sampling: Sampling, speculative: bool, tools: Sequence[ToolSpec] = ()
    ) -> AsyncIterator[Output[str | ToolWanted]]:
        chat = _chat(messages)
        offered = [_offered(tool) for tool in tools] or None
        exchange = await self._socket.request(
            "llm",
            lambda request_id: LlmRequest(
                request_id=request_id,
                messages=chat,
                sampling=sampling,
                tools=offered,
                stream=True,
                speculative=speculative,
            ),
        )
        try:
            yield _Deltas(exchange)
        finally:
            exchange.close()

    async def warm(self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()) -> None:
        self._begins = messages
        chat = _chat(messages)
        exchange = await self._socket.request(
            "llm", lambda request_id: Warm(request_id=request_id, messages=chat, speculative=True)
        )
        try:
            while not isinstance(await exchange.receive(), Done):
                pass
        finally:
            exchange.close()

    def _prime_again(self) -> None:
        """Another server knows nothing of this call yet; that is made up for while nobody waits."""
        if self._begins and (self._priming is None or self._priming.done()):
            self._priming = asyncio.create_task(self._prime())

    async def _prime(self) -> None:
        with suppress(ComponentFailed):  # the answer will be slower, no more
            await self.warm(self._begins)


class _Deltas:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._wanted: deque[ToolWanted] = deque()

    def __aiter__(self) -> AsyncIterator[str | ToolWanted]:
        return self

    async def __anext__(self) -> str | ToolWanted:
        if self._wanted:
            return self._wanted.popleft()
        while not isinstance(answer := await self._exchange.receive(), Done):
            if isinstance(answer, LlmDelta) and answer.text:
                return answer.text
            if isinstance(answer, LlmToolResponse) and answer.tool_calls:
                self._wanted.extend(ToolWanted(c["name"], json.dumps(c["parameters"])) for c in answer.tool_calls)
                return self._wanted.popleft()
        raise StopAsyncIteration

    def adopt(self) -> None:
        self._exchange.adopt()


def _offered(tool: ToolSpec) -> dict[str, Any]:
    """Without what the server's grammars do not know, and refuse: the engine checks the whole schema all the same."""
    function = tool.as_function()
    function["function"]["parameters"] = _without_unknown(function["function"]["parameters"])
    return function


def _without_unknown(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {key: _without_unknown(value) for key, value in schema.items() if key not in _UNKNOWN_TO_GRAMMARS}
    return [_without_unknown(part) for part in schema] if isinstance(schema, list | tuple) else schema


def _chat(messages: Sequence[Message]) -> tuple[ChatMessage, ...]:
    return tuple(_lines(messages))


def _lines(messages: Sequence[Message]) -> Iterator[ChatMessage]:
    """What tools did is told in words, as a remark: small models know no other form, and would copy a call's."""
    for message in messages:
        if message.tool is None:
            yield ChatMessage(role=message.role, content=message.content)
        elif message.role == "tool":
            use = message.tool
            said = f"The tool {use.name} was called with {use.arguments}. Its result: {message.content}"
            yield ChatMessage(role="system", content=said)


def local_language_model(scope: CallScope, options: Options) -> LanguageModel:
    read_options(NoOptions, options, "local language model")
    socket = shared_socket(scope)
    llm = LocalLanguageModel(socket)
    servers = socket.servers
    return ChainedLanguageModel(OverServers("llm", llm, socket, tries=servers), alike=True) if servers > 1 else llm
