"""Between a pipeline's answer that wants a tool and the call that runs it: who waits for which result."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ai_engine.providers.components.component import ToolWanted
from voice_core.history import Message, ToolUse

_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]")
_NO_OBJECT: Final = "Nothing was done: the arguments were no JSON object."


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What came of a tool, as `Provider.tool_result` brings it."""

    text: str
    say: str | None = None
    ends: bool = False

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> ToolAnswer:
        say = result.get("say")
        return cls(str(result.get("text", "")), None if say is None else str(say), bool(result.get("ends")))


class ToolExchange:
    """One provider's."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[ToolAnswer]] = {}

    async def use(
        self, wanted: ToolWanted, tell: Callable[[str, str, Mapping[str, Any]], None], used: list[Message]
    ) -> ToolAnswer:
        """Ask for a tool with `tell(its id, name, arguments)` and wait for what comes of it; both are noted in `used`.

        Cancelling forgets it; a tool that has begun goes on.
        """
        name = _NOT_IN_NAMES.sub("_", wanted.name)[:64] or "unnamed"
        arguments = _read(wanted.arguments)
        # Nine letters and digits: some vendors take no other.
        use = ToolUse(uuid.uuid4().hex[:9], name, json.dumps(arguments or {}, ensure_ascii=False))
        if arguments is None:
            answer = ToolAnswer(_NO_OBJECT)
        else:
            answer = await self._result_of(use.call_id, lambda: tell(use.call_id, name, arguments))
        used += [Message("assistant", "", use), Message("tool", answer.text, use)]
        return answer

    def result(self, tool_call_id: str, result: Mapping[str, Any]) -> bool:
        """False where nobody waits for it any more."""
        waiting = self._waiting.get(tool_call_id)
        if waiting is None or waiting.done():
            return False
        waiting.set_result(ToolAnswer.read(result))
        return True

    async def _result_of(self, tool_call_id: str, tell: Callable[[], None]) -> ToolAnswer:
        waiting: asyncio.Future[ToolAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[tool_call_id] = waiting
        try:
            tell()
            return await waiting
        finally:
            del self._waiting[tool_call_id]


def _read(arguments: str) -> dict[str, Any] | None:
    """None for what is no JSON object; nothing at all stands for an empty one."""
    try:
        read = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None
