"""The engine's HTTP pages: who may see what, and that watchers are let go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from ai_engine.http_api import HttpApi, Readiness
from ai_engine.live_events import BACKLOG, LiveEvents
from ai_engine.metrics import Metrics


class StubEngine:
    is_ready = True

    def ready(self) -> Readiness:
        return Readiness() if self.is_ready else Readiness("Asterisk refused the password", retryable=False)

    def health(self) -> dict[str, Any]:
        return {"calls": 0}

    def sessions(self) -> list[dict[str, Any]]:
        return [{"call_id": "c1"}]

    async def record(self, call_id: str, action: str) -> str | None:
        if action not in {"pause", "resume", "stop", "discard"}:
            raise ValueError(f"there is no action {action!r}")
        return {"c1": "paused", "c2": None}[call_id]


@asynccontextmanager
async def serving(token: str = "") -> AsyncIterator[tuple[str, StubEngine, LiveEvents, aiohttp.ClientSession]]:
    engine, live = StubEngine(), LiveEvents()
    api = HttpApi(engine, Metrics(), live, bind="127.0.0.1", port=0, token=token)
    port = await api.start()
    async with aiohttp.ClientSession() as client:
        try:
            yield f"http://127.0.0.1:{port}", engine, live, client
        finally:
            await api.stop()


async def test_liveness_readiness_and_health_are_open() -> None:
    async with serving("secret") as (url, engine, _, client):
        assert (await client.get(f"{url}/live")).status == 200
        assert (await client.get(f"{url}/ready")).status == 200
        engine.is_ready = False
        refused = await client.get(f"{url}/ready")
        assert refused.status == 503
        page = {"ready": False, "reason": "Asterisk refused the password", "retryable": False}
        assert await refused.json() == page
        assert await (await client.get(f"{url}/health")).json() == {"calls": 0}
        assert "parley_calls_active" in await (await client.get(f"{url}/metrics")).text()


@pytest.mark.parametrize(
    ("header", "status"), [(None, 401), ("Bearer wrong", 401), ("Basic secret", 401), ("Bearer secret", 200)]
)
async def test_callers_data_wants_the_token(header: str | None, status: int) -> None:
    async with serving("secret") as (url, _, _, client):
        headers = {"Authorization": header} if header else {}
        assert (await client.get(f"{url}/sessions", headers=headers)).status == status


@pytest.mark.parametrize("token", ["secret", ""])
@pytest.mark.parametrize("header", [b"Authorization: Bearer \xff\xfe", b"Authorization: \xff", b"X: 1"])
@pytest.mark.parametrize("host", [b"\xff", b"localhost:99999999", b"evil.example#@", b"[", b""])
async def test_headers_that_are_none_are_refused_and_break_nothing(token: str, header: bytes, host: bytes) -> None:
    async with serving(token) as (url, _, _, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /sessions HTTP/1.1\r\nHost: " + host + b"\r\n" + header + b"\r\n\r\n")
        answer = await reader.readline()
        writer.close()
    assert answer.split()[1] in {b"400", b"401", b"403"}


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("localhost", 200), ("evil.example", 403)])
async def test_without_a_token_only_loopback_names_are_served(host: str, status: int) -> None:
    async with serving() as (url, _, _, client):
        assert (await client.get(f"{url}/sessions", headers={"Host": host})).status == status


async def test_a_recording_is_steered_by_json() -> None:
    async with serving("secret") as (url, _, _, client):
        headers = {"Authorization": "Bearer secret"}
        answer = await client.post(f"{url}/sessions/c1/recording", json={"action": "pause"}, headers=headers)
        assert (answer.status, await answer.json()) == (200, {"call_id": "c1", "recording": "paused"})
        for call_id, status in (("c2", 409), ("c3", 404), ("..%2F..%2Fc1", 404), ("%00", 404)):
            answer = await client.post(f"{url}/sessions/{call_id}/recording", json={"action": "stop"}, headers=headers)
            assert answer.status == status, call_id
            assert (await answer.json())["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ('{"action": "pause"}', "text/plain", 415),
        ('{"action": "pause"}', "application/x-www-form-urlencoded", 415),
        ("", "application/json", 400),
        ("[1]", "application/json", 400),
        ('"pause"', "application/json", 400),
        ('{"action": 1}', "application/json", 400),
        ('{"action": "explode"}', "application/json", 400),
        ("\ud83d", "application/json", 400),
    ],
)
async def test_what_is_not_asked_in_the_right_way_changes_nothing(body: str, kind: str, status: int) -> None:
    async with serving() as (url, _, _, client):
        sent = body.encode(errors="surrogatepass")
        answer = await client.post(f"{url}/sessions/c1/recording", data=sent, headers={"Content-Type": kind})
        assert answer.status == status


async def test_a_recording_is_not_steered_without_the_token() -> None:
    async with serving("secret") as (url, _, _, client):
        assert (await client.post(f"{url}/sessions/c1/recording", json={"action": "pause"})).status == 401
    async with serving() as (url, _, _, client):
        foreign = {"Host": "evil.example"}
        answer = await client.post(f"{url}/sessions/c1/recording", json={"action": "pause"}, headers=foreign)
        assert answer.status == 403


async def test_events_are_streamed_and_a_watcher_who_leaves_is_let_go() -> None:
    async with serving() as (url, _, live, client):
        async with client.get(f"{url}/events") as response:
            assert await response.content.readline() == b": watching\n"
            live.publish("caller_turn", call_id="c1", text="<b>hello</b>\n")
            await response.content.readline()
            event = json.loads((await response.content.readline()).removeprefix(b"data: "))
            assert (event["type"], event["text"]) == ("caller_turn", "<b>hello</b>\n")
        async with asyncio.timeout(30):
            while live._watchers:
                await asyncio.sleep(0.01)


async def test_a_slow_watcher_loses_the_oldest_and_is_told() -> None:
    live = LiveEvents(wall_clock=lambda: 1.0)
    with live.watch() as watcher:
        for number in range(BACKLOG + 3):
            live.publish("tick", number=number)
        live.close()
        events = [event async for event in watcher]
    assert events[0] == {"type": "missed", "count": 3}
    assert [e["number"] for e in events[1:]] == list(range(3, BACKLOG + 3))


async def test_a_taken_port_is_an_error_and_leaves_nothing() -> None:
    async with serving() as (url, _, _, _client):
        port = int(url.rsplit(":", 1)[1])
        second = HttpApi(StubEngine(), Metrics(), LiveEvents(), bind="127.0.0.1", port=port, token="")
        with pytest.raises(OSError, match="address already in use"):
            await second.start()


async def test_whatever_a_caller_is_called_an_event_is_one_event() -> None:
    async with serving() as (url, _, live, client), client.get(f"{url}/events") as response:
        assert await response.content.readline() == b": watching\n"
        live.publish("call_started", caller_number="\ud800\n\ndata: fake\r\nevent: x")
        await response.content.readline()
        data = await response.content.readline()
        assert json.loads(data.removeprefix(b"data: "))["caller_number"] == "?\n\ndata: fake\r\nevent: x"
