"""`llm_tool_request`: each policy's way to a call, and what never becomes one.

The model here is a list of answers (`fake_services.FakeLink`); the real one's part is in `test_tool_calls_model`.
"""

import pytest
from fake_services import FakeLink

from local_ai_server.backends.backend import Plan
from local_ai_server.backends.options import BackendOptions
from local_ai_server.backends.registry import backend
from local_ai_server.errors import ServeError
from local_ai_server.service import Place, Service
from local_ai_server.tool_calls import choose, decide
from local_ai_server.tool_intents import plain_intent
from local_ai_server.tool_schemas import read_tools
from model_worker.errors import CallFailed, WorkerDied
from model_worker.spec import Priority
from voice_wire.messages import LlmToolRequest

DAY = {"type": "object", "properties": {"day": {"enum": ["Monday", "Friday"]}}, "required": ["day"]}
TOOLS = [
    {"name": "hang_up", "description": "Ends the call."},
    {"type": "function", "function": {"name": "book", "description": "Books a day.", "parameters": DAY}},
]
PERSONA = {"role": "system", "content": "You answer the phone."}


class Model:
    """Answers what it is given, one after the other; an exception is raised."""

    def __init__(self, *answers, traits=None):
        self.answers = list(answers)
        self.link = FakeLink(self._answer)
        plan = Plan(load={}, concurrency=2, traits=traits or {})
        self.service = Service(
            backend("llm", "llama_cpp"), self.link, options=BackendOptions(), plan=plan, max_waiting=4
        )

    def _answer(self, method, args, body):
        assert method == "generate"
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [({"text": piece}, b"") for piece in (answer[:3], answer[3:])], {"finish_reason": "stop"}

    @property
    def asked(self):
        return [call.args for call in self.link.calls]


async def ask(model, said="Book me in for Friday.", *, function=decide, **fields):
    message = LlmToolRequest.model_validate({"tools": TOOLS, "request_id": "r", "call_id": "c", **fields})
    answer = await function(
        model.service,
        messages=[PERSONA, {"role": "user", "content": said}],
        message=message,
        session_key="s",
        place=Place(Priority.FINAL),
    )
    assert not model.answers, "the model was asked less often than it should be"
    return answer


def called(answer):
    return [(call["name"], call["parameters"]) for call in answer.tool_calls]


async def test_structured_a_name_and_then_its_arguments():
    model = Model('"book"', '{"day": "Friday"}')
    answer = await ask(model)
    assert called(answer) == [("book", {"day": "Friday"})]
    assert (answer.tool_path, answer.finish_reason, answer.text) == ("structured", "tool_calls", "")
    assert (answer.structured_attempts, answer.repair_attempts, answer.tool_parse_failures) == (2, 0, 0)
    assert (answer.request_id, answer.call_id) == ("r", "c")
    first, second = model.asked
    assert first["response_format"]["json_schema"] == {"enum": ["none", "hang_up", "book"]}
    assert second["response_format"]["json_schema"]["properties"] == DAY["properties"]
    assert first["session"] == "s"


async def test_the_conversation_before_the_question_is_left_as_it_was():
    """So that its prefix is found in the cache."""
    model = Model('"hang_up"')
    await ask(model, "Bye.")
    messages = model.asked[0]["messages"]
    assert [m["role"] for m in messages] == ["system", "system", "user"]
    assert messages[0] == PERSONA
    assert messages[-1]["content"] == "Bye."


async def test_a_tool_without_arguments_takes_one_question():
    assert called(await ask(Model('"hang_up"'), "Bye.")) == [("hang_up", {})]


async def test_none_is_answered_in_words_without_marks():
    model = Model('"none"', "**We** are open\nfrom nine.")
    answer = await ask(model, "When are you open?")
    assert (answer.text, answer.tool_calls) == ("We are open from nine.", [])
    assert (answer.finish_reason, answer.tool_path) == ("stop", "none")


