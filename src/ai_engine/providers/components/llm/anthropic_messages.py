"""Anthropic's Messages API as data: what is asked, and what the events of a streamed answer say. Pure.

Where it is written: platform.claude.com/docs/en/api/messages, /build-with-claude/streaming and /api/errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ai_engine.providers.components.component import ToolWanted
from ai_engine.tools.tool import ToolSpec
from openai_wire.errors import (
    LlmBusy,
    LlmError,
    LlmMisconfigured,
    LlmPromptTooLong,
    LlmRefused,
    LlmUnavailable,
)
from openai_wire.stream import EventDecoder, error_words
from voice_core.history import Message

VERSION: Final = "2023-06-01"
_CALL_BEGINS: Final = "(The call begins.)"
"""An agent that greets speaks first; the first message must be the user's."""
_PING_BYTES: Final = 64
_ERRORS: Final[dict[str, type[LlmError]]] = {
    "rate_limit_error": LlmBusy,
    "authentication_error": LlmMisconfigured,
    "billing_error": LlmMisconfigured,
    "permission_error": LlmMisconfigured,
    "not_found_error": LlmMisconfigured,
    "invalid_request_error": LlmRefused,
    "request_too_large": LlmPromptTooLong,
}
"""Of errors inside a stream; what is not here (overloaded, an internal error) may pass."""


def messages_request(
    model: str,
    messages: Sequence[Message],
    *,
    max_tokens: int,
    stop: Sequence[str],
    tools: Sequence[ToolSpec],
    thinking: bool | None,
) -> dict[str, Any]:
    """The body of a streamed request. The system prompt stands apart, and is kept by the server between turns."""
    system = "\n\n".join(m.content for m in messages if m.role == "system" and m.content.strip())
    stops = [text for text in stop if text.strip()]  # others are refused
    return {
        "model": model,
        "max_tokens": max_tokens,
        "stream": True,
        "messages": _turns(messages, with_tools=bool(tools)),
        **({"system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]} if system else {}),
        **({"stop_sequences": stops} if stops else {}),
        **({"tools": [_tool(spec) for spec in tools]} if tools else {}),
        **({"thinking": {"type": "adaptive" if thinking else "disabled"}} if thinking is not None else {}),
    }


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {"name": spec.name, "description": spec.description, "input_schema": dict(spec.parameters)}


def _turns(messages: Sequence[Message], *, with_tools: bool) -> list[dict[str, Any]]:
    """Alternating roles, the user's first; a tool's call and its result only together."""
    called = {m.tool.call_id for m in messages if m.tool is not None and m.role == "assistant"}
    ended = {m.tool.call_id for m in messages if m.tool is not None and m.role == "tool"}
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        if message.tool is not None and (not with_tools or message.tool.call_id not in called & ended):
            continue
        if message.tool is None and not message.content.strip():
            continue  # an empty block is refused
        role = "assistant" if message.role == "assistant" else "user"
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": [{"type": "text", "text": _CALL_BEGINS}]})
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": []})
        turns[-1]["content"].append(_block(message))
    return turns


def _block(message: Message) -> dict[str, Any]:
    use = message.tool
    if use is None:
        return {"type": "text", "text": message.content}
    if message.role == "tool":
        return {"type": "tool_result", "tool_use_id": use.call_id, "content": message.content}
    try:
        given = json.loads(use.arguments)
    except (ValueError, RecursionError):
        given = None
    return {"type": "tool_use", "id": use.call_id, "name": use.name, "input": given if isinstance(given, dict) else {}}


class MessageDecoder:
    """The stream's events less its pings: those come also while nothing is done."""

    def __init__(self) -> None:
        self._events = EventDecoder()

    def feed(self, data: bytes) -> list[str]:
        return [event for event in self._events.feed(data) if not _is_ping(event)]

    def end(self) -> list[str]:
        return [event for event in self._events.end() if not _is_ping(event)]


def _is_ping(event: str) -> bool:
    return len(event) <= _PING_BYTES and '"ping"' in event


class MessageReader:
    """One answer: its text, and what its blocks and its end said. Thoughts are left out."""

    def __init__(self) -> None:
        self.complete = False
        self.stop_reason = ""
        self._tools: dict[int, list[str]] = {}
        """By the number of the block: the name and the arguments so far."""

    @property
    def wanted(self) -> list[ToolWanted]:
        """The tools asked for, in order."""
        return [ToolWanted(name, arguments or "{}") for _, (name, arguments) in sorted(self._tools.items())]

    def read(self, data: str) -> str:
        """The text of one event. Raises `LlmError` for an error in the stream and for what is no event."""
        try:
            event = json.loads(data)
            return self._read(event)
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
            raise LlmUnavailable(f"the server sent what is no event of an answer: {data[:80]!r}") from None

    def _read(self, event: Mapping[str, Any]) -> str:
        kind = event.get("type")
        if kind == "content_block_start":
            block = event["content_block"]
            if block["type"] == "tool_use":
                self._tools[int(event["index"])] = [str(block["name"]), ""]
            return str(block.get("text") or "") if block["type"] == "text" else ""
        if kind == "content_block_delta":
            delta = event["delta"]
            if delta["type"] == "text_delta":
                return str(delta["text"])
            if delta["type"] == "input_json_delta":
                self._tools[int(event["index"])][1] += str(delta["partial_json"])
        elif kind == "message_delta":
            self.stop_reason = event["delta"].get("stop_reason") or self.stop_reason
        elif kind == "message_stop":
            self.complete = True
        elif kind == "error":
            error = event["error"]
            raise _ERRORS.get(str(error.get("type")), LlmUnavailable)(
                f"the server failed while it answered: {error.get('type')}: {error_words(event)}"
            )
        return ""  # others may be added to the API and are to be passed over
