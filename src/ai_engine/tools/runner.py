"""Runs the tools of one call: only those its context allows, only with arguments as they should be, and not for ever.

Whatever happens the model gets a result that says what happened, so that it tells the caller no tale.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from ai_engine.tools.arguments import complaint
from ai_engine.tools.tool import Tool, ToolCallScope, ToolFailed, ToolResult, ToolSpec

log = structlog.get_logger(__name__)

MAX_RESULT_CHARS: Final = 4000
"""What a model is told at most; a page of text is about 3,000."""
_CUT_NOTE: Final = " … (the rest was left out)"


OnDone = Callable[[str, str, float, Mapping[str, Any]], None]
"""(name, outcome: ok, refused, failed or timeout, seconds, arguments)."""


class ToolRunner:
    """One call's. `tools` are those that its context allows; no other can be run, whatever the model asks for."""

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        on_done: OnDone = lambda name, outcome, seconds, arguments: None,
    ) -> None:
        """`on_done` is told of each call, for metrics and history; of a name that there is not, as `unknown`."""
        self._tools = {tool.spec.name: tool for tool in tools}
        self._clock = clock
        self._on_done = on_done

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is offered."""
        return tuple(tool.spec for tool in self._tools.values())

    async def run(self, name: str, arguments: Mapping[str, Any], call: ToolCallScope) -> ToolResult:
        """Run the tool of that name. Never raises but for its own cancellation, which cancels the tool."""
        began = self._clock()
        outcome, result = await self._outcome(name, arguments, call)
        seconds = self._clock() - began
        # Names only: arguments and results hold what callers say, and what tools must keep to themselves.
        log.info("tool_ran", tool=name[:64], outcome=outcome, seconds=round(seconds, 3), call_id=call.call_id)
        known = name if name in self._tools else "unknown"
        self._on_done(known, outcome, seconds, arguments)
        return _shortened(result)

    async def _outcome(self, name: str, arguments: Mapping[str, Any], call: ToolCallScope) -> tuple[str, ToolResult]:
        tool = self._tools.get(name)
        if tool is None:
            return "refused", ToolResult(f"Nothing was done: there is no tool {name[:64]!r} in this call.", ok=False)
        if (wrong := complaint(tool.spec.parameters, arguments)) is not None:
            return "refused", ToolResult(f"Nothing was done: the arguments do not fit: {wrong}", ok=False)
        try:
            async with asyncio.timeout(tool.timeout_s) as limit:
                result = await tool.run(call, arguments)
        except ToolFailed as failure:
            return "failed", ToolResult(f"It failed: {failure}", ok=False)
        except TimeoutError:
            if not limit.expired():
                log.warning("tool_failed", tool=name, error="a time limit within it passed")
            return "timeout", ToolResult(
                f"No answer came within {tool.timeout_s:g} seconds; it is not known whether it was done.", ok=False
            )
        except Exception as error:  # the root of what others wrote: the call goes on, the model is told
            log.exception("tool_broke", tool=name, call_id=call.call_id, kind=type(error).__name__)
            return "failed", ToolResult("It failed for a technical reason; nothing more is known.", ok=False)
        return ("ok" if result.ok else "failed"), result


def _shortened(result: ToolResult) -> ToolResult:
    if len(result.text) <= MAX_RESULT_CHARS:
        return result
    return replace(result, text=result.text[: MAX_RESULT_CHARS - len(_CUT_NOTE)] + _CUT_NOTE)