async def test_the_choice_alone_leaves_the_words_to_the_caller():
    answer = await ask(Model('"none"'), "When are you open?", function=choose)
    assert (answer.text, answer.tool_calls) == ("", [])


async def test_a_server_that_wants_objects_is_asked_for_one():
    model = Model('{"tool": "hang_up"}', traits={"object_schemas_only": True})
    assert called(await ask(model, "Bye.")) == [("hang_up", {})]
    assert model.asked[0]["response_format"]["json_schema"]["type"] == "object"


async def test_required_leaves_no_way_out():
    model = Model('"book"', '{"day": "Monday"}')
    assert called(await ask(model, tool_choice="required")) == [("book", {"day": "Monday"})]
    assert "none" not in model.asked[0]["response_format"]["json_schema"]["enum"]


async def test_required_with_one_tool_asks_for_its_arguments_only():
    model = Model('{"day": "Monday"}')
    assert called(await ask(model, tool_choice="required", allowed_tools=["book"])) == [("book", {"day": "Monday"})]


async def test_required_without_a_tool_is_refused():
    with pytest.raises(ServeError) as refused:
        await ask(Model(), tool_choice="required", allowed_tools=[])
    assert refused.value.code == "invalid_message"


@pytest.mark.parametrize(
    "fields", [{"tool_policy": "off"}, {"tool_choice": "none"}, {"tools": []}, {"allowed_tools": []}]
)
async def test_without_tools_it_is_a_plain_answer(fields):
    model = Model("Hello.")
    answer = await ask(model, "Goodbye.", **fields)
    assert (answer.text, answer.tool_calls, answer.structured_attempts) == ("Hello.", [], 0)
    assert len(model.asked[0]["messages"]) == 2


async def test_arguments_that_do_not_fit_are_asked_for_once_more_with_the_complaint():
    model = Model('"book"', '{"day": "Sunday"}', '{"day": "Friday"}')
    answer = await ask(model)
    assert called(answer) == [("book", {"day": "Friday"})]
    assert (answer.tool_path, answer.repair_attempts, answer.tool_parse_failures) == ("repair", 1, 1)
    assert "Sunday" in model.asked[2]["messages"][1]["content"]


async def test_arguments_that_never_fit_are_no_call():
    model = Model('"book"', '{"day": "Sunday"}', "{", "Sorry, which day?")
    answer = await ask(model)
    assert (answer.tool_calls, answer.text, answer.tool_parse_failures) == ([], "Sorry, which day?", 2)


async def test_strict_makes_an_error_of_that():
    with pytest.raises(ServeError) as failed:
        await ask(Model('"book"', '{"day": "Sunday"}', "{"), tool_policy="strict")
    assert (failed.value.code, failed.value.retryable) == ("worker_failed", True)


async def test_a_name_that_is_no_tool_is_no_call():
    answer = await ask(Model('"launch"', "What?"), "Launch it.")
    assert (answer.tool_calls, answer.tool_parse_failures) == ([], 1)


# --- the model's own markup


async def test_compatible_reads_the_models_markup():
    model = Model('<tool_call>{"name": "book", "arguments": {"day": "Friday"}}</tool_call>')
    answer = await ask(model, tool_policy="compatible")
    assert called(answer) == [("book", {"day": "Friday"})]
    assert (answer.tool_path, answer.structured_attempts) == ("parser", 0)
    assert "response_format" not in model.asked[0]


async def test_compatible_without_a_call_speaks_what_was_written():
    answer = await ask(Model("We open at nine."), "When?", tool_policy="compatible")
    assert (answer.text, answer.tool_path) == ("We open at nine.", "none")


async def test_a_broken_call_is_mended_by_one_structured_question():
    model = Model('<tool_call>{"name": "book", "arguments": {"day": "Sunday"}}</tool_call>', '{"day": "Friday"}')
    answer = await ask(model, tool_policy="compatible")
    assert called(answer) == [("book", {"day": "Friday"})]
    assert (answer.tool_path, answer.repair_attempts, answer.structured_attempts) == ("repair", 1, 1)


