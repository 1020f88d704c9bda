"""A prompt that is too long for a server's window: asked again with less of the conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

import structlog

from ai_engine.providers.components.component import ToolWanted
from ai_engine.providers.components.llm.pieces import component_failed
from openai_wire.errors import LlmError, LlmPromptTooLong
from voice_core.history import Message

log = structlog.get_logger(__name__)

_TRIES: Final = 3
"""Each prompt is about half as long as the one before."""


async def until_it_fits(
    ask: Callable[[Sequence[Message]], AsyncGenerator[str | ToolWanted, None]],
    messages: Sequence[Message],
    *,
    may_repeat: Callable[[LlmError], bool] = lambda error: False,
) -> AsyncGenerator[str | ToolWanted, None]:
    """What `ask` answers to `messages`, or to fewer of them. Raises `ComponentFailed`.

    `may_repeat`: after another error, whether the same question has a chance now. Both errors come before anything was
    said: the server refuses a request before it begins to answer.
    """
    for attempt in range(_TRIES):
        last = attempt == _TRIES - 1
        try:
            async with aclosing(ask(messages)) as pieces:
                async for piece in pieces:
                    yield piece
        except LlmPromptTooLong as error:
            shorter = without_older_half(messages)
            if last or len(shorter) == len(messages):
                raise component_failed(error) from None
            log.info("prompt_shortened", messages=len(messages), left=len(shorter))
            messages = shorter
        except LlmError as error:
            if not may_repeat(error) or last:
                raise component_failed(error) from None
        else:
            return


def without_older_half(messages: Sequence[Message]) -> Sequence[Message]:
    """System messages at the beginning and the newer half of the rest, the question always among it.

    No tool's result is left without its call: servers refuse that.
    """
    first = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    rest = messages[first:]
    if len(rest) <= 1:
        return messages
    from_half = len(rest) // 2
    whole = next((at for at in range(from_half, len(rest)) if rest[at].role != "tool"), from_half)
    return [*messages[:first], *rest[whole:]]
