"""Tool decisions of the embedded model in its worker: which it makes is not asserted, that they hold is."""

import pytest

from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.errors import ServeError
from local_ai_server.service import Place
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.tool_calls import decide
from model_worker.spec import Priority
from voice_wire.messages import LlmToolRequest

pytestmark = pytest.mark.models

BOOK = {
    "name": "book",
    "description": "Books an appointment.",
    "parameters": {
        "type": "object",
        "properties": {
            "day": {"enum": ["Monday", "Friday"]},
            "hour": {"type": "integer", "minimum": 9, "maximum": 17},
            "name": {"type": "string", "maxLength": 20},
            "notes": {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 2},
        },
        "required": ["day", "hour"],
    },
}
HANG_UP = {"name": "hang_up", "description": "Ends the call."}


@pytest.fixture
async def llm(tmp_path):
    try:
        find_model("SmolLM2-135M-Instruct-Q8_0")
    except ModelMissing as missing:
        pytest.skip(str(missing))
    environment = {"LOCAL_AI_MODE": "full", "ENABLE_STT": "false", "ENABLE_TTS": "false", "SERVICE_TIMEOUT": "110"}
    switchboard = Switchboard.from_settings(read_settings(tmp_path / "no.env", environment))
    await switchboard.start()
    yield switchboard.service("llm")
    await switchboard.stop()


async def ask(llm, said, **fields):
    return await decide(
        llm,
        messages=[{"role": "system", "content": "You answer the phone."}, {"role": "user", "content": said}],
        message=LlmToolRequest.model_validate({"tools": [BOOK, HANG_UP], **fields}),
        session_key="tools",
        place=Place(Priority.FINAL),
    )


async def test_every_policy_ends_in_a_call_that_fits_or_in_words(llm):
    for policy in ("auto", "strict", "compatible", "off"):
        for choice in ("auto", "required", "none"):
            answer = await ask(llm, "Book me in for Friday at ten.", tool_policy=policy, tool_choice=choice)
            if policy == "off" or choice == "none":
                assert answer.tool_calls == []
            if choice == "required" and policy in ("auto", "strict"):
                assert len(answer.tool_calls) == 1
            for call in answer.tool_calls:
                assert call["name"] in ("book", "hang_up")
                if call["name"] == "book":
                    assert call["parameters"]["day"] in ("Monday", "Friday")
                    assert 9 <= call["parameters"]["hour"] <= 17
            assert (answer.finish_reason == "tool_calls") == bool(answer.tool_calls)
            assert "<tool_call>" not in answer.text


async def test_one_required_tool_gets_arguments_that_fit_its_schema(llm):
    answer = await ask(llm, "Monday at nine, my name is Ann.", tool_choice="required", allowed_tools=["book"])
    assert answer.tool_calls[0]["name"] == "book"
    assert answer.tool_path in ("structured", "repair")


async def test_a_broken_schema_is_a_typed_error(llm):
    broken = {"name": "x", "parameters": {"type": "object", "properties": {"a": {"type": "nonsense"}}}}
    with pytest.raises(ServeError) as refused:
        await ask(llm, "Hello", tools=[broken])
    assert refused.value.code == "invalid_message"
