"""A language model that answers as its script says, tools included."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from voice_core.history import Message


class ScriptedLlm:
    """Answers with the rounds it is given: pieces of text and tools."""

    def __init__(self, *rounds: list) -> None:
        self.rounds = list(rounds)
        self.prompts: list[list[Message]] = []
        self.offered: list[list[str]] = []
        self.warmed: list[tuple] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    @asynccontextmanager
    async def reply(self, messages, *, sampling, speculative, tools=()):
        self.prompts.append(list(messages))
        self.offered.append([tool.name for tool in tools])
        yield _Output(self.rounds.pop(0))

    async def warm(self, messages, *, tools=()) -> None:
        self.warmed.append((list(messages), [tool.name for tool in tools]))


class _Output:
    def __init__(self, pieces: list) -> None:
        self.pieces = pieces

    def adopt(self) -> None: ...

    async def __aiter__(self):
        for piece in self.pieces:
            await asyncio.sleep(0)
            yield piece
