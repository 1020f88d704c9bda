"""`/v1/chat/completions`: OpenAI's chat completions by the language model that is loaded here."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from local_ai_server.errors import ServeError
from local_ai_server.http_api.ahead import ahead
from local_ai_server.http_api.answers import error_body, status_of
from local_ai_server.http_api.chat_answer import Answer, ToolCall
from local_ai_server.http_api.chat_asked import Asked
from local_ai_server.http_api.chat_fields import ChatRequest
from local_ai_server.http_api.chat_sessions import ChatSessions
from local_ai_server.http_api.disconnect import ClientGone, while_connected
from local_ai_server.http_api.models_list import Models, model_id
from local_ai_server.metrics import ServerMetrics
from local_ai_server.switchboard import Switchboard

log = structlog.get_logger(__name__)

_STALLED_S: Final = 30.0
"""A client that takes nothing for so long is gone."""
_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""What stands in between is to pass each event on at once."""


def chat_routes(
    switchboard: Switchboard, metrics: ServerMetrics, *, models: Models, sessions: ChatSessions
) -> APIRouter:
    """The route. `sessions` is the caller's to close."""
    router = APIRouter(tags=["chat"])

    @router.post("/v1/chat/completions", response_model=None)
    async def complete(request: Request, body: ChatRequest) -> Response:
        """An answer to a conversation, whole or streamed (`stream`). docs/http-api.md tells every field."""
        llm = switchboard.service("llm")
        if not models.is_llm(body.model):
            return models.refuse()
        answer = Answer(Asked.of(body), llm=llm, metrics=metrics, in_conversation=body.cache_key is not None)
        run = _Run(answer, sessions, body.cache_key, model_id(llm))
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            return _Stream(run, include_usage=usage)
        return JSONResponse(await while_connected(request, run.whole()))

    return router


@dataclass(frozen=True, slots=True)
class _Run:
    """One request with its place in the prefix cache, told in OpenAI's shapes."""

    answer: Answer
    sessions: ChatSessions
    cache_key: str | None
    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def pieces(self) -> AsyncGenerator[str | ToolCall, None]:
        """As `Answer.pieces`, counted whatever comes of it."""
        outcome = "failed"
        try:
            async with (
                self.sessions.session(self.cache_key) as session,
                aclosing(self.answer.pieces(session)) as pieces,
            ):
                async for piece in pieces:
                    yield piece
            outcome = "done"
        except ServeError as error:
            outcome = error.code
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        finally:
            self.answer.ended(outcome)

    async def whole(self) -> dict[str, Any]:
        """The `chat.completion`."""
        text: list[str] = []
        calls: list[dict[str, Any]] = []
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    text.append(piece)
                else:
                    calls.append(_call(piece))
        message: dict[str, Any] = {"role": "assistant", "content": None if calls else "".join(text), "refusal": None}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.answer.finish_reason}
        return self._head("chat.completion") | {"choices": [choice], "usage": self.answer.usage} | self.left_out()

    def chunk(self, delta: Mapping[str, Any], *, finish_reason: str | None = None) -> dict[str, Any]:
        """A `chat.completion.chunk`."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._head("chat.completion.chunk") | {"choices": [choice]}

    def figures(self) -> dict[str, Any]:
        """The chunk with the figures, which has no choice."""
        return self._head("chat.completion.chunk") | {"choices": [], "usage": self.answer.usage}

    def left_out(self) -> dict[str, Any]:
        """What the window had no room for; nothing where all was read."""
        answer = self.answer
        if not answer.dropped_messages and not answer.cut:
            return {}
        return {"truncated": {"dropped_messages": answer.dropped_messages, "cut": answer.cut}}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class _Stream(Response):
    """The answer as server-sent events. What goes wrong before the first has a status, later it is an event."""

    media_type = "text/event-stream"

    def __init__(self, run: _Run, *, include_usage: bool) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._run = run
        self._usage = {"usage": None} if include_usage else {}
        """Every chunk has the field where one of them will have figures."""
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientGone):
            await while_connected(Request(scope, receive), self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        try:
            async with aclosing(self._events()) as events:
                async for some in events:
                    await self._send(send, some)
        except ServeError as error:
            if not self._begun:
                raise
            await self._send(send, [error_body(str(error), code=error.code, status=status_of(error))])
        except ClientGone:
            raise
        except Exception:  # the root of an answer that has begun: its client must hear of it
            if not self._begun:
                raise
            log.exception("chat_failed")
            body = error_body("the server failed; see its log", code="internal_error", status=500)
            await self._send(send, [body])
        await self._put(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncGenerator[Sequence[Mapping[str, Any] | str], None]:
        """What is sent together."""
        run, role = self._run, True
        at = 0
        async with aclosing(ahead(run.pieces())) as pieces:
            async for piece in pieces:
                some = []
                if role:
                    content = "" if isinstance(piece, str) else None
                    some.append(run.chunk({"role": "assistant", "content": content}))
                    role = False
                if isinstance(piece, str):
                    some.append(run.chunk({"content": piece}))
                else:
                    some += [run.chunk({"tool_calls": [delta]}) for delta in _call_deltas(at, piece)]
                    at += 1
                yield [chunk | self._usage for chunk in some]
        first = {"role": "assistant", "content": ""} if role else {}
        last = [run.chunk(first, finish_reason=run.answer.finish_reason) | self._usage | run.left_out()]
        yield [*last, *([run.figures()] if self._usage else ()), "[DONE]"]

    async def _send(self, send: Send, events: Sequence[Mapping[str, Any] | str]) -> None:
        if not self._begun:
            self._begun = True
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await self._put(send, start)
        data = "".join(f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n" for e in events)
        await self._put(send, {"type": "http.response.body", "body": data.encode(), "more_body": True})

    async def _put(self, send: Send, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(_STALLED_S):
                await send(message)
        except (TimeoutError, OSError):
            raise ClientGone from None


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_deltas(at: int, call: ToolCall) -> list[dict[str, Any]]:
    """The name first, then the arguments, as OpenAI streams them."""
    begun = {"index": at, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
    return [begun, {"index": at, "function": {"arguments": call.arguments}}]
