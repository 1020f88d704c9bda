"""Requests to a real server on loopback: in a call, before it, after it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from aiohttp import web

from ai_engine.config_file import ConfigError
from ai_engine.tools.call_hooks import AfterCall, BeforeCall, CallFacts, CallRecord, HookFailed, Spoken
from ai_engine.tools.http_request import HttpRequest, make_http_request
from ai_engine.tools.registry import ToolServices
from ai_engine.tools.runner import ToolRunner
from ai_engine.tools.tool import ToolCallScope, ToolFailed

SCOPE = ToolCallScope(
    call_id="c1",
    context="clinic",
    caller_number="+49 170/1",
    caller_name="Ann",
    dialed_number="700",
    language="en",
    line=None,  # type: ignore[arg-type] - not touched
    variables={"ai_tenant": "north", "lookup_id": "7"},
)
FACTS = CallFacts("c1", "clinic", "+49 170/1", "Ann", "700", "en", {"ai_tenant": "north", "caller_name": "Ann"})
BEGAN = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
RECORD = CallRecord(
    FACTS,
    "caller_hung_up",
    BEGAN,
    BEGAN + timedelta(seconds=61.24),
    (Spoken("agent", "Hello."), Spoken("caller", "Bye.")),
)


@dataclass
class Crm:
    """A server whose answers are said before."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    answers_after: asyncio.Event | None = None
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        if self.answers_after is not None:
            await self.answers_after.wait()
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def crm() -> AsyncIterator[Crm]:
    server = Crm()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    yield server
    if server.answers_after is not None:
        server.answers_after.set()
    await runner.cleanup()


@contextlib.asynccontextmanager
async def request(crm: Crm, path: str = "/", **options: Any) -> AsyncIterator[HttpRequest]:
    services = ToolServices(environment={"TOOL_CRM_KEY": "s3cret"})
    whole = {
        "url": f"http://127.0.0.1:{crm.port}{path}",
        "allow_private": ["127.0.0.1"],
        "ports": [crm.port],
        "timeout_s": 30,
        **options,
    }
    try:
        yield make_http_request("crm", whole, services)
    finally:
        await services.clients.close()


PARAMETERS = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["order"],
}


async def test_the_model_asks_and_is_told(crm: Crm) -> None:
    crm.body = json.dumps({"orders": [{"status": "sent", "days": 2}]}).encode()
    async with request(
        crm,
        "/{ai_tenant}/orders/{order}?from={caller_number}",
        method="POST",
        parameters=PARAMETERS,
        headers={"X-Caller": "{caller_name}"},
        keys={"Authorization": "Bearer {TOOL_CRM_KEY}"},
        body={"count": "{count}", "note": "for {caller_name}"},
        answer="It is {orders.0.status}, {orders.0.days} days, {orders.0.cost}.",
    ) as tool:
        result = await ToolRunner([tool]).run("crm", {"order": "A 1/2", "count": 3}, SCOPE)
    assert (result.text, result.ok) == ("It is sent, 2 days, (not there).", True)
    method, path, headers, body = crm.asked[0]
    assert (method, path) == ("POST", "/north/orders/A%201%2F2?from=%2B49%20170%2F1")
    assert (headers["Authorization"], headers["X-Caller"]) == ("Bearer s3cret", "Ann")
    assert headers["Host"] == f"127.0.0.1:{crm.port}"
    assert json.loads(body) == {"count": 3, "note": "for Ann"}


async def test_the_callers_number_is_not_the_models_to_choose(crm: Crm) -> None:
    async with request(crm, "/?from={caller_number}") as tool:
        await tool.run(SCOPE, {"caller_number": "666"})
    assert crm.asked[0][1] == "/?from=%2B49%20170%2F1"


ANSWERS: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "all of it": ({}, b'{"a": 1}\n', '{"a": 1}'),
    "text": ({}, "Grüß Gott".encode(), "Grüß Gott"),
    "nothing": ({}, b"", "It was done; the server said nothing more."),
    "a part": ({"pick": "a.1"}, b'{"a": [1, {"b": "\xc3\xbc"}]}', '{"b": "ü"}'),
    "a missing part": ({"pick": "b"}, b"{}", "(not there)"),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_what_the_model_is_told(crm: Crm, case: str) -> None:
    options, crm.body, told = ANSWERS[case]
    async with request(crm, **options) as tool:
        assert (await tool.run(SCOPE, {})).text == told


async def test_a_status_may_have_words_of_its_own(crm: Crm) -> None:
    crm.status = 404
    async with request(crm, on_status={404: "There is no such order."}) as tool:
        assert (await tool.run(SCOPE, {})).text == "There is no such order."


FAILURES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "status": ({"status": 500}, {}, "status 500"),
    "redirect": ({"status": 302, "headers": {"Location": "http://169.254.169.254/"}}, {}, "another address"),
    "too long": ({"body": b"x" * 101}, {"max_bytes": 100}, "longer than 100 bytes"),
    "no JSON": ({"body": b"<html>"}, {"pick": "a"}, "no JSON"),
    "nested without end": ({"body": b"[" * 5000}, {"pick": "a"}, "no JSON"),
    "compressed": ({"body": gzip.compress(b"x" * 10**6), "headers": {"Content-Encoding": "gzip"}}, {}, "compressed"),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_answers_that_are_refused(crm: Crm, case: str) -> None:
    answer, options, told = FAILURES[case]
    for name, value in answer.items():
        setattr(crm, name, value)
    async with request(crm, **options) as tool:
        with pytest.raises(ToolFailed, match=told):
            await tool.run(SCOPE, {})
    assert len(crm.asked) == 1


