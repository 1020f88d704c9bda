"""Tools of the agent's answers: what came of them, and what follows once the words after it were heard.

A tool that has begun goes on whatever the caller does; what he talks over is what follows it (a transfer, the end of
the call): that is then not done, and the history says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ai_engine.conversation.agent_floor import INTERRUPTED, AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.closing import Closing
from ai_engine.conversation.decisions import CarryOut, Decision, Ending
from ai_engine.conversation.turns import Reply
from voice_core.history import History


@dataclass(frozen=True, slots=True)
class ToolDone:
    """What came of the tool call of that id, which belonged to an answer."""

    turn: int
    revision: int
    tool_call_id: str
    text: str
    """As the model is told."""
    then: Ending | CarryOut | None = None


class FollowUps:
    """Emits what follows, once."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        history: History,
        closing: Closing,
        *,
        emit: Callable[[Decision], None],
    ) -> None:
        self._agent = agent
        self._caller = caller
        self._history = history
        self._closing = closing
        self._emit = emit

    def done(self, done: ToolDone, now: float) -> None:
        """A tool has ended. Its answer may be over by now: then nothing follows."""
        self._history.tool_result(done.tool_call_id, done.text)
        reply = self._agent.reply
        if reply is None or (reply.turn, reply.revision) != (done.turn, done.revision):
            if done.then is not None:
                self._history.tool_note(done.tool_call_id, INTERRUPTED)
            return
        reply.tools_running -= 1
        reply.last_event_at = now
        if done.then is not None:
            reply.follow_up = (done.tool_call_id, done.then)

    def follow(self, reply: Reply, now: float) -> bool:
        """`reply` was heard to its end, or nothing more comes of it; True when something follows."""
        if reply.follow_up is None or self._closing.begun:
            return False
        tool_call_id, then = reply.follow_up
        reply.follow_up = None
        if self._caller.interruption is not None:  # he began to speak before the last word was out
            self._history.tool_note(tool_call_id, INTERRUPTED)
            return False
        self._caller.adopted = None
        if isinstance(then, CarryOut):
            self._emit(then)
        else:
            self._closing.begin(then, now)
            self._closing.finish()
        return True
