"""The history over HTTP: `GET /calls`, `GET /calls/{call_id}`, `GET /calls/export`, and deleting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from ai_engine.call_history.export import csv_lines, json_lines, to_json
from ai_engine.call_history.queries import Record, list_calls, one_call, parse_query, whole_calls
from ai_engine.call_history.schema import SchemaTooNew
from ai_engine.call_history.store import HistoryStore
from ai_engine.http_api import Handler
from ai_engine.media.recording_folder import RecordingFolder

log = structlog.get_logger(__name__)

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_EXPORTS: Final = {"json": "application/json", "csv": "text/csv"}


class CallPages:
    """One engine's."""

    def __init__(
        self,
        store: HistoryStore,
        recordings: RecordingFolder,
        also_delete: Callable[[str], int] = lambda call_id: 0,
    ) -> None:
        """`also_delete` deletes what else there is of a call, such as messages; returns how many files it was."""
        self._also_delete = also_delete
        self._store = store
        self._recordings = recordings

    def add_to(self, router: web.UrlDispatcher, guarded: Callable[[Handler], Handler]) -> None:
        def add(method: str, path: str, handler: Handler) -> None:
            router.add_route(method, path, guarded(_answered(handler)))

        add("GET", "/calls", self._list)
        add("DELETE", "/calls", self._delete_caller)
        add("GET", "/calls/export", self._export)
        add("GET", "/calls/{call_id}", self._show)
        add("DELETE", "/calls/{call_id}", self._delete)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        calls, after = await list_calls(self._store, parse_query(request.query))
        return _page({"calls": calls, "next": after})

    async def _show(self, request: web.Request) -> web.StreamResponse:
        call = await one_call(self._store, request.match_info["call_id"])
        if call is None:
            return _refuse(404, "there is no such call; GET /calls lists those that there are")
        found = await asyncio.to_thread(self._recordings.of_call, call["call_id"])
        return _page(call | {"recording_there": bool(found)})

    async def _export(self, request: web.Request) -> web.StreamResponse:
        words = dict(request.query)
        kind, rows = words.pop("format", "json"), words.pop("rows", "calls")
        if kind not in _EXPORTS or rows not in ("calls", "lines"):
            raise ValueError("format: json or csv; rows (of csv): calls or lines")
        if words.keys() & {"limit", "after"}:
            raise ValueError("an export has all that fit the filters: leave out limit and after")
        calls = whole_calls(self._store, parse_query(words).filter)
        lines = json_lines(calls) if kind == "json" else csv_lines(calls, "lines" if rows == "lines" else "calls")
        return await _stream(request, lines, f"calls.{kind}", _EXPORTS[kind])

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        call = await one_call(self._store, request.match_info["call_id"])
        if call is None:
            return _refuse(404, "there is no such call; GET /calls lists those that there are")
        if call["ended_at"] is None:
            return _refuse(409, "the call has not ended; delete it afterwards")
        return _page({"deleted": 1, "recordings": await self._forget([call["call_id"]])})

    async def _delete_caller(self, request: web.Request) -> web.StreamResponse:
        """All ended calls of one caller, whose number is the one thing that may and has to be asked for."""
        number = request.query.get("caller_number", "")
        if set(request.query) != {"caller_number"} or not number:
            raise ValueError("ask for DELETE /calls?caller_number=…; one call: DELETE /calls/{call_id}")
        wanted = parse_query({"caller_number": number}).filter
        ids = [call["call_id"] async for call in whole_calls(self._store, wanted) if call["ended_at"] is not None]
        return _page({"deleted": len(ids), "recordings": await self._forget(ids)})

    async def _forget(self, call_ids: list[str]) -> int:
        """The recording first: should that fail, the call is still there to try again. Returns files deleted."""
        files = 0
        for call_id in call_ids:
            files += await asyncio.to_thread(self._recordings.delete_call, call_id)
            files += await asyncio.to_thread(self._also_delete, call_id)
            await self._store.delete_call(call_id, wipe=False)
        if call_ids and not await self._store.wipe():
            log.info("history_not_wiped", why="it is being read; tried again within the hour")
        log.info("history_deleted", calls=len(call_ids), recordings=files)
        return files


def _answered(handler: Handler) -> Handler:
    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ValueError as error:
            return _refuse(400, str(error))
        except (SQLAlchemyError, SchemaTooNew, OSError) as error:
            if isinstance(error, ConnectionError):  # whoever asked has gone
                raise
            log.warning("history_not_read", page=request.path, error=type(error).__name__)
            return _refuse(503, "the database or the disk does not answer; try again")

    return answered


async def _stream(request: web.Request, lines: AsyncIterator[str], name: str, kind: str) -> web.StreamResponse:
    first = await anext(lines)  # before anything is sent: what fails here still gets a proper answer
    disposition = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Type": f"{kind}; charset=utf-8"}
    response = web.StreamResponse(headers=_HEADERS | disposition)
    await response.prepare(request)
    await response.write(first.encode())
    async for line in lines:
        await response.write(line.encode())
    await response.write_eof()
    return response


def _page(content: Record | dict[str, Any]) -> web.Response:
    return web.json_response(content, dumps=to_json, headers=_HEADERS)


def _refuse(status: int, remedy: str) -> web.Response:
    return web.json_response({"error": remedy}, status=status, headers=_HEADERS)