async def test_a_server_that_is_not_there_or_not_allowed_is_not_reached(crm: Crm) -> None:
    url = f"http://localhost:{crm.port}/?name={{caller_name}}"
    with structlog.testing.capture_logs() as logs:
        async with request(crm, url=url, allow_private=[]) as tool:
            with pytest.raises(ToolFailed, match="could not be reached"):
                await tool.run(SCOPE, {})
    assert "allow_private" in logs[0]["error"]
    assert "Ann" not in str(logs)
    assert crm.asked == []


async def test_a_slow_server_is_given_up_in_the_call(crm: Crm) -> None:
    crm.answers_after = asyncio.Event()
    async with request(crm, timeout_s=0.05) as tool:
        result = await ToolRunner([tool]).run("crm", {}, SCOPE)
    assert not result.ok
    assert "No answer came" in result.text


async def test_no_cookie_goes_from_one_call_to_the_next(crm: Crm) -> None:
    crm.headers = {"Set-Cookie": "session=1"}
    async with request(crm) as tool:
        await tool.run(SCOPE, {})
        await tool.run(SCOPE, {})
    assert "Cookie" not in crm.asked[1][2]


async def test_a_look_up_before_the_call(crm: Crm) -> None:
    crm.body = b'{"name": "Ann Lee", "orders": [{"id": 5}], "vip": null, "list": []}'
    names = {"name": "name", "order": "orders.0.id", "vip": "vip", "list": "list"}
    async with request(crm, "/{caller_number}", variables=names, defaults={"vip": "no"}) as tool:
        assert isinstance(tool, BeforeCall)
        assert tool.lookup_variables == {"name": "", "order": "", "vip": "no", "list": ""}
        assert await tool.look_up(FACTS) == {"name": "Ann Lee", "order": "5"}
        crm.status = 503
        with pytest.raises(HookFailed, match="503"):
            await tool.look_up(FACTS)


async def test_a_webhook_after_the_call_tells_all_of_it(crm: Crm) -> None:
    async with request(crm, "/hook", method="POST") as tool:
        assert isinstance(tool, AfterCall)
        await tool.after_call(RECORD, "All is well.")
    told = json.loads(crm.asked[0][3])
    assert told == {
        "call_id": "c1", "context": "clinic", "caller_number": "+49 170/1", "caller_name": "Ann",
        "dialed_number": "700", "language": "en", "summary": "All is well.", "outcome": "caller_hung_up",
        "transcript": "Agent: Hello.\nCaller: Bye.", "duration_s": 61.2,
        "ai_tenant": "north", "turns": [{"who": "agent", "text": "Hello."}, {"who": "caller", "text": "Bye."}],
        "began_at": "2026-11-20T09:30:00+00:00", "ended_at": "2026-11-20T09:31:01+00:00",
    }  # fmt: skip


@pytest.mark.parametrize(("status", "retryable"), [(500, True), (503, True), (429, True), (400, False), (301, False)])
async def test_which_refusals_of_a_webhook_are_tried_again(crm: Crm, status: int, retryable: bool) -> None:
    crm.status = status
    async with request(crm, method="POST") as tool:
        with pytest.raises(HookFailed) as failure:
            await tool.after_call(RECORD, "")
    assert failure.value.retryable is retryable


WRONG: dict[str, dict[str, Any]] = {
    "port 8080 is not among": {"url": "http://crm.example:8080/"},
    "no public address": {"url": "http://127.0.0.1/"},
    "fixed": {"url": "https://{caller_name}/"},
    "user and password": {"url": "https://a:b@crm.example/"},
    "unknown variable {orderr}": {"url": "https://crm.example/{orderr}"},
    "caller_number is a variable of the call": {"parameters": {"type": "object", "properties": {"caller_number": {}}}},
    "TOOL_MISSING, which is not set": {"keys": {"Authorization": "{TOOL_MISSING}"}},
    "never the secret itself": {"keys": {"Authorization": "Bearer abc"}},
    "is no environment variable": {"keys": {"Authorization": "{caller_name}"}},
    "Host is not yours": {"headers": {"Host": "x"}},
    "vip is not among": {"defaults": {"vip": "no"}},
    "no host name, address or network": {"allow_private": ["10.0.0.0/33"]},
    "did you mean `timeout_s`": {"timeout": 3},
    "summary.key": {"summary": {"base_url": "http://127.0.0.1:1/v1", "key": "TOOL_NO_KEY"}},
}


@pytest.mark.parametrize("complaint", WRONG)
def test_what_is_wrong_in_the_configuration_is_said(complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_http_request("crm", {"url": "https://crm.example/", **WRONG[complaint]}, ToolServices())
    assert complaint in str(error.value)
