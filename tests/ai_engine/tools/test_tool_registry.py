"""The configuration's tools: made by kind, described anew, found by name, several of one source."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ai_engine.config_file import ConfigError
from ai_engine.settings import ToolSettings
from ai_engine.tools.registry import TOOLS, Toolbox, ToolServices
from ai_engine.tools.runner import ToolRunner
from ai_engine.tools.tool import ToolCallScope, ToolResult, ToolSpec
from tests.ai_engine.no_call_control import NoCallControl

NOTHING = {"type": "object", "properties": {}}


@dataclass
class Echo:
    spec: ToolSpec
    timeout_s: float = 5.0

    async def run(self, call, arguments):
        return ToolResult(f"{self.spec.name} ran")


@dataclass
class Source:
    """Several tools."""

    name: str
    log: list = field(default_factory=list)
    own: tuple = ("find", "save")

    async def start(self):
        self.log.append("start")

    async def stop(self):
        self.log.append("stop")

    def tools(self):
        return [Echo(ToolSpec(f"{self.name}_{own}", f"Does {own}.", NOTHING)) for own in self.own]


def echo(name, options, services):
    return Echo(ToolSpec(name, options.get("description", "Echoes."), options.get("parameters", NOTHING)))


KINDS = {"echo": echo, "source": lambda name, options, services: Source(name, own=options.get("own", ("find", "save")))}


def toolbox(**entries) -> Toolbox:
    return Toolbox({name: ToolSettings(**entry) for name, entry in entries.items()}, ToolServices(), KINDS)


def names(box: Toolbox, *allowed: str) -> list[str]:
    return [tool.spec.name for tool in box.allowed(allowed)]


def test_a_context_gets_what_it_names_in_its_order_and_nothing_else():
    box = toolbox(one={"kind": "echo"}, two={"kind": "echo"}, three={"kind": "echo"})
    assert names(box, "three", "one", "three") == ["three", "one"]
    assert names(box) == []
    assert names(box, "four") == []


def test_the_configuration_describes_a_tool_anew():
    box = toolbox(one={"kind": "echo", "description": "For sales.", "filler": "One moment.", "timeout_s": 2})
    (tool,) = box.allowed(["one"])
    assert (tool.spec.description, tool.spec.filler, tool.timeout_s) == ("For sales.", "One moment.", 2)
    (plain,) = toolbox(one={"kind": "echo"}).allowed(["one"])
    assert (plain.spec.description, plain.spec.filler, plain.timeout_s) == ("Echoes.", "", 5.0)


async def test_a_source_is_named_whole_or_tool_by_tool():
    box = toolbox(crm={"kind": "source", "timeout_s": 3}, crm_old={"kind": "source", "options": {"own": ("find",)}})
    assert names(box, "crm") == ["crm_find", "crm_save"]
    assert names(box, "crm_save", "crm_old_find") == ["crm_save", "crm_old_find"]
    assert [box.knows(name) for name in ("crm", "crm_save", "crm_old_find", "cr", "other")] == [True] * 3 + [False] * 2
    assert {tool.timeout_s for tool in box.allowed(["crm"])} == {3}
    await box.start()
    await box.stop()
    assert box._made["crm"].log == ["start", "stop"]


async def test_what_the_toolbox_gives_runs():
    (tool,) = toolbox(crm={"kind": "source"}).allowed(["crm_find"])
    scope = ToolCallScope("c1", "shop", "", "", "700", "en", NoCallControl())
    assert await ToolRunner([tool]).run("crm_find", {}, scope) == ToolResult("crm_find ran")
    assert not (await ToolRunner([tool]).run("crm_save", {}, scope)).ok, "it was not allowed"


def test_a_tool_of_a_source_that_cannot_be_used_is_left_out():
    box = toolbox(crm={"kind": "source", "options": {"own": ("find", "save to disk!")}})
    assert names(box, "crm") == ["crm_find"]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"kind": "ecko"}, "tools.one: no kind 'ecko'; did you mean 'echo'"),
        ({"kind": "echo", "options": {"description": " "}}, "tell the model what it does"),
        ({"kind": "echo", "options": {"parameters": {"type": "array"}}}, "cannot be used: it must be of an object"),
    ],
)
def test_what_cannot_work_is_said_at_the_start(entry, says):
    with pytest.raises(ConfigError, match=says):
        toolbox(one=entry)


def test_every_kind_has_a_name_that_can_be_written_in_yaml():
    assert all(kind.isidentifier() for kind in TOOLS)


def test_kinds_that_need_no_options_need_no_entry_either():
    toolbox = Toolbox({}, ToolServices())
    assert toolbox.knows("leave_message")
    assert [tool.spec.name for tool in toolbox.allowed(["hang_up", "leave_message"])] == ["hang_up", "leave_message"]
    assert toolbox.allowed([]) == ()


def test_an_entry_goes_before_the_kind_of_its_name():
    toolbox = Toolbox({"hang_up": ToolSettings(kind="hang_up", description="Ends it all.")}, ToolServices())
    (tool,) = toolbox.allowed(["hang_up"])
    assert tool.spec.description == "Ends it all."
