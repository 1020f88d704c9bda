"""What every HTTP request passes before it is served: who asks, how many ask at once, how much they send."""

from __future__ import annotations

import asyncio
import sys
from typing import Final, NamedTuple

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_ai_server.http_api.access import OPEN_PATHS, Access, Refusal
from local_ai_server.http_api.answers import error_response
from local_ai_server.settings import Settings
from voice_wire.messages import MAX_COMMAS

BODY_DEADLINE_S: Final = 120.0
"""For a request's body to arrive: who sends a byte a minute shall not hold a place."""

_CLOSE: Final = {"Connection": "close"}
"""The rest of the body is not read."""

_RECORDINGS_AS_JSON: Final = frozenset({"/api/audio"})

REFUSED: Final[dict[Refusal, tuple[int, str]]] = {
    "browser": (403, "requests with an Origin header come from web pages, which are not served"),
    "host": (403, "a server without LOCAL_WS_AUTH_TOKEN is asked as localhost or 127.0.0.1 only"),
    "token": (401, "send the server's LOCAL_WS_AUTH_TOKEN as Authorization: Bearer … or X-API-Key: …"),
}
"""Status and message."""


class Door:
    """ASGI middleware. WebSockets pass: their sessions look after themselves."""

    def __init__(self, app: ASGIApp, settings: Settings, *, body_deadline_s: float = BODY_DEADLINE_S) -> None:
        self._app = app
        self._access = Access(settings)
        self._max_requests = settings.max_http_requests
        self._form = _Limit(settings.max_http_body_bytes, "LOCAL_HTTP_MAX_BODY_BYTES")
        self._message = min(self._form, _Limit(settings.max_message_bytes, "LOCAL_WS_MAX_MESSAGE_BYTES"))
        self._body_deadline_s = body_deadline_s
        self._serving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._access.refusal(scope["path"], headers)
        if refusal is not None:
            status, message = REFUSED[refusal]
            challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            answer = error_response(message, code=f"refused_{refusal}", status=status, headers=challenge | _CLOSE)
            await answer(scope, receive, send)
            return
        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        if self._serving >= self._max_requests:
            await self._full()(scope, receive, send)
            return
        self._serving += 1
        try:
            is_form = headers.get("content-type", "").lower().startswith("multipart/form-data")
            limit = self._form if is_form or scope["path"] in _RECORDINGS_AS_JSON else self._message
            commas = sys.maxsize if is_form else MAX_COMMAS
            body = _Body(receive, headers, limit, commas, self._body_deadline_s)
            await self._app(scope, body.receive, send)
        finally:
            self._serving -= 1

    def _full(self) -> ASGIApp:
        return error_response(
            f"{self._max_requests} HTTP requests are being served, which is the limit (LOCAL_HTTP_MAX_REQUESTS)",
            code="server_at_capacity",
            status=503,
            headers={"Retry-After": "1"},
        )


class _Limit(NamedTuple):
    n_bytes: int
    setting: str


class _Body:
    """A request's body as it comes in, up to a size and within a time."""

    def __init__(self, receive: Receive, headers: Headers, limit: _Limit, commas: int, deadline_s: float) -> None:
        self._receive = receive
        self._announced = headers.get("content-length", "")
        self._left = limit.n_bytes
        self._limit = limit
        self._commas_left = commas
        self._deadline_s = deadline_s
        self._until = asyncio.get_running_loop().time() + deadline_s
        self._complete = False

    async def receive(self) -> Message:
        """ASGI's. Raises `HTTPException`: the one that FastAPI passes on as it is while it reads a body."""
        if self._complete:  # what comes now is that the client has gone, whenever that is
            return await self._receive()
        if self._announced.isdigit() and int(self._announced) > self._limit.n_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            late = f"the request's body was not here within {self._deadline_s:g} s"
            raise HTTPException(408, late, headers=_CLOSE) from None
        if message["type"] == "http.request":
            body = message.get("body", b"")
            self._left -= len(body)
            if self._left < 0:
                raise self._too_large()
            self._commas_left -= body.count(b",")
            if self._commas_left < 0:
                raise HTTPException(413, f"the JSON has more than {MAX_COMMAS} commas", headers=_CLOSE)
            self._complete = not message.get("more_body", False)
        return message

    def _too_large(self) -> HTTPException:
        message = f"the request's body is larger than {self._limit.n_bytes} bytes ({self._limit.setting})"
        return HTTPException(413, message, headers=_CLOSE)
