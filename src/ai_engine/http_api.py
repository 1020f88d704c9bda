"""The engine's HTTP side: is it alive, is it ready, how is it doing, who is on the line.

`/live`, `/ready`, `/health` and `/metrics` show no caller's data and are open. `/sessions` and `/events` do: they want
the bearer token, or, where none is set, a request made to a loopback name (which no web page of another origin can
forge: browsers send the page's own host). What changes something wants JSON besides, which a page of another origin
cannot send without being allowed to.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from ai_engine.live_events import LiveEvents
from ai_engine.metrics import Metrics
from ai_engine.settings import is_loopback


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a call would be answered now."""

    reason: str = ""
    """Why not, and what mends it; empty when it would."""
    retryable: bool = True
    """False: waiting will not mend it, somebody must change a setting."""

    def __bool__(self) -> bool:
        return not self.reason


class EngineView(Protocol):
    """What the pages ask the engine."""

    def ready(self) -> Readiness: ...

    def health(self) -> dict[str, Any]: ...

    def sessions(self) -> list[dict[str, Any]]: ...

    async def record(self, call_id: str, action: str) -> str | None:
        """Do `action` to a call's recording; its state afterwards, None where that call has none.

        Raises `KeyError` for a call that is not there and `ValueError` for another action than there are.
        """


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MorePages = Callable[[web.UrlDispatcher, Callable[[Handler], Handler]], None]
"""Adds pages of its own; it is handed what makes a handler one that wants the token."""


class HttpApi:
    """Serves the engine's pages from `start` to `stop`."""

    def __init__(
        self,
        engine: EngineView,
        metrics: Metrics,
        live: LiveEvents,
        *,
        bind: str,
        port: int,
        token: str,
        more: MorePages | None = None,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._live = live
        self._bind = bind
        self._port = port
        self._token = token.encode()
        self._more = more
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; returns the port. Raises `OSError` when it is taken."""
        app = web.Application()
        app.router.add_get("/live", self._show_live)
        app.router.add_get("/ready", self._show_ready)
        app.router.add_get("/health", self._show_health)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/sessions", self._guarded(self._show_sessions))
        app.router.add_get("/events", self._guarded(self._stream_events))
        app.router.add_post("/sessions/{call_id}/recording", self._guarded(self._record))
        if self._more is not None:
            self._more(app.router, self._guarded)
        # A watcher that goes away must free its handler at once, not at the next event.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._bind, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            self._live.close()
            await self._runner.cleanup()
            self._runner = None

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if self._token:
                scheme, _, given = request.headers.get("Authorization", "").partition(" ")
                token = given.encode(errors="surrogateescape")  # any bytes may stand in a header
                if scheme.lower() != "bearer" or not hmac.compare_digest(token, self._token):
                    return _refuse(401, "send `Authorization: Bearer <ENGINE_HTTP_TOKEN>`")
            elif not is_loopback(_host(request)):
                return _refuse(403, "set ENGINE_HTTP_TOKEN to read this from another name than localhost")
            return await handler(request)

        return guarded

    async def _show_live(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "alive"})

    async def _show_ready(self, _request: web.Request) -> web.StreamResponse:
        readiness = self._engine.ready()
        page = {"ready": bool(readiness), "reason": readiness.reason, "retryable": readiness.retryable}
        return web.json_response(page, status=200 if readiness else 503)

    async def _show_health(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(self._engine.health())

    async def _show_metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _show_sessions(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"sessions": self._engine.sessions()})

    async def _record(self, request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/json":
            return _refuse(415, "send JSON, with `Content-Type: application/json`")
        call_id = request.match_info["call_id"]
        try:
            body = await request.json()
        except ValueError:
            body = None
        action = body.get("action") if isinstance(body, dict) else None
        if not isinstance(action, str):
            return _refuse(400, 'send `{"action": "pause"}`, or resume, stop, discard')
        try:
            state = await self._engine.record(call_id, action)
        except KeyError:
            return _refuse(404, "there is no such call; GET /sessions lists those that there are")
        except ValueError as error:
            return _refuse(400, str(error))
        if state is None:
            return _refuse(409, "this call is not recorded: switch it on for its context, for the calls to come")
        return web.json_response({"call_id": call_id, "recording": state})

    async def _stream_events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events, one JSON object each."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        with self._live.watch() as watcher:
            await response.prepare(request)
            await response.write(b": watching\n\n")
            async for event in watcher:
                await response.write(
                    b"data: " + json.dumps(event, ensure_ascii=False).encode(errors="replace") + b"\n\n"
                )
        return response


def _refuse(status: int, remedy: str) -> web.Response:
    return web.json_response({"error": remedy}, status=status)


def _host(request: web.Request) -> str:
    """The name that the request was made to; empty for one that is none."""
    try:
        return request.url.host or ""
    except ValueError:
        return ""
