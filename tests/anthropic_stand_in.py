"""A server of Anthropic's Messages API on loopback that does as its script says.

True to platform.claude.com/docs/en/build-with-claude/streaming and /api/errors: named server-sent events over chunked
HTTP/1.1, `message_stop` last; errors as {"type": "error", "error": {"type", "message"}}. A real one wants an account.
"""

import json

from tests.openai_stand_in import DROP, HANG, StandIn

__all__ = ["DROP", "HANG", "HELLO", "PING", "STOP", "AnthropicStandIn", "block", "ended", "event", "failure", "text"]


def event(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()


def block(index, content_block, *deltas):
    """A content block, whole: its start, its deltas, its stop."""
    return [
        event("content_block_start", index=index, content_block=content_block),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def text(*pieces, index=0):
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return block(index, {"type": "text", "text": ""}, *deltas)


def ended(reason="end_turn"):
    return event(
        "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 12}
    )  # fmt: skip


def failure(kind, message):
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}


START = event(
    "message_start",
    message={
        "id": "msg_01", "type": "message", "role": "assistant", "content": [], "model": "claude-stand-in",
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 25, "output_tokens": 1},
    },
)  # fmt: skip
PING = event("ping")
STOP = event("message_stop")
HELLO = [START, PING, *text("Hello", " there"), ended(), STOP]


class AnthropicStandIn(StandIn):
    """`script` is what /messages answers: events in order, or (status, headers, body)."""

    def __init__(self):
        super().__init__()
        self.script = HELLO

    async def _answer(self, reader, writer, method, path, headers, body):
        if self.key is not None and headers.get("x-api-key") != self.key:
            return await self._whole(writer, 401, {}, json.dumps(failure("authentication_error", "invalid x-api-key")))
        if "anthropic-version" not in headers:
            said = failure("invalid_request_error", "anthropic-version: header is required")
            return await self._whole(writer, 400, {}, json.dumps(said))
        if (method, path) != ("POST", "/v1/messages"):
            return await self._whole(writer, 404, {}, json.dumps(failure("not_found_error", "Not Found")))
        request = json.loads(body)
        if (wrong := _complaint(request)) is not None:
            return await self._whole(writer, 400, {}, json.dumps(failure("invalid_request_error", wrong)))
        self.asked.append(request)
        if isinstance(self.script, tuple):
            return await self._whole(writer, *self.script)
        return await self._stream(reader, writer, self.script)


def _complaint(request):
    """What the API refuses of messages, as far as a pipeline could get it wrong."""
    messages = request["messages"]
    if not messages or messages[0]["role"] != "user":
        return 'messages: first message must use the "user" role'
    if any(message["role"] not in ("user", "assistant") for message in messages):
        return "messages: Unexpected role. The Messages API accepts a top-level `system` parameter"
    blocks = [block for message in messages for block in message["content"]]
    if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
        return "messages: text content blocks must contain non-whitespace text"
    if any(not stop.strip() for stop in request.get("stop_sequences", [])):
        return "stop_sequences: each stop sequence must contain non-whitespace"
    for message, following in zip(messages, [*messages[1:], {"content": []}], strict=True):
        used = {block["id"] for block in message["content"] if block["type"] == "tool_use"}
        if used - {block["tool_use_id"] for block in following["content"] if block["type"] == "tool_result"}:
            return "messages: `tool_use` ids were found without `tool_result` blocks immediately after"
    if any(block["type"] != "text" for block in blocks) and not request.get("tools"):
        return "tools: requests which include `tool_use` or `tool_result` blocks must define tools"
    if messages[-1]["role"] != "user":
        return "This model does not support assistant message prefill"
    return None