async def test_markup_that_cannot_be_read_is_mended_from_the_name_on():
    model = Model("<tool_call>{broken", '"book"', '{"day": "Friday"}')
    answer = await ask(model, tool_policy="compatible")
    assert (called(answer), answer.tool_path) == ([("book", {"day": "Friday"})], "repair")


async def test_a_call_of_a_tool_that_is_not_allowed_is_never_made():
    written = '<tool_call>{"name": "hang_up", "arguments": {}}</tool_call>'
    model = Model(written, '"none"', "Which day?")
    answer = await ask(model, tool_policy="compatible", allowed_tools=["book"])
    assert (answer.tool_calls, answer.text) == ([], "Which day?")
    assert answer.tool_parse_failures == 1


async def test_auto_goes_over_to_markup_where_the_engine_knows_no_schema():
    refusal = CallFailed("LlmRefused", "response_format is not supported")
    model = Model(refusal, '<tool_call>{"name": "hang_up"}</tool_call>')
    answer = await ask(model, "Enough.", tool_policy="auto")
    assert (called(answer), answer.tool_path) == ([("hang_up", {})], "parser")


async def test_strict_does_not():
    with pytest.raises(ServeError) as refused:
        await ask(Model(CallFailed("LlmRefused", "not supported")), tool_policy="strict")
    assert refused.value.code == "invalid_message"


async def test_a_worker_that_dies_is_no_matter_of_form():
    with pytest.raises(ServeError) as failed:
        await ask(Model(WorkerDied("crashed")))
    assert (failed.value.code, failed.value.retryable) == ("worker_failed", True)


# --- plain words


async def test_a_plain_goodbye_hangs_up_where_the_model_sees_nothing():
    answer = await ask(Model('"none"'), "Okay, thank you, goodbye.")
    assert (called(answer), answer.tool_path) == ([("hang_up", {})], "heuristic")


async def test_the_latest_words_count_where_the_text_is_a_whole_prompt():
    answer = await ask(Model('"none"'), "A long prompt. Caller: bye", latest_user_text="Goodbye!")
    assert answer.tool_path == "heuristic"


async def test_not_where_the_policy_is_strict():
    assert (await ask(Model('"none"', "Bye."), "Goodbye.", tool_policy="strict")).tool_calls == []


TRANSFER = {"type": "object", "properties": {"to": {"enum": ["desk"]}}, "required": ["to"]}
PLAIN = read_tools(
    [{"name": "hangup_call"}, {"name": "transfer", "parameters": TRANSFER}, {"name": "book", "parameters": DAY}], None
)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Goodbye.", "hangup_call"),
        ("That's all, thanks.", "hangup_call"),
        ("Please hang up now.", "hangup_call"),
        ("Can I speak to a human please?", "transfer"),
        ("Put me through to the front desk.", "transfer"),
        ("Operator!", "transfer"),
        ("Don't hang up.", None),
        ("Why did you hang up?", None),
        ("I said goodbye to my old job, what now?", None),
        ("Do not transfer me.", None),
        ("How do I transfer me some money?", None),
        ("What are your hours?", None),
        ("Transfer me and then goodbye.", None),
        ("", None),
        ("goodbye " * 20, None),
    ],
)
def test_plain_words_are_taken_literally_or_not_at_all(said, name):
    found = plain_intent(said, PLAIN)
    assert (found and found[0].name) == name
    if name == "transfer":
        assert found[1] == {"to": "desk"}


def test_nothing_is_guessed_where_two_tools_fit_or_an_argument_is_open():
    two = read_tools([{"name": "transfer_sales"}, {"name": "transfer_support"}], None)
    assert plain_intent("Transfer me.", two) is None
    open_ended = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    assert plain_intent("Transfer me.", read_tools([{"name": "transfer", "parameters": open_ended}], None)) is None
