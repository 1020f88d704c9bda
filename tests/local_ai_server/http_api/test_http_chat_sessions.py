"""Which requests share a place in the prefix cache, and that every place is given back."""

import asyncio

import pytest

from local_ai_server.http_api import chat_sessions
from local_ai_server.http_api.chat_sessions import IDLE_S, MAX_KEYS, ChatSessions
from tests.local_ai_server.fake_services import FakeServices, settle


class Rig:
    def __init__(self):
        self.now = 0.0
        self.services = FakeServices()
        self.sessions = ChatSessions(self.services.switchboard, clock=lambda: self.now)

    async def name(self, key):
        async with self.sessions.session(key) as name:
            return name

    async def forgotten(self):
        await self.sessions.close()
        return [call.args["session"] for call in self.services.llm.calls if call.method == "forget"]


async def test_a_key_is_one_place_and_no_other():
    rig = Rig()
    first, again, other = [await rig.name(key) for key in ("a", "a", "b")]
    assert first == again != other
    assert not first.startswith("session-")  # those are the WebSocket's
    assert await rig.forgotten() == []


async def test_without_a_key_the_place_is_given_back():
    rig = Rig()
    first, second = await rig.name(None), await rig.name(None)
    assert first != second
    assert await rig.forgotten() == [first, second]
    assert len(rig.sessions) == 0


async def test_a_failure_gives_it_back_as_well():
    rig = Rig()
    with pytest.raises(ZeroDivisionError):
        async with rig.sessions.session(None) as name:
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        async with rig.sessions.session("a") as kept:
            raise ZeroDivisionError
    assert await rig.forgotten() == [name]
    assert await rig.name("a") == kept


async def test_what_nobody_used_for_long_is_forgotten():
    rig = Rig()
    old = await rig.name("a")
    rig.now = IDLE_S / 2
    kept = await rig.name("b")
    rig.now = IDLE_S + 1
    assert await rig.name("b") == kept
    assert await rig.forgotten() == [old]
    assert await rig.name("a") != old


async def test_there_are_not_more_than_so_many():
    rig = Rig()
    async with rig.sessions.session("busy") as busy:
        names = [await rig.name(str(number)) for number in range(MAX_KEYS + 10)]
        assert len(rig.sessions) <= MAX_KEYS
    forgotten = await rig.forgotten()
    assert forgotten == names[: len(forgotten)]
    assert busy not in forgotten


async def test_one_that_follows_closely_has_the_place_of_the_one_before():
    rig = Rig()
    async with rig.sessions.session("a") as first:
        second = asyncio.create_task(rig.name("a"))
        await settle()
        assert not second.done()
    assert await second == first


async def test_one_that_would_wait_for_long_goes_elsewhere(monkeypatch):
    monkeypatch.setattr(chat_sessions, "BUSY_WAIT_S", 0.01)
    rig = Rig()
    async with rig.sessions.session("a") as first:
        elsewhere = await rig.name("a")
        assert elsewhere != first
        assert await rig.forgotten() == [elsewhere]
    assert await rig.name("a") == first


async def test_one_that_leaves_while_it_waits_leaves_nothing_behind():
    rig = Rig()
    async with rig.sessions.session("a"):
        waiting = asyncio.create_task(rig.name("a"))
        await settle()
        waiting.cancel()
        await asyncio.wait([waiting])
    rig.now = IDLE_S + 1
    await rig.name("b")
    assert len(rig.sessions) == 1  # nobody is thought to be still using "a"
