"""A call that is looked up before it is answered and told of afterwards, through a real Asterisk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from agent_fixture import PATIENCE_S, TOKEN, Agent, asterisk_variables, eventually, require_models
from aiohttp import web

from tools.call import SipCaller
from tools.pbx_instance import Pbx
from tools.stack import Stack

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(300)]

PERSONA = """
greeting: Hello {lookup_name}, you are a {lookup_tier} customer.
prompt: You are the shop. The caller is {lookup_name}.
before_call: [customer]
before_call_s: 5
after_call: [told]
"""


class Crm:
    """Looks callers up and is told of their calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[dict[str, Any]] = []

    async def customer(self, request: web.Request) -> web.Response:
        self.asked.append(request.match_info["number"])
        return web.json_response({"name": "Grace", "tier": None})

    async def call(self, request: web.Request) -> web.Response:
        self.told.append(await request.json())
        return web.Response()


async def test_the_greeting_knows_the_caller_and_the_office_hears_of_the_call(
    tmp_path: Path, pbx: Pbx, sip_caller: SipCaller
) -> None:
    require_models()
    crm = Crm()
    app = web.Application()
    app.add_routes([web.get("/customers/{number}", crm.customer), web.post("/calls", crm.call)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    reachable = {"allow_private": ["127.0.0.1"], "ports": [port], "timeout_s": 30}
    url = f"http://127.0.0.1:{port}"
    asked = {"url": f"{url}/customers/{{dialed_number}}", "variables": {"name": "name", "tier": "tier"},
             "defaults": {"tier": "regular"}, **reachable}  # fmt: skip
    tools = {"customer": {"kind": "http", "options": asked},
             "told": {"kind": "http", "options": {"url": f"{url}/calls", "method": "POST", **reachable}}}  # fmt: skip
    contexts = tmp_path / "contexts"
    contexts.mkdir()
    (contexts / "default.yaml").write_text(PERSONA)
    stack = Stack(tmp_path / "home", asterisk_variables(pbx), contexts=contexts, config={"tools": tools})
    try:
        async with stack:
            agent = Agent(stack, pbx)
            async with sip_caller.dial(pbx.sip_uri(700)) as call:
                await call.wait_for_agent(timeout_s=PATIENCE_S, since_s=call.dialled_s)
                await call.wait_for_silence(700)

            async def told() -> list[dict[str, Any]]:
                return crm.told

            (record,) = await eventually(told, bool)
            await agent.nothing_left()
    finally:
        await runner.cleanup()
    assert TOKEN not in str(record)
    assert crm.asked == ["700"]
    assert record["turns"] == [{"who": "agent", "text": "Hello Grace, you are a regular customer."}]
    assert record["transcript"] == "Agent: Hello Grace, you are a regular customer."
    assert (record["outcome"], record["dialed_number"], record["context"]) == ("caller_hung_up", "700", "default")
    assert record["duration_s"] > 0
