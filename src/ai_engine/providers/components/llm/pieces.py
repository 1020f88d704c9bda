"""A language model's answer, for servers that know no speculation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from ai_engine.providers.components.component import ComponentFailed, ToolWanted
from openai_wire.errors import LlmError, LlmRefused, LlmUnavailable


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


def component_failed(error: LlmError) -> ComponentFailed:
    """What the pipeline is told of it."""
    retryable, refused = isinstance(error, LlmUnavailable), isinstance(error, LlmRefused)
    return ComponentFailed("llm", str(error), retryable=retryable, refused=refused)
