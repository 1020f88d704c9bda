"""A call's line and Asterisk's answers: what was asked for is destroyed after it was made, never before."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.ids import OwnIds
from ai_engine.call_line import CallLine
from ai_engine.media.line_choice import LineChoice
from ai_engine.media.line_registry import Lines
from ai_engine.media.lines import MediaChannelRequest
from ai_engine.media.pacer import MediaLoop


class SlowAsterisk:
    """Answers what makes something only when it is let; notes each request when it is done."""

    app = "parley"

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.asked: list[str] = []
        self.done: list[str] = []

    async def request(self, method: str, path: str, **_: Any) -> dict[str, Any]:
        self.asked.append(f"{method} {path}")
        if method == "POST" and path in ("/bridges", "/channels/externalMedia"):
            await self.answers.wait()
        self.done.append(f"{method} {path}")
        if path == "/bridges":
            return {"id": "b", "technology": "simple_bridge", "bridge_type": "mixing", "channels": []}
        return {"id": "m", "name": "m", "state": "Up"}


class FakeLane:
    def adopt(self, object_id: str) -> None:
        pass


class FakeTransport:
    closed = False

    async def close(self) -> None:
        self.closed = True


class FakeLine:
    def __init__(self) -> None:
        self.transport = FakeTransport()

    request = MediaChannelRequest("INCOMING", "ulaw", transport="websocket")

    async def connected(self, *_: object) -> None:
        raise AssertionError("the call has ended")


class FakeLines:
    async def open(self, *_: object) -> FakeLine:
        return FakeLine()


@pytest.mark.parametrize("twice", [False, True])
async def test_a_call_that_ends_while_asterisk_makes_its_channel_destroys_it_afterwards(twice: bool) -> None:
    """A cancelled request is carried out all the same; a channel that nobody connects to would stay for 30 s."""
    asterisk = SlowAsterisk()
    media = MediaLoop()
    media.start()
    line = CallLine(
        "call-1",
        "caller",
        ari=cast(AriClient, asterisk),
        ids=OwnIds("parley"),
        lane=cast(Lane, FakeLane()),
        media=media,
    )
    choice = LineChoice("websocket", "ulaw", "off")
    await line.open(cast(Lines, FakeLines()), choice, otherwise=choice)
    connecting = asyncio.create_task(line.connect())
    async with asyncio.timeout(30):
        while len(asterisk.asked) < 3:
            await asyncio.sleep(0)
        connecting.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not connecting.done()
        if twice:
            connecting.cancel()
        asterisk.answers.set()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await line.close(hang_up=False, fallback=None)
    made = [asterisk.done.index("POST /channels/externalMedia"), asterisk.done.index("POST /bridges")]
    destroyed = [n for n, what in enumerate(asterisk.done) if what.startswith("DELETE")]
    assert len(destroyed) == 2
    assert max(made) < min(destroyed)
    media.stop()


async def test_the_transport_is_given_back_though_asterisk_does_not_answer() -> None:
    """And before anything else: Asterisk waits for an AudioSocket that is open and that nobody ticks."""
    asterisk = SlowAsterisk()

    async def never(method: str, path: str, **_: Any) -> None:
        asterisk.asked.append(f"{method} {path}")
        await asyncio.Event().wait()

    asterisk.request = never  # type: ignore[method-assign, assignment]
    media = MediaLoop()
    media.start()
    line = CallLine(
        "call-1",
        "caller",
        ari=cast(AriClient, asterisk),
        ids=OwnIds("parley"),
        lane=cast(Lane, FakeLane()),
        media=media,
    )
    choice = LineChoice("audiosocket", "slin", "off")
    await line.open(cast(Lines, FakeLines()), choice, otherwise=choice)
    transport = cast(FakeTransport, line.transport)
    closing = asyncio.create_task(line.close(hang_up=True, fallback=None))
    async with asyncio.timeout(30):
        while not asterisk.asked:
            await asyncio.sleep(0.005)
    assert transport.closed
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    media.stop()
