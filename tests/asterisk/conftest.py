"""One stack for all tests of real calls that leave it as they found it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from agent_fixture import CONTEXTS, NO_FILLER, Agent, asterisk_variables, require_models

from tools.pbx_instance import Pbx, PbxUnavailable
from tools.stack import Stack


@pytest.fixture(scope="session")
def running_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """With an Asterisk of its own: other tests want one where no engine answers."""
    require_models()
    pbx = Pbx(tmp_path_factory.mktemp("agents-pbx"))
    try:
        pbx.start()
    except PbxUnavailable as error:
        pytest.skip(f"no Asterisk can be had here: {error}")
    try:
        home = tmp_path_factory.mktemp("agent")
        config = {**NO_FILLER, "recording": {"folder": str(home / "recordings"), "min_free_mb": 0}}
        config["history"] = {"enabled": True}
        variables = asterisk_variables(pbx) | {"ENGINE_HISTORY_URL": f"sqlite:///{home}/calls.sqlite3"}
        stack = Stack(home, variables, contexts=CONTEXTS, config=config)
        asyncio.run(stack.start())
        yield Agent(stack, pbx)
        asyncio.run(stack.stop())
    finally:
        pbx.stop()


@pytest.fixture
async def agent(running_agent: Agent) -> Agent:
    """When the calls of the test before are gone."""
    await running_agent.nothing_left()
    return running_agent
