"""Connections on which nothing is asked do not keep others out: the server's port over a real socket."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect

from local_ai_server import half_open
from tests.local_ai_server.fake_services import FakeServices
from tests.local_ai_server.http_api.chat_server import serving

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


async def opened(held, url, sent=b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].partition("/")[0]))
    held.callback(writer.close)
    writer.write(sent)
    return reader, writer


@pytest.mark.parametrize(
    "sent",
    [b"", HEALTH, HEALTH + b"Content-Length: 9\r\n\r\n", HEALTH + b"\r\n", HEALTH + b"\r\n" + HEALTH],
)
async def test_who_asks_nothing_is_closed_however_slowly_he_sends(monkeypatch, sent):
    monkeypatch.setattr(half_open, "DEADLINE_S", 1.0)
    async with serving(FakeServices().switchboard) as url, AsyncExitStack() as held, asyncio.timeout(20):
        reader, writer = await opened(held, url, sent)

        async def drip():
            while True:
                await asyncio.sleep(0.1)
                writer.write(b"X")

        dripping = asyncio.create_task(drip())
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        finally:
            dripping.cancel()


async def test_the_one_that_has_waited_for_longest_goes_when_there_are_many(monkeypatch):
    monkeypatch.setattr(half_open, "MAX_HALF_OPEN", 3)
    async with serving(FakeServices().switchboard) as url, AsyncExitStack() as held, asyncio.timeout(20):
        first, _ = await opened(held, url)
        second, sends = await opened(held, url, HEALTH)
        for _ in range(2):
            await opened(held, url)
        assert await first.read() == b""
        sends.write(b"\r\n")
        assert (await second.readline()).startswith(b"HTTP/1.1 200")


async def test_requests_and_sessions_have_no_such_deadline(monkeypatch):
    monkeypatch.setattr(half_open, "DEADLINE_S", 0.2)
    services = FakeServices()
    services.llm.held = True
    body = b'{"messages": [{"role": "user", "content": "hi"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    async with serving(services.switchboard) as url, AsyncExitStack() as held, asyncio.timeout(20):
        reader, _ = await opened(held, url, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        session = await held.enter_async_context(connect(f"ws{url.removeprefix('http').removesuffix('/v1')}/"))
        silent, _ = await opened(held, url)
        assert await silent.read() == b"", "the deadline has passed"
        await session.send('{"type": "ping"}')
        assert "pong" in await session.recv()
        while not services.llm.calls:
            await asyncio.sleep(0.01)
        services.llm.calls[0].release()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
