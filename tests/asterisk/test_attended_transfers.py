"""Attended transfers in whole calls on a real Asterisk; who is asked is a number of the dialplan (611 to 615).

The model is a stand-in that always wants the tool: which words bring a real one to that is measured elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_fixture import (
    NO_FILLER,
    PATIENCE_S,
    Agent,
    agent_events,
    asterisk_variables,
    eventually,
    greeted,
    has_tone,
    require_models,
)
from openai_stand_in import DONE, StandIn, delta

from tools.call import SipCaller
from tools.pbx_instance import Pbx
from tools.stack import Ports, Stack

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(600)]

CONTEXT = """\
greeting: Hello, this is the exchange.
prompt: You are a telephone exchange.
provider: pipeline
tools: [ask]
"""
COLLEAGUES = {
    "taker": {"extension": "611"},
    "decliner": {"extension": "612"},
    "busy": {"extension": "613"},
    "sleeper": {"extension": "614"},
    "leaver": {"extension": "615"},
}


class Exchange:
    """A whole agent whose model asks the colleague that the test names."""

    def __init__(self, agent: Agent, model: Any) -> None:
        self.agent = agent
        self._model = model

    def asks(self, destination: str) -> None:
        arguments = json.dumps({"destination": destination, "about": "Bo wants to return a bicycle."})
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "ask", "arguments": arguments}}
        self._model.script = [
            delta(role="assistant", tool_calls=[call]),
            delta("", "tool_calls"),
            DONE,
        ]


@pytest.fixture
async def exchange(pbx: Pbx, tmp_path: Path) -> AsyncIterator[Exchange]:
    require_models()
    contexts = tmp_path / "contexts"
    contexts.mkdir()
    (contexts / "default.yaml").write_text(CONTEXT)
    model = StandIn()  # type: ignore[no-untyped-call]
    llm = {"kind": "openai", "options": {"base_url": model.url, "model": "tiny"}}
    config = {
        **NO_FILLER,
        "providers": {"pipeline": {"kind": "pipeline", "options": {"small_model": False, "llm": llm}}},
        "tools": {"ask": {"kind": "attended_transfer", "options": {"destinations": COLLEAGUES, "ring_s": 5}}},
    }
    stack = Stack(tmp_path / "agent", asterisk_variables(pbx), contexts=contexts, config=config, ports=Ports())
    try:
        async with stack:
            yield Exchange(Agent(stack, pbx), model)
    finally:
        model.stop()  # type: ignore[no-untyped-call]


async def test_a_colleague_takes_the_call_and_both_talk_on_when_the_engine_is_stopped(
    exchange: Exchange, sip_caller: SipCaller
) -> None:
    exchange.asks("taker")
    agent = exchange.agent
    async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
        await call.send_dtmf("5#")
        ended = await events.next("call_ended", within_s=PATIENCE_S)
        assert ended["outcome"] == "transferred"

        async def hears_the_tone() -> bool:
            return len(heard := call.recording.agent) > 8000 and has_tone(heard, 1004.0)

        await eventually(hears_the_tone, bool)
        await agent.stack.engine.stop(30.0)
        begin_s = await call.wait_for_agent(min_voiced_ms=1000, timeout_s=30.0)
        assert has_tone(call.heard_since(begin_s), 1004.0)
        assert not call.ended.is_set()


@pytest.mark.parametrize(
    ("colleague", "told"),
    [("decliner", "cannot take your call"), ("busy", "on another call"), ("sleeper", "nobody answers")],
)
async def test_the_caller_is_back_with_the_agent(
    exchange: Exchange, sip_caller: SipCaller, colleague: str, told: str
) -> None:
    exchange.asks(colleague)
    agent = exchange.agent
    async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
        await call.send_dtmf("5#")
        turn = await events.next("agent_turn", lambda event: told in event["text"], PATIENCE_S)
        assert not turn["interrupted"]
    await agent.nothing_left()


async def test_a_caller_who_hangs_up_leaves_no_telephone_ringing(exchange: Exchange, sip_caller: SipCaller) -> None:
    exchange.asks("sleeper")
    agent = exchange.agent
    async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
        await call.send_dtmf("5#")
        await events.next("state", lambda event: event.get("state") == "held", PATIENCE_S)
    await agent.nothing_left()
