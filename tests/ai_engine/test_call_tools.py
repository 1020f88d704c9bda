"""What a conversation decides about tools, carried out: in order, beside the call, and told to both sides."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ai_engine import call_tools
from ai_engine.call_tools import CallTools
from ai_engine.conversation.decisions import AgentTurn, CallerTurn, CarryOut, HangUp, RunTool
from ai_engine.conversation.follow_ups import ToolDone
from ai_engine.tools.runner import ToolRunner
from ai_engine.tools.tool import Later, ToolCallScope, ToolResult, ToolSpec
from tests.ai_engine.no_call_control import NoCallControl
from voice_core.history import Message

SPEC = ToolSpec("do", "Does it.", {"type": "object"})


@dataclass
class Tool:
    result: ToolResult
    hold: asyncio.Event | None = None
    spec: ToolSpec = SPEC
    timeout_s: float = 30.0
    seen: list = field(default_factory=list)

    async def run(self, call, arguments):
        self.seen.append(tuple(call.transcript))
        if self.hold is not None:
            await self.hold.wait()
        return self.result


class Rig:
    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.told: list = []
        scope = ToolCallScope("c1", "shop", "5551234", "Ann", "700", "en", NoCallControl())
        self.tools = CallTools(ToolRunner([tool]), scope, self, self._to_conversation)

    def _to_conversation(self, action) -> None:
        action(self, 7.0)

    def tool_done(self, done: ToolDone, now: float) -> None:  # the conversation's
        self.told.append(done)

    def tool_result(self, tool_call_id, result) -> None:  # the provider's
        self.told.append((tool_call_id, dict(result)))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.told) < count:
                await asyncio.sleep(0)


ASKED = RunTool(2, 1, "t1", "do", {})


async def test_the_conversation_is_told_before_the_provider_goes_on():
    rig = Rig(Tool(ToolResult("Done.", say="It is done.")))
    rig.tools.begin(ASKED)
    await rig.until(2)
    assert rig.told == [
        ToolDone(2, 1, "t1", "Done.", None),
        ("t1", {"text": "Done.", "say": "It is done.", "ends": False}),
    ]
    await rig.tools.close()


async def test_an_end_of_the_call_is_handed_on_as_it_is():
    rig = Rig(Tool(ToolResult("Bye.", then=HangUp("tool"))))
    rig.tools.begin(ASKED)
    await rig.until(2)
    assert rig.told[0].then == HangUp("tool")
    assert rig.told[1][1]["ends"]
    await rig.tools.close()


async def test_what_is_put_off_runs_when_it_is_due_and_once():
    ran: list = []

    async def brief() -> None:
        ran.append("briefed")

    rig = Rig(Tool(ToolResult("Asking a colleague.", then=Later(brief, "the briefing"))))
    rig.tools.begin(ASKED)
    await rig.until(2)
    assert rig.told[0].then == CarryOut("t1")
    assert ran == []
    rig.tools.carry_out(CarryOut("t1"))
    rig.tools.carry_out(CarryOut("t1"))
    rig.tools.carry_out(CarryOut("t9"))
    await rig.tools.close()
    assert ran == ["briefed"]


async def test_what_was_put_off_may_break():
    async def broken() -> None:
        raise RuntimeError

    rig = Rig(Tool(ToolResult("x", then=Later(broken, "the briefing"))))
    rig.tools.begin(ASKED)
    await rig.until(2)
    rig.tools.carry_out(CarryOut("t1"))
    await rig.tools.close()


async def test_a_tool_knows_what_was_said_so_far():
    tool = Tool(ToolResult("Done."))
    rig = Rig(tool)
    rig.tools.note(AgentTurn(1, "Hello.", False, "said", {}))
    rig.tools.note(AgentTurn(2, "", True, "llm", {}))
    rig.tools.note(CallerTurn(3, "Do it.", 1.0))
    rig.tools.begin(ASKED)
    await rig.until(2)
    assert tool.seen == [(Message("assistant", "Hello."), Message("user", "Do it."))]
    await rig.tools.close()


async def test_two_tools_run_beside_each_other():
    hold = asyncio.Event()
    rig = Rig(Tool(ToolResult("Done."), hold))
    rig.tools.begin(ASKED)
    rig.tools.begin(RunTool(2, 1, "t2", "no_such", {}))
    await rig.until(2)
    assert rig.told[0].tool_call_id == "t2"
    hold.set()
    await rig.until(4)
    assert rig.told[2].tool_call_id == "t1"
    await rig.tools.close()


async def test_a_tool_that_does_not_end_with_the_call_is_cancelled(monkeypatch):
    monkeypatch.setattr(call_tools, "_END_WITHIN_S", 0.01)
    rig = Rig(Tool(ToolResult("Done."), asyncio.Event()))
    rig.tools.begin(ASKED)
    while not rig.tool.seen:
        await asyncio.sleep(0)
    before = asyncio.all_tasks()
    await rig.tools.close()
    assert rig.told == []
    assert len(asyncio.all_tasks()) == len(before) - 1


async def test_a_tool_may_end_after_the_caller_has_hung_up():
    hold = asyncio.Event()
    rig = Rig(Tool(ToolResult("Booked."), hold))
    rig.tools.begin(ASKED)
    closing = asyncio.create_task(rig.tools.close())
    await asyncio.sleep(0)
    hold.set()
    await closing
    assert [told.text for told in rig.told if isinstance(told, ToolDone)] == ["Booked."]
