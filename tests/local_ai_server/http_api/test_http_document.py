"""What the server says of itself: `/docs`, `/openapi.json`, `/health`."""

import re
from html.parser import HTMLParser

import httpx
import pytest
from chat_server import serving
from fastapi.routing import APIRoute

from local_ai_server.app import build_app
from local_ai_server.http_api.access import OPEN_PATHS
from local_ai_server.http_api.document_page import page
from local_ai_server.settings import Settings
from tests.local_ai_server.fake_services import FakeServices

BODIES = {
    "/transcribe": "multipart/form-data",
    "/transcribe/url": "application/json",
    "/synthesize": "application/json",
    "/v1/audio/transcriptions": "multipart/form-data",
    "/v1/audio/translations": "multipart/form-data",
    "/v1/audio/speech": "application/json",
    "/v1/chat/completions": "application/json",
}


async def get(path, services=None, **variables):
    services = services or FakeServices()
    async with serving(services.switchboard, **variables) as url, httpx.AsyncClient(trust_env=False) as http:
        return await http.get(url.removesuffix("/v1") + path)


async def test_the_page_names_every_route_and_nothing_from_elsewhere():
    app = build_app(Settings(), FakeServices().switchboard)
    answer = await get("/docs", LOCAL_WS_AUTH_TOKEN="word")
    text = answer.text
    document = app.openapi()
    routes = {(m, p) for p, item in document["paths"].items() for m in item}
    assert {(method.lower(), path) for path in BODIES for method in ("POST",)} <= routes
    for method, path in routes:
        assert f"<code>{method.upper()} {path}</code></h2>" in text

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            assert tag not in ("script", "iframe", "img", "link", "object", "base", "form")
            given = dict(attributes)
            assert not {name for name in given if name.startswith("on") or name in ("src", "style")}
            href = given.get("href", "#")
            assert href.startswith("#") or href == "/openapi.json"
            if href.startswith("#") and len(href) > 1:
                targets.append(href[1:])
            ids.add(given.get("id"))

    targets, ids = [], set()
    Reader().feed(text)
    assert targets and set(targets) <= ids
    assert not re.search(r"url\(|@import", text)


async def test_the_page_may_load_nothing():
    answer = await get("/docs")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_described_is_shown_as_text():
    info = {"title": "<b>", "description": "<script>"}
    schema = {"type": "object", "properties": {"<x>": {"type": "string", "description": "<y>", "default": "<z>"}}}
    operation = {"description": "<i>", "responses": {"200": {"description": "<u>"}}}
    shown = page({"info": info, "paths": {"/<p>": {"get": operation}}, "components": {"schemas": {"<S>": schema}}})
    assert not re.findall(r"<(?:b|script|x|y|z|i|u|p|S)>(?!</p>|<|[A-Z]|T)", shown.replace("<p>", ""))
    assert "&lt;script&gt;" in shown


async def test_the_document_is_complete():
    app = build_app(Settings(), FakeServices().switchboard)
    document = (await get("/openapi.json")).json()
    assert document == app.openapi()
    paths = document["paths"]
    assert set(BODIES) <= set(paths)
    assert {route.path for route in app.routes if isinstance(route, APIRoute)} - {"/docs"} <= set(paths)
    assert document["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    for path, item in paths.items():
        for operation in item.values():
            assert operation["description"], path
            if path in OPEN_PATHS:
                assert operation["security"] == []
                continue
            assert "security" not in operation
            assert {"200", "400", "401", "403", "413", "503"} <= set(operation["responses"]), path
            assert "422" not in operation["responses"]
    for path, kind in BODIES.items():
        assert kind in paths[path]["post"]["requestBody"]["content"], path
    form = paths["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "model"]
    assert {"file", "model", "language", "stream", "timestamp_granularities[]"} <= set(form["properties"])
    references = set(re.findall(r"#/components/schemas/([A-Za-z0-9_-]+)", str(document)))
    assert references <= set(document["components"]["schemas"])
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
async def test_what_is_open_asks_for_no_token(path):
    assert (await get(path, LOCAL_WS_AUTH_TOKEN="word")).status_code == 200


async def test_health_says_what_serves():
    services = FakeServices()
    services.tts.state, services.tts.reason = "restarting", "it crashed\nwhile it said: Ann"
    body = (await get("/health", services)).json()
    assert (body["status"], body["model"], body["device"], body["gpu_available"]) == ("degraded", "m", "cpu", False)
    assert body["models"]["tts"] == {"backend": "piper", "model": "m", "state": "restarting", "device": "cpu"}
    assert body["not_ready"] == {"tts": "it crashed"}
    body = (await get("/health", FakeServices(without=("stt",)))).json()
    assert (body["status"], body["model"], body["device"]) == ("ok", None, None)
