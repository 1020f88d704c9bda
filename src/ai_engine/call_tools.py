"""The tools of one call: what its conversation decided to run is run, beside it, and told to it and to its provider.

Lives on the control loop. A tool that has begun goes on when the caller interrupts the answer it belongs to, and for a
few seconds when the call ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

import structlog

from ai_engine.asterisk.events import Channel
from ai_engine.briefing import Persona
from ai_engine.call_control import TelephoneControl
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.decisions import AgentTurn, CallerTurn, CarryOut, Ending, RunTool
from ai_engine.conversation.follow_ups import ToolDone
from ai_engine.key_requests import KeyRequests
from ai_engine.messages.call_messages import CallMessages
from ai_engine.tools.runner import ToolRunner
from ai_engine.tools.tool import Later, ToolCallScope, ToolResult
from voice_core.history import Message

log = structlog.get_logger(__name__)

_END_WITHIN_S: Final = 3.0
"""A tool that still runs when the call ends has so long: a booking is better made than half made."""

ToConversation = Callable[[Callable[[Conversation, float], object]], None]


class _TakesResults(Protocol):
    def tool_result(self, tool_call_id: str, result: Mapping[str, Any]) -> None: ...


class CallTools:
    """One call's."""

    def __init__(
        self, runner: ToolRunner, scope: ToolCallScope, provider: _TakesResults, to_conversation: ToConversation
    ) -> None:
        """`to_conversation` has something done to the conversation, on its own thread and in order."""
        self._runner = runner
        self._scope = scope
        self._provider = provider
        self._to_conversation = to_conversation
        self._transcript: list[Message] = []
        self._later: dict[str, Later] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = log.bind(call_id=scope.call_id)

    def note(self, turn: CallerTurn | AgentTurn) -> None:
        """Somebody has said something: tools may know what was said so far."""
        if turn.text.strip():
            caller = isinstance(turn, CallerTurn)
            self._transcript.append(Message("user" if caller else "assistant", turn.text))

    def begin(self, decision: RunTool) -> None:
        """Run it; its result is told when there is one."""
        self._spawn(self._run(decision), f"tool-{decision.name[:64]}-{self._scope.call_id}")

    def carry_out(self, decision: CarryOut) -> None:
        """What that tool put off is due."""
        later = self._later.pop(decision.tool_call_id, None)
        if later is not None:
            self._spawn(self._carry_out(later, decision.tool_call_id), f"later-{self._scope.call_id}")

    async def close(self) -> None:
        """The call is over. What still runs may end in its time, or is cancelled. Lets go of the call."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_WITHIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._to_conversation = _nowhere

    async def _run(self, decision: RunTool) -> None:
        scope = replace(self._scope, transcript=tuple(self._transcript))
        result = await self._runner.run(decision.name, decision.arguments, scope)
        then = self._follow_up(decision.tool_call_id, result)
        done = ToolDone(decision.turn, decision.revision, decision.tool_call_id, result.text, then)
        # The conversation first: the provider's next words belong to a tool that has ended.
        self._to_conversation(lambda conversation, now: conversation.tool_done(done, now))
        told = {"text": result.text, "say": result.say, "ends": then is not None}
        self._provider.tool_result(decision.tool_call_id, told)

    def _follow_up(self, tool_call_id: str, result: ToolResult) -> Ending | CarryOut | None:
        if isinstance(result.then, Later):
            self._later[tool_call_id] = result.then
            return CarryOut(tool_call_id)
        return result.then

    async def _carry_out(self, later: Later, tool_call_id: str) -> None:
        self._log.info("tool_carried_out", what=later.what)
        try:
            told = await later.run()
            if told is not None:
                self._to_conversation(lambda conversation, _now: conversation.tool_told(tool_call_id, told))
        except Exception:  # noqa: BLE001 - the root of a task: the call goes on
            self._log.exception("tool_broke", what=later.what)

    def _spawn(self, job: Any, name: str) -> None:
        task = asyncio.create_task(job, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def tool_scope(
    call_id: str,
    channel: Channel,
    persona: Persona,
    *,
    line: TelephoneControl,
    keys: KeyRequests,
    messages: CallMessages | None,
) -> ToolCallScope:
    """What this call's tools know and may use."""
    return ToolCallScope(
        call_id=call_id,
        context=persona.name,
        caller_number=channel.caller_number,
        caller_name=channel.caller_name,
        dialed_number=channel.exten,
        language=persona.context.language,
        line=line,
        variables=persona.texts.variables,
        collect_keys=keys.collect,
        secrets=keys,
        messages=messages,
    )


def _nowhere(_: Callable[[Conversation, float], object]) -> None:
    """For a call that is over."""
