"""Work that does not wait for who reads its results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def ahead(pieces: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """`pieces`, asked for as fast as they are made: a client that reads slowly does not keep a model from others.

    All of them may be held at once, so they are to be an answer or a phrase and not a book. Raises what `pieces`
    raises, after what came before; leaving it ends them.
    """
    made: asyncio.Queue[tuple[T] | None] = asyncio.Queue()

    async def make() -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    made.put_nowait((piece,))
        finally:
            made.put_nowait(None)

    making = asyncio.create_task(make(), name="make ahead")
    try:
        while (piece := await made.get()) is not None:
            yield piece[0]
        await making
    finally:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
