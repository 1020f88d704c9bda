"""A tool that waits for keys: what the model is told of them, in a conversation on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from ai_engine.config_file import ConfigError
from ai_engine.conversation.decisions import KeysTyped
from ai_engine.conversation.key_input import KeyRules
from ai_engine.key_requests import KeyRequests
from ai_engine.tools.ask_keys import make
from ai_engine.tools.registry import TOOLS, ToolServices
from ai_engine.tools.tool import ToolCallScope, ToolFailed, ToolResult
from tests.ai_engine.conversation.virtual_call import VirtualCall
from tests.ai_engine.no_call_control import NoCallControl


async def ask(script: str, *, rules: KeyRules | None = None, **options: object) -> ToolResult:
    """The tool's result when it runs while the caller does as `script` says."""
    call = VirtualCall("pause 0.3", keys=rules).run()
    requests = KeyRequests(lambda action: action(call.conversation, call.now))
    scope = ToolCallScope("c1", "desk", "", "", "700", "en", NoCallControl(), collect_keys=requests.collect)
    running = asyncio.create_task(make("ask", options, ToolServices()).run(scope, {}))
    await asyncio.sleep(0)
    for step in script.splitlines():
        call._step(step, 60)
    for decision in call.of(KeysTyped):
        requests.ended(decision)
    return await running


@pytest.mark.parametrize(
    ("script", "rules", "options", "text", "ok"),
    [
        ("key 4711#\npause 0.1", None, {}, "The caller typed 4711.", True),
        ("key 4711", None, {"max_keys": 4}, "The caller typed 4711.", True),
        ("key 4711#\npause 0.1", None, {"secret": True}, "The caller typed **** (4 digits).", True),
        ("key 4711#\npause 0.1", KeyRules(secret=True), {}, "The caller typed **** (4 digits).", True),
        ("pause 5.1", None, {"first_key_s": 5}, "The caller typed nothing.", False),
        ("key #\npause 0.1", None, {}, "The caller typed nothing.", False),
        ("say I do not have it\npause 3", None, {}, "The caller typed nothing and spoke instead.", False),
    ],
)
async def test_the_model_is_told_what_was_typed(script, rules, options, text, ok):
    result = await ask(script, rules=rules, **options)
    assert (result.text, result.ok) == (text, ok)


async def test_a_line_without_a_keypad_says_so():
    scope = ToolCallScope("c1", "desk", "", "", "700", "en", NoCallControl())
    with pytest.raises(ToolFailed, match="no keypad"):
        await make("ask", {}, ToolServices()).run(scope, {})


def test_it_is_a_kind_of_tool_and_checks_its_options():
    tool = TOOLS["ask_keys"]("ask", {"first_key_s": 20}, ToolServices())
    assert tool.timeout_s > 20
    with pytest.raises(ConfigError, match="did you mean `secret`"):
        TOOLS["ask_keys"]("ask", {"secrt": True}, ToolServices())
