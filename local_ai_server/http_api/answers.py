"""How an HTTP client is told what went wrong: in the shape that OpenAI's clients read, with a status that fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local_ai_server.errors import ServeError
from local_ai_server.http_api.disconnect import ClientGone
from voice_wire.messages import ErrorCode

_STATUS: Final[dict[ErrorCode, int]] = {
    "invalid_message": 400,
    "malformed_json": 400,
    "prompt_too_long": 400,
    "message_too_large": 413,
    "not_supported": 400,
    "rate_limited": 429,
    "server_at_capacity": 503,
    "stt_unavailable": 503,
    "llm_unavailable": 503,
    "llm_not_loaded": 503,
    "tts_unavailable": 503,
    "worker_failed": 503,
    "timeout": 504,
}
"""500 for the others."""
_CODES: Final = {404: "not_found", 405: "not_found", 408: "timeout", 413: "message_too_large"}
_CLIENT_GONE: Final = 499
"""Read by nobody; the metrics of a proxy in front know it."""


def status_of(error: ServeError) -> int:
    return _STATUS.get(error.code, 500)


def error_body(message: str, *, code: str, status: int, param: str | None = None) -> dict[str, Any]:
    """`error` {`message`, `type`, `code`, `param`}."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}


def error_response(
    message: str, *, code: str, status: int, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    body = error_body(message, code=code, status=status, param=param)
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def explain_errors(app: FastAPI) -> None:
    """What a route raises becomes its answer. What the client sent is not repeated: it may be what a caller said."""

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ServeError)
        status = status_of(error)
        again = {"Retry-After": str(max(1, round(error.figures.get("retry_after", 1))))} if status in (429, 503) else {}
        return error_response(str(error), code=error.code, status=status, headers=again)

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or None
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        return error_response(message, code="invalid_message", status=400, param=where)

    async def refused_by_status(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "invalid_message")
        return error_response(error.detail, code=code, status=error.status_code, headers=error.headers)

    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=_CLIENT_GONE)

    app.add_exception_handler(ServeError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused_by_status)
    app.add_exception_handler(ClientGone, gone)
