"""Only what is allowed runs, only with arguments that fit, not for ever; and the model is told what happened."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
import structlog.testing

from ai_engine.tools.arguments import MAX_ARGUMENT_BYTES, SchemaUnusable, check_schema, complaint
from ai_engine.tools.runner import MAX_RESULT_CHARS, ToolRunner
from ai_engine.tools.tool import ToolCallScope, ToolFailed, ToolResult, ToolSpec
from tests.ai_engine.no_call_control import NoCallControl

TABLE = {
    "type": "object",
    "properties": {
        "people": {"type": "integer", "minimum": 1, "maximum": 12},
        "day": {"type": "string", "pattern": "^[a-z]{3,10}$"},
    },
    "required": ["people"],
    "additionalProperties": False,
}


@dataclass
class Booking:
    """A tool that does as it is told."""

    does: object = field(default_factory=lambda: ToolResult("Booked."))
    spec: ToolSpec = field(default_factory=lambda: ToolSpec("book", "Books a table.", TABLE))
    timeout_s: float = 30.0
    ran: list = field(default_factory=list)

    async def run(self, call, arguments):
        self.ran.append((call.call_id, dict(arguments)))
        if isinstance(self.does, BaseException):
            raise self.does
        if isinstance(self.does, asyncio.Event):
            await self.does.wait()
        return self.does


def scope() -> ToolCallScope:
    return ToolCallScope("c1", "shop", "5551234", "Ann", "700", "en", NoCallControl())


async def run(tool: Booking, name: str = "book", arguments: object = None):
    told: list = []
    runner = ToolRunner([tool], on_done=lambda *facts: told.append(facts))
    result = await runner.run(name, {"people": 2} if arguments is None else arguments, scope())
    ((known, outcome, seconds, _),) = told
    assert seconds >= 0
    return result, known, outcome


async def test_an_allowed_tool_runs_and_says_what_came_of_it():
    tool = Booking()
    result, known, outcome = await run(tool)
    assert (result, known, outcome) == (ToolResult("Booked."), "book", "ok")
    assert tool.ran == [("c1", {"people": 2})]


async def test_what_the_context_does_not_allow_is_not_run():
    tool = Booking()
    result, known, outcome = await run(tool, "wire_money")
    assert (result.ok, known, outcome) == (False, "unknown", "refused")
    assert "no tool 'wire_money'" in result.text
    assert tool.ran == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "'people' is a required property"),
        ({"people": "two"}, "people: 'two' is not of type 'integer'"),
        ({"people": 99}, "people: 99 is greater than the maximum"),
        ({"people": 2, "wine": True}, "Additional properties are not allowed"),
        ({"people": 2, "day": "MONDAY"}, "does not match"),
        ({"people": 2, "day": "a" * 1000}, "may have 200 characters"),
        ({"people": 2, "day": "x" * MAX_ARGUMENT_BYTES}, "longer than"),
        ([2], "no object"),
        ({"people": float("nan"), 7: {1, 2}}, "cannot be read"),
    ],
)
async def test_arguments_that_do_not_fit_are_not_passed_on(arguments, says):
    tool = Booking()
    result, _, outcome = await run(tool, arguments=arguments)
    assert (result.ok, outcome, tool.ran) == (False, "refused", [])
    assert result.text.startswith("Nothing was done")
    assert says in result.text


@pytest.mark.parametrize(
    ("does", "outcome", "says"),
    [
        (ToolFailed("the calendar is closed"), "failed", "It failed: the calendar is closed"),
        (ToolResult("No table is free.", ok=False), "failed", "No table is free."),
        (RuntimeError("password=hunter2"), "failed", "It failed for a technical reason"),
        (TimeoutError(), "timeout", "not known whether it was done"),
    ],
)
async def test_whatever_goes_wrong_the_model_is_told(does, outcome, says):
    result, _, happened = await run(Booking(does))
    assert (result.ok, happened) == (False, outcome)
    assert says in result.text
    assert "hunter2" not in result.text


async def test_a_tool_that_takes_too_long_is_given_up():
    result, _, outcome = await run(Booking(asyncio.Event(), timeout_s=0.02))
    assert outcome == "timeout"
    assert result.text == "No answer came within 0.02 seconds; it is not known whether it was done."


async def test_cancelling_ends_the_tool():
    tool = Booking(asyncio.Event())
    running = asyncio.create_task(ToolRunner([tool]).run("book", {"people": 2}, scope()))
    while not tool.ran:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_long_result_is_cut_and_says_so():
    result, _, _ = await run(Booking(ToolResult("x" * 50_000)))
    assert len(result.text) == MAX_RESULT_CHARS
    assert result.text.endswith("(the rest was left out)")


async def test_neither_arguments_nor_results_reach_the_log():
    with structlog.testing.capture_logs() as lines:
        await run(Booking(ToolResult("the secret result")), arguments={"people": 2, "day": "secretday"})
    assert [line["event"] for line in lines] == ["tool_ran"]
    assert "secret" not in str(lines)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ([], "must be of an object"),
        ({"type": "string"}, "must be of an object"),
        ({"type": "object", "properties": {"a": {"type": "colour"}}}, "not valid"),
        ({"type": "object", "description": "x" * 20_000}, "is the limit"),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.org/a.json"}}}, "same schema only"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}}, "too complex"),
        ({"type": "object", "x": {1, 2}}, "no JSON"),
    ],
)
def test_schemas_that_cannot_be_used_say_why(schema, says):
    with pytest.raises(SchemaUnusable, match=says):
        check_schema(schema)


def test_parts_of_a_schema_may_name_one_another():
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}
    check_schema(schema)
    assert complaint(schema, {"a": 1}) is None
    assert complaint(schema, {"a": "one"}) == "a: 'one' is not of type 'integer'"
