"""A language model behind HTTP, whose server knows no speculation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from ai_engine.providers.components.component import ComponentFailed, Output, ToolWanted
from ai_engine.tools.tool import ToolSpec
from openai_wire.errors import LlmError, LlmRefused, LlmUnavailable
from voice_core.history import Message
from voice_wire.messages import Sampling


class Pieces:
    """Implements `Output[str | ToolWanted]`."""

    def __init__(self, pieces: AsyncGenerator[str | ToolWanted, None]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[str | ToolWanted]:
        return self

    async def __anext__(self) -> str | ToolWanted:
        return await anext(self._pieces)

    def adopt(self) -> None:
        """The server knows no speculation."""


class HttpLanguageModel(ABC):
    """One call's; its connections are the engine's. Implements `LanguageModel`, but for `_answer` and `warm`."""

    async def start(self) -> None:  # noqa: B027 - most have nothing to do
        """Nothing is connected before the first question."""

    async def stop(self) -> None:  # noqa: B027
        """The connections stay."""

    @asynccontextmanager
    async def reply(
        self, messages: Sequence[Message], *, sampling: Sampling, speculative: bool, tools: Sequence[ToolSpec] = ()
    ) -> AsyncIterator[Output[str | ToolWanted]]:
        async with aclosing(self._answer(messages, sampling, tools)) as pieces:
            yield Pieces(pieces)

    @abstractmethod
    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, tools: Sequence[ToolSpec]
    ) -> AsyncGenerator[str | ToolWanted, None]:
        """What may be said, as it comes, then the tools that are wanted. Raises `ComponentFailed`."""


def component_failed(error: LlmError) -> ComponentFailed:
    """What the pipeline is told of it."""
    retryable, refused = isinstance(error, LlmUnavailable), isinstance(error, LlmRefused)
    return ComponentFailed("llm", str(error), retryable=retryable, refused=refused)
