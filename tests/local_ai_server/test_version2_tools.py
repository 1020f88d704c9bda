"""Version 2's tools: decisions, the session's own tools, and outcomes the model speaks of."""

import json

import pytest
from fake_services import FakeServices, ListClient, make_session, settle

CALENDAR = {"name": "book", "description": "Book a table.", "parameters": {"type": "object", "properties": {}}}
HANGUP = {"name": "hangup", "description": "End the call.", "parameters": {"type": "object", "properties": {}}}


class Talk:
    def __init__(self):
        self.services = FakeServices()
        self.services.llm.answer = self._answer
        self.says = "It is done."
        self.chooses = "hangup"
        self.client = ListClient()
        self.session = make_session(self.services, self.client)

    def _answer(self, method, args, body):
        if method != "generate":
            return [], {}
        schema = json.dumps(args.get("response_format"))
        text = self.says
        if args.get("response_format"):
            text = json.dumps({"tool": self.chooses}) if '"tool"' in schema else json.dumps(self.chooses)
        return [({"text": text}, b"")], {"finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1}

    def send(self, **fields):
        self.session.receive(json.dumps(fields))

    async def next(self, kind, n=1):
        return (await self.client.until(lambda: self.client.of(kind)[n - 1 :]))[0]

    def prompt(self, n=-1):
        return [(m["role"], m["content"]) for m in self.services.llm.calls[n].args["messages"]]


@pytest.fixture
async def talk():
    talk = Talk()
    yield talk
    await talk.session.close()


async def test_a_tool_is_chosen_and_the_history_knows(talk):
    talk.send(type="llm_tool_request", text="Goodbye!", tools=[HANGUP], call_id="c1", request_id="t")
    answer = await talk.next("llm_tool_response")
    assert (answer.tool_calls, answer.finish_reason, answer.tool_path) == (
        [{"name": "hangup", "parameters": {}}],
        "tool_calls",
        "structured",
    )
    assert (answer.call_id, answer.request_id, answer.protocol_version) == ("c1", "t", 2)
    talk.send(type="llm_request", text="Are you there?")
    await talk.next("llm_response")
    assert talk.prompt()[1:] == [("user", "Goodbye!"), ("assistant", "[called hangup({})]"), ("user", "Are you there?")]


async def test_where_no_tool_is_wanted_the_text_answers(talk):
    talk.send(type="llm_tool_request", text="Hello.", tools=[HANGUP], tool_choice="none")
    answer = await talk.next("llm_tool_response")
    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("It is done.", [], "stop")


async def test_the_session_s_tools_count_where_a_request_names_none(talk):
    talk.send(type="tool_context", tools=[HANGUP, CALENDAR], allowed_tools=["hangup"])
    await settle()
    assert talk.client.sent == [], "nothing answers a tool_context"
    talk.send(type="llm_tool_request", text="Goodbye!")
    assert (await talk.next("llm_tool_response")).tool_calls == [{"name": "hangup", "parameters": {}}]
    talk.chooses = "book"
    talk.send(type="llm_tool_request", text="A table.", tools=[CALENDAR], allowed_tools=["book"])
    assert (await talk.next("llm_tool_response", 2)).tool_calls == [{"name": "book", "parameters": {}}]


async def test_a_tool_s_outcome_is_spoken_of(talk):
    talk.send(type="tool_result", name="book", result={"table": 7}, call_id="c1", request_id="r")
    answer = await talk.next("llm_response")
    assert (answer.text, answer.call_id, answer.request_id) == ("It is done.", "c1", "r")
    assert talk.prompt()[-1] == ("system", 'Result of book: {"table": 7}')
    talk.send(type="llm_request", text="Which table?")
    await talk.next("llm_response", 2)
    assert [content for _, content in talk.prompt()[1:]] == [
        'Result of book: {"table": 7}',
        "It is done.",
        "Which table?",
    ]


async def test_a_question_that_comes_first_is_the_one_answer_that_speaks_of_it(talk):
    talk.services.llm.held = True
    talk.send(type="tool_result", name="book", result="done", request_id="r")
    await settle()
    talk.services.llm.held = False
    talk.send(type="llm_request", text="And?", request_id="q")
    answer = await talk.next("llm_response")
    await settle()
    assert answer.request_id == "q"
    assert len(talk.client.of("llm_response")) == 1
    assert talk.prompt()[1:] == [("system", 'Result of book: "done"'), ("user", "And?")]


BAD_TOOLS = [
    [{"name": "no good name!"}],
    [HANGUP, HANGUP],
    [{"name": "x", "parameters": {"type": "array"}}],
    [{"name": "x", "parameters": {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}}],
    [{"name": "x", "parameters": {"type": "object", "properties": {"a": {"type": "colour"}}}}],
    [{"name": "x", "parameters": "y"}],
]


@pytest.mark.parametrize("tools", BAD_TOOLS)
async def test_a_tool_that_cannot_be_used_is_said_to_be_wrong(talk, tools):
    talk.send(type="llm_tool_request", text="x", tools=tools, request_id="t")
    error = await talk.next("error")
    assert (error.code, error.request_id) == ("invalid_message", "t")


async def test_an_outcome_that_no_prompt_could_hold_is_refused(talk):
    talk.send(type="tool_result", name="book", result="x" * 30_000, request_id="r")
    error = await talk.next("error")
    assert (error.code, error.request_id) == ("message_too_large", "r")


async def test_a_barge_in_ends_a_decision(talk):
    talk.services.llm.held = True
    talk.send(type="llm_tool_request", text="x", tools=[HANGUP])
    await settle()
    talk.send(type="barge_in")
    await settle()
    assert talk.services.llm.calls[0].cancelled
    assert [m.type for m in talk.client.sent] == ["barge_in_ack"]
