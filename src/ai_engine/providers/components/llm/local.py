"""A language model by local_ai_server.

The server asks a small model in two short questions, held to a grammar, whether it wants a tool and with what; only
requests that offer tools pay for that (docs/tools.md).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from ai_engine.providers.components.component import Output, ToolWanted
from ai_engine.providers.components.local_exchange import Exchange
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

    async def start(self) -> None:
        await self._socket.ready()

    async def stop(self) -> None:
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


def local_language_model(scope: CallScope, options: Options) -> LocalLanguageModel:
    read_options(NoOptions, options, "local language model")
    return LocalLanguageModel(shared_socket(scope))
