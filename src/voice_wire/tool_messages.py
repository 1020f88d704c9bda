"""Tools on the local AI socket: what a model may call, what it calls, and what came of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from voice_wire.wire_model import ForCall, Text, Word

ToolChoice = Annotated[Literal["auto", "required", "none"], Word]
ToolPolicy = Annotated[Literal["auto", "strict", "compatible", "off"], Word]
Tools = Annotated[list[dict[str, Any]], Field(max_length=64)]
"""Each {type: function, function: {name, description, parameters}} or flat {name, description, parameters}."""


OptionalName = Annotated[str | None, Field(max_length=200)]
AllowedTools = Annotated[list[str] | None, Field(max_length=1000)]


class ToolCall(TypedDict):
    """One call that the model decided on; its parameters are as the tool's JSON Schema wants them."""

    name: str
    parameters: dict[str, Any]


class LlmToolRequest(ForCall):
    """Which tool, if any, answers `text` → `llm_tool_response`."""

    type: Literal["llm_tool_request"] = "llm_tool_request"
    text: Text = ""
    tools: Tools = Field(default_factory=list)
    """None: those of the session's `tool_context`."""
    allowed_tools: AllowedTools = None
    """Names of those that may be called now; all of them when it is left out."""
    tool_choice: ToolChoice = "auto"
    tool_policy: ToolPolicy = "auto"
    """strict: constrained decoding or an error; compatible: markup in the model's text; auto: the best that works;
    off: no call."""
    latest_user_text: Text | None = None
    """What the caller said last, where `text` is a whole prompt."""
    protocol_version: int | None = None


class LlmToolResponse(ForCall):
    """`tool_calls`, or in `text` what is to be said where none is called."""

    type: Literal["llm_tool_response"] = "llm_tool_response"
    text: str
    tool_calls: list[ToolCall] = Field(default_factory=list)
    finish_reason: str = "stop"
    """`tool_calls` or `stop`."""
    tool_path: Literal["structured", "parser", "repair", "heuristic", "none"] = "none"
    """How the calls were found."""
    tool_parse_failures: int = 0
    repair_attempts: int = 0
    structured_attempts: int = 0
    protocol_version: int = 2


class ToolContext(ForCall):
    """The tools of this session, for the `llm_tool_request`s that name none. No answer."""

    type: Literal["tool_context"] = "tool_context"
    tools: Tools = Field(default_factory=list)
    allowed_tools: AllowedTools = None
    tool_choice: ToolChoice | None = None
    tool_policy: ToolPolicy | None = None


class ToolResult(ForCall):
    """A tool's outcome: it joins the session's history → the next `llm_response` speaks of it."""

    type: Literal["tool_result"] = "tool_result"
    name: OptionalName = None
    tool_call_id: OptionalName = None
    result: Any = None
