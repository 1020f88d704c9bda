"""What a model is told when it shall choose a tool. The conversation stays as it was, so its prefix stays cached."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from local_ai_server.tool_schemas import Tool

_CHOICE = (
    'Decide what to do about the caller\'s last remark. Tools:\n{tools}\nAnswer with JSON, {{"tool": name}}.{decline}'
)
_DECLINE = " Most remarks need no tool: {none}. Choose a tool only when the caller asks for what it does."
_ARGUMENTS = (
    "The tool {name} is called now: {description}\nIts arguments, as a JSON Schema: {schema}\n"
    "Take their values from what the caller said. Answer with the JSON of the arguments only."
)
_MARKUP = (
    "You may call a tool when the caller asks for what it does. To call one, answer with nothing but\n"
    '<tool_call>{{"name": name, "arguments": {{…}}}}</tool_call>\nTools:\n{tools}'
)


def choice_prompt(
    messages: Sequence[Mapping[str, str]], tools: Sequence[Tool], *, may_decline: bool, in_object: bool
) -> list[dict[str, str]]:
    """`messages` with the question which tool to call; `in_object`: to be answered {"tool": name}, else "name"."""
    listed = "\n".join(_line(tool) for tool in tools)
    form, none = ('JSON, {"tool": name}', '{"tool": "none"}') if in_object else ("its name as a JSON string", '"none"')
    decline = _DECLINE.format(none=none) if may_decline else ""
    return _beside_question(messages, _CHOICE.format(tools=listed, form=form, decline=decline))


def arguments_prompt(
    messages: Sequence[Mapping[str, str]], tool: Tool, *, complaint: str | None = None
) -> list[dict[str, str]]:
    """`messages` with the question for one tool's arguments; `complaint` is what was wrong with the last answer."""
    text = _ARGUMENTS.format(name=tool.name, description=tool.description, schema=json.dumps(tool.parameters))
    if complaint is not None:
        text += f"\nThe last answer was wrong: {complaint}"
    return _beside_question(messages, text)


def markup_prompt(messages: Sequence[Mapping[str, str]], tools: Sequence[Tool]) -> list[dict[str, str]]:
    """`messages` with the tools and how to call them, for a model that is then left free."""
    listed = "\n".join(f"{_line(tool)} Arguments: {json.dumps(tool.parameters)}" for tool in tools)
    return _beside_question(messages, _MARKUP.format(tools=listed))


def _line(tool: Tool) -> str:
    return f"- {tool.name}: {' '.join(tool.description.split())}"


def _beside_question(messages: Sequence[Mapping[str, str]], text: str) -> list[dict[str, str]]:
    """The text as a system message right before the last question: all before it is as the model read it already."""
    at = next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "user"), len(messages))
    return [*(dict(m) for m in messages[:at]), {"role": "system", "content": text}, *(dict(m) for m in messages[at:])]
