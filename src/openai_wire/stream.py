"""The bytes of a streamed chat completion: server-sent events and what stands in them. Pure: bytes in, text out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from openai_wire.errors import LlmUnavailable

_MAX_EVENT_BYTES: Final = 1024 * 1024
DONE: Final = "[DONE]"


@dataclass(slots=True)
class Outcome:
    """What the end of a generation said."""

    finish_reason: str = "stop"
    usage: dict[str, Any] = field(default_factory=dict)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    """Of engines that read their model's tool calls: {"name", "arguments" (JSON text)}."""
    thoughts_apart: bool = False
    """The engine sends a reasoning model's thoughts in a field of their own."""

    def take_tool_calls(self, deltas: list[dict[str, Any]]) -> None:
        """Pieces of calls, as OpenAI streams them: the name first, the arguments bit by bit."""
        for delta in deltas:
            at = min(delta.get("index") or 0, len(self.tool_calls))
            if at == len(self.tool_calls):
                self.tool_calls.append({"name": "", "arguments": ""})
            function = delta.get("function") or {}
            self.tool_calls[at]["name"] += function.get("name") or ""
            self.tool_calls[at]["arguments"] += function.get("arguments") or ""


class EventDecoder:
    """Splits a stream into the data of its events (WHATWG HTML, 9.2); comments and other fields are passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._n_bytes = 0
        """Of the event that is not complete yet."""

    def feed(self, data: bytes) -> list[str]:
        """The events that `data` completes. Raises `LlmUnavailable` when one grows beyond all measure."""
        events = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) + self._n_bytes > _MAX_EVENT_BYTES:
            raise LlmUnavailable(f"the server sent an event of more than {_MAX_EVENT_BYTES} bytes")
        for raw in lines:
            line = raw.rstrip(b"\r").decode("utf-8", "replace")
            if not line and self._data:
                events.append("\n".join(self._data))
                self._data, self._n_bytes = [], 0
            elif line.startswith("data:"):
                self._data.append(line[5:].removeprefix(" "))
                self._n_bytes += len(line)
        return events

    def end(self) -> list[str]:
        """The stream has ended: an event that lacked only its empty line."""
        events = self.feed(b"\n\n")
        self._rest = b""
        return events


def read_event(data: str, outcome: Outcome) -> tuple[str, bool]:
    """(text, whether the answer is complete with this) of one event; figures and tool calls go to `outcome`.

    Raises `LlmUnavailable` for what is no chunk, and for an error that the server reports in the stream.
    """
    if data.strip() == DONE:
        return "", True
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        raise LlmUnavailable(f"the server sent what is no chunk of an answer: {data[:80]!r}") from None
    if not isinstance(chunk, dict):
        raise LlmUnavailable(f"the server sent what is no chunk of an answer: {data[:80]!r}")
    if chunk.get("error"):
        raise LlmUnavailable(f"the server failed while it answered: {error_words(chunk)}")
    return _read_choices(chunk, outcome)


def _read_choices(chunk: dict[str, Any], outcome: Outcome) -> tuple[str, bool]:
    usage = chunk.get("usage")
    if isinstance(usage, dict):
        outcome.usage = usage
    cached = (chunk.get("timings") or {}).get("cache_n")  # llama-server
    if cached is not None:
        outcome.usage = {"prompt_tokens_details": {"cached_tokens": cached}} | outcome.usage
    text, complete = "", False
    try:
        for choice in (chunk.get("choices") or ())[:1]:
            delta = choice.get("delta") or choice.get("message") or {}
            if delta.get("reasoning_content") or delta.get("reasoning"):
                outcome.thoughts_apart = True
            text += delta.get("content") or ""
            outcome.take_tool_calls(delta.get("tool_calls") or [])
            if choice.get("finish_reason"):
                outcome.finish_reason, complete = choice["finish_reason"], True
    except (AttributeError, TypeError):
        raise LlmUnavailable("the server sent a chunk whose choices are none") from None
    return text, complete


def error_words(body: Any) -> str:
    """What a server says went wrong, in any of the forms they have, in at most 300 characters."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return " ".join(str(error).split())[:300]
