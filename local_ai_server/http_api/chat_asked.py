"""A chat completion's request as the language model is asked: checked, and every field where it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from local_ai_server.answer_format import answer_format
from local_ai_server.errors import ServeError
from local_ai_server.http_api.chat_fields import ChatRequest
from local_ai_server.http_api.chat_messages import chat_lines
from voice_wire.messages import LlmToolRequest, ResponseFormat

DEFAULT_MAX_TOKENS: Final = 1024
"""Of an answer whose request names no number: a small model that has lost its way ends at some time."""
_SAMPLING: Final = (
    *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"),
    "sanitize_output",
)
_MOST_TOKENS: Final = 32_768
_RANDOM_SEED: Final = 0xFFFF_FFFF
"""llama.cpp takes it for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, checked."""

    messages: list[dict[str, str]]
    sampling: dict[str, Any]
    form: dict[str, Any]
    """Keywords of `generate` that hold the answer to a form."""
    tools: LlmToolRequest | None
    """None: it is answered in words."""
    one_call: bool
    """Of several tools the first only."""

    @classmethod
    def of(cls, body: ChatRequest) -> Asked:
        """Raises `ServeError` (invalid_message) that says what to change."""
        return cls(
            messages=chat_lines(body.messages),
            sampling=_sampling(body),
            form=_form(body.response_format),
            tools=_tools(body),
            one_call=body.parallel_tool_calls is False,
        )


def _sampling(body: ChatRequest) -> dict[str, Any]:
    sampling = body.model_dump(include=set(_SAMPLING), exclude_none=True)
    if body.repeat_penalty is not None:
        sampling.setdefault("repetition_penalty", body.repeat_penalty)
    if body.seed is not None:
        sampling["seed"] = body.seed % _RANDOM_SEED
    if body.stop:
        sampling["stop"] = [body.stop] if isinstance(body.stop, str) else body.stop
    sampling["max_tokens"] = min(body.max_completion_tokens or body.max_tokens or DEFAULT_MAX_TOKENS, _MOST_TOKENS)
    return sampling


def _form(wanted: dict[str, Any] | None) -> dict[str, Any]:
    if wanted is None:
        return {}
    kind, described = wanted.get("type"), wanted.get("json_schema")
    if kind not in ("text", "json_object", "json_schema"):
        raise ServeError("invalid_message", "response_format: its type is none of text, json_object, json_schema")
    if kind != "json_schema":
        return answer_format(ResponseFormat(type=kind))
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        form = '{"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}'
        raise ServeError("invalid_message", f"response_format: write {form}")
    return answer_format(ResponseFormat(type=kind, json_schema=schema))


def _tools(body: ChatRequest) -> LlmToolRequest | None:
    choice, allowed = _tool_choice(body.tool_choice)
    tools = body.tools or []
    if choice == "none" or not tools:
        if choice == "required":
            raise ServeError("invalid_message", "tool_choice: it demands a tool and there are no tools")
        return None
    for at, tool in enumerate(tools):
        if tool.get("type", "function") != "function":
            raise ServeError("invalid_message", f"tools[{at}]: only tools of type function are served")
    there = {name for tool in tools if (name := _function_name({"type": "function", **tool})) is not None}
    if missing := sorted(set(allowed or ()) - there):
        raise ServeError("invalid_message", f"tool_choice: no tool is called {missing[0][:64]}")
    return LlmToolRequest.model_validate({"tools": tools, "tool_choice": choice, "allowed_tools": allowed})


def _tool_choice(choice: str | dict[str, Any] | None) -> tuple[str, list[str] | None]:
    """auto, none or required, and which tools may be called (None: all)."""
    if choice is None or isinstance(choice, str):
        return choice or "auto", None
    name = _function_name(choice)
    if name is not None:
        return "required", [name]
    some = choice.get("allowed_tools") if choice.get("type") == "allowed_tools" else None
    listed = some.get("tools") if isinstance(some, dict) else None
    names = [_function_name(tool) for tool in listed] if isinstance(listed, list) else [None]
    mode = some.get("mode", "auto") if isinstance(some, dict) else None
    if None in names or mode not in ("auto", "required"):
        raise ServeError(
            "invalid_message",
            'tool_choice: write "auto", "none", "required" or {"type": "function", "function": {"name": …}}',
        )
    return mode, list(dict.fromkeys(name for name in names if name is not None))


def _function_name(tool: object) -> str | None:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None
