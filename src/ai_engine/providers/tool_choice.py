"""Which tools a small model is offered for a remark, and which is used without asking it.

A tool whose configuration tells what callers say who want it (`said`) is chosen by these words. Where the remark also
names its arguments it is used at once; where a model has to find those, it is offered that tool alone. Tools without
wordings are always offered. So most remarks, which want no tool, cost the model no question about tools.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from ai_engine.conversation.argument_words import arguments_said
from ai_engine.conversation.embedding_worker import TextEmbedder
from ai_engine.conversation.tool_wordings import ToolWordingIndex, Wordings, plain
from ai_engine.providers.components.component import ToolWanted
from ai_engine.tools.arguments import complaint
from ai_engine.tools.tool import ToolSpec
from model_worker.errors import WorkerError

log = structlog.get_logger(__name__)

_SETS_KEPT: Final = 8
"""Of tools: a context has one, or two where a source of tools came late."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """For one remark."""

    offered: tuple[ToolSpec, ...]
    """The model may ask for one of these."""
    wanted: tuple[ToolWanted, ...] = ()
    """Used without asking it."""


class ToolChooser:
    """One persona's, shared by its calls."""

    def __init__(self, embedder: TextEmbedder, others: Sequence[str] = (), *, language: str = "en") -> None:
        """`others`: what callers of this persona say who want no tool."""
        self._embedder = embedder
        self._others = tuple(others)
        self._language = language
        self._indexes: OrderedDict[tuple[object, ...], ToolWordingIndex] = OrderedDict()
        self._indexing = asyncio.Lock()

    async def prepare(self, tools: Sequence[ToolSpec]) -> None:
        """Embed the wordings of these tools, if any has some. Raises `model_worker.errors.WorkerError`."""
        if worded := _worded(tools):
            await self._index(worded)

    async def choose(self, remark: str, tools: Sequence[ToolSpec], *, speculative: bool) -> ToolChoice:
        """Never fails: where meanings cannot be compared, all tools are offered."""
        worded = _worded(tools)
        if not worded:
            return ToolChoice(tuple(tools))
        try:
            index = await self._index(worded)
            vectors = await self._embedder.embed([plain(remark)], speculative=speculative)
        except WorkerError as error:
            log.warning("tools_not_chosen_by_words", reason=str(error))
            return ToolChoice(tuple(tools))
        name = index.guess(remark, vectors[0])
        open_to_all = tuple(tool for tool in tools if not tool.said)
        tool = next((tool for tool in worded if tool.name == name), None)
        if tool is None:
            return ToolChoice(open_to_all)
        found = arguments_said(remark, tool.parameters)
        if found.impossible:
            return ToolChoice(open_to_all)
        if not found.missing and complaint(tool.parameters, dict(found.arguments)) is None:
            return ToolChoice((), (ToolWanted(tool.name, json.dumps(dict(found.arguments))),))
        return ToolChoice((tool,))

    async def _index(self, worded: tuple[ToolSpec, ...]) -> ToolWordingIndex:
        key = tuple((tool.name, tool.said, tool.not_said) for tool in worded)
        async with self._indexing:
            index = self._indexes.get(key)
            if index is None:
                wordings = Wordings(worded, self._others)
                vectors = await self._embedder.embed(wordings.texts(), speculative=True)
                index = self._indexes[key] = ToolWordingIndex(wordings, vectors, language=self._language)
                while len(self._indexes) > _SETS_KEPT:
                    self._indexes.popitem(last=False)
            return index


def _worded(tools: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    return tuple(tool for tool in tools if tool.said)
