"""The API's own description: OpenAPI, and a page made of it that needs neither a script nor the Internet."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse

from local_ai_server.http_api.access import OPEN_PATHS
from local_ai_server.http_api.document_page import STYLE, page

_INTRODUCTION: Final = (
    "Speech to text, a language model and text to speech of this machine. The same port serves WebSockets: the "
    "protocol of docs/protocol.md at / and /ws. All but the open routes ask for LOCAL_WS_AUTH_TOKEN where one is set, "
    "as Authorization: Bearer … or as X-API-Key. Requests with an Origin header are refused: web pages are not served."
)
_ERRORS: Final = {
    "400": "Something in the request is wrong; the message says what would be right.",
    "401": "The token is missing or wrong.",
    "403": "The request comes from a web page; or, without a token, not from this machine.",
    "408": "The body came too slowly.",
    "413": "The body, or the recording in it, is too large.",
    "500": "The server failed.",
    "503": "Busy, or the model is not there now; Retry-After says when to try again.",
    "504": "The model took too long.",
}
_ERROR: Final = {
    "type": "object",
    "description": "What went wrong.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "param"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "enum": ["invalid_request_error", "server_error"]},
                "code": {"type": "string"},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}
_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_NO_METHODS: Final = frozenset({"parameters", "summary", "description", "servers"})


def describe(app: FastAPI) -> None:
    """`/openapi.json` with tokens and errors as they are, and `/docs`. After all routes."""

    @cache
    def document() -> dict[str, Any]:
        return _document(app)

    app.openapi = document  # type: ignore[method-assign]

    @cache
    def rendered() -> str:
        return page(document())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        style = b64encode(sha256(STYLE.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; "
        return HTMLResponse(
            rendered(),
            headers={
                "Content-Security-Policy": policy + "frame-ancestors 'none'",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
            },
        )


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=_INTRODUCTION, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own; ours are `Error`
        schemas.pop(unused, None)
    schemas["Error"] = _ERROR
    components["securitySchemes"] = _SCHEMES
    document["security"] = [{name: []} for name in _SCHEMES]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method not in _NO_METHODS:
                _complete(operation, is_open=path in OPEN_PATHS)
    return document


def _complete(operation: dict[str, Any], *, is_open: bool) -> None:
    """An operation with its errors, and whether it asks for a token."""
    answers = operation.setdefault("responses", {})
    answers.pop("422", None)  # explain_errors says 400
    if is_open:
        operation["security"] = []
        return
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status, description in _ERRORS.items():
        answers.setdefault(status, {"description": description, "content": content})
