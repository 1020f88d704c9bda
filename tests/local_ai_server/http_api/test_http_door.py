"""Who may ask over HTTP, how much, and how a refusal reads."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect

from local_ai_server.errors import ServeError
from local_ai_server.http_api.answers import explain_errors
from local_ai_server.http_api.disconnect import ClientGone, while_connected
from local_ai_server.http_api.door import Door
from local_ai_server.settings import Settings

TOKEN = "a long random word"


def application(**variables):
    app = FastAPI()
    explain_errors(app)
    app.add_middleware(Door, settings=Settings.model_validate(variables), body_deadline_s=0.2)
    app.state.hold = asyncio.Event()

    @app.get("/healthz")
    async def healthz() -> str:
        return "ok"

    @app.get("/hold")
    async def hold() -> str:
        await app.state.hold.wait()
        return "held"

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.post("/api/audio")
    @app.post("/json")
    async def of_json(body: dict[str, int]) -> int:
        return len(body)

    @app.get("/fail/{code}")
    async def fail(code: str) -> None:
        raise ServeError(code, "because", retry_after=2.4)

    return app


def client(app, base="http://127.0.0.1:8765"):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base)


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 404),
        ({"Authorization": f"bearer  {TOKEN}"}, 404),
        ({"X-API-Key": TOKEN}, 404),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": b"Bearer \xff"}, 401),
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": TOKEN, "Origin": "http://localhost"}, 403),
    ],
)
async def test_a_token_is_asked_for_and_browsers_are_refused(headers, status):
    async with client(application(LOCAL_WS_AUTH_TOKEN=TOKEN)) as http:
        answer = await http.get("/nowhere", headers=headers)
    assert answer.status_code == status
    assert TOKEN not in answer.text
    assert set(answer.json()["error"]) == {"message", "type", "code", "param"}
    assert (status == 401) == ("www-authenticate" in answer.headers)


async def test_health_is_told_to_everybody_but_web_pages():
    async with client(application(LOCAL_WS_AUTH_TOKEN=TOKEN), "http://phones.example:8765") as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/healthz", headers={"Origin": "http://x.example"})).status_code == 403


@pytest.mark.parametrize(
    "host, served",
    [
        ("localhost", True),
        ("localhost:8765", True),
        ("127.0.0.1:80", True),
        ("127.8.8.8", True),
        ("[::1]:8765", True),
        ("[::1]", True),
        ("evil.example:8765", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
    ],
)
async def test_without_a_token_no_other_name_leads_here(host, served):
    async with client(application()) as http:
        assert (await http.get("/healthz", headers={"Host": host})).status_code == (200 if served else 403)


async def test_beyond_the_limit_one_is_told_to_try_again():
    app = application(LOCAL_HTTP_MAX_REQUESTS="1")
    async with client(app) as http:
        first = asyncio.create_task(http.get("/hold"))
        while (answer := await http.post("/length", content=b"")).status_code == 200:
            await asyncio.sleep(0.01)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_at_capacity")
        assert answer.headers["retry-after"] == "1"
        assert (await http.get("/healthz")).status_code == 200
        app.state.hold.set()
        assert (await first).json() == "held"
        assert (await http.post("/length", content=b"abc")).json() == 3


async def endless():
    while True:
        yield b"x" * 100
        await asyncio.sleep(0)


async def slow():
    yield b"x"
    await asyncio.sleep(60)


@pytest.mark.parametrize("path", ["/length", "/json"])
@pytest.mark.parametrize("content, status", [(b"x" * 1001, 413), (endless(), 413), (slow(), 408)])
async def test_bodies_that_are_too_large_or_too_slow_are_refused(path, content, status):
    if not isinstance(content, bytes):
        content = endless() if status == 413 else slow()
    async with client(application(LOCAL_HTTP_MAX_BODY_BYTES="1000")) as http:
        answer = await http.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "path, kind, status",
    [
        ("/length", "application/json", 413),
        ("/length", "", 413),
        ("/length", "multipart/form-data; boundary=x", 200),
        ("/api/audio", "application/json", 400),
    ],
)
async def test_what_is_read_at_one_go_is_no_larger_than_a_message(path, kind, status):
    async with client(application(LOCAL_WS_MAX_MESSAGE_BYTES="1000")) as http:
        answer = await http.post(path, content=b"x" * 1001, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert (status == 413) == ("LOCAL_WS_MAX_MESSAGE_BYTES" in answer.text)


@pytest.mark.parametrize("path", ["/json", "/api/audio"])
async def test_json_of_very_many_parts_is_not_read(path):
    parts = b"{" + b",".join(b'"%d": 1' % at for at in range(50_002)) + b"}"
    async with client(application()) as http:
        answer = await http.post(path, content=parts, headers={"Content-Type": "application/json"})
        form = await http.post("/length", content=parts, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "message_too_large")
    assert form.status_code == 200


async def test_what_a_stranger_sends_after_a_refusal_is_not_read():
    async with client(application(LOCAL_WS_AUTH_TOKEN=TOKEN)) as http:
        answer = await http.post("/length", content=b"x")
    assert (answer.status_code, answer.headers["connection"]) == (401, "close")


@pytest.mark.parametrize(
    "code, status", [("invalid_message", 400), ("stt_unavailable", 503), ("timeout", 504), ("internal_error", 500)]
)
async def test_what_a_model_refuses_has_a_status_and_a_code(code, status):
    async with client(application()) as http:
        answer = await http.get(f"/fail/{code}")
    assert answer.status_code == status
    kind = "server_error" if status >= 500 else "invalid_request_error"
    assert answer.json() == {"error": {"message": "because", "type": kind, "code": code, "param": None}}
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)


async def test_an_invalid_body_is_not_repeated():
    async with client(application()) as http:
        answer = await http.post("/json", json={"a": "my name is Ann"})
        broken = await http.post("/json", content=b"{Ann", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "a")
    assert broken.status_code == 400
    assert "Ann" not in answer.text + broken.text


async def test_work_ends_when_its_client_leaves():
    messages = asyncio.Queue()
    request = Request({"type": "http", "method": "POST", "path": "/x", "headers": []}, messages.get)
    ended = asyncio.Event()

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    serving = asyncio.create_task(while_connected(request, work()))
    await asyncio.sleep(0)
    messages.put_nowait({"type": "http.disconnect"})
    with pytest.raises((ClientGone, ClientDisconnect)):
        await serving
    assert ended.is_set()


async def test_work_that_fails_says_so():
    request = Request({"type": "http", "method": "POST", "path": "/x", "headers": []}, asyncio.Queue().get)

    async def work():
        raise ServeError("timeout", "late")

    with pytest.raises(ServeError, match="late"):
        await while_connected(request, work())
