"""Native code that goes on after its cancel: waited for, or, by option, killed when others wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model_worker.backoff import Backoff
from model_worker.errors import WorkerDied
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec

HERE = str(Path(__file__).parent)
LIMIT_S = 0.3


@pytest.fixture
async def start():
    links: list[WorkerLink] = []

    async def start(**options) -> WorkerLink:
        options = {"ready_wait_s": 30.0, "kill_after_cancel_s": LIMIT_S} | options
        spec = WorkerSpec(model="worker_models:Echo", env={"PYTHONPATH": HERE}, **options)
        links.append(WorkerLink(spec, backoff=Backoff(first_s=0.05)))
        await links[-1].start()
        return links[-1]

    yield start
    await asyncio.gather(*(link.stop(drain_s=0) for link in links))


async def leave_running(link: WorkerLink, seconds: float = 60) -> None:
    """A call into native code that has begun, and that nobody waits for any more."""
    async with link.call("busy", {"seconds": seconds}):
        await until_all_run(link)


async def until_all_run(link: WorkerLink) -> None:
    async with asyncio.timeout(20):
        while (await link.probe(deadline_s=10))["running"] < link.calls_in_flight:
            await asyncio.sleep(0.01)


async def test_those_who_wait_are_told_and_the_next_are_served(start):
    link = await start()
    async with link.call("busy", {"seconds": 60}):
        await until_all_run(link)
        waiting = asyncio.create_task(link.request("echo"))
        await asyncio.sleep(0)  # it is sent before the first is left
        assert link.calls_in_flight == 2
    with pytest.raises(WorkerDied, match=r"did not obey a cancel within 0\.3 s, and others waited") as caught:
        await waiting
    assert caught.value.retryable
    assert await link.request("echo", {"n": 1}) == ({"n": 1}, b"")
    assert link.stats().restarts == 1


async def test_a_call_that_comes_later_goes_to_the_next_worker_unharmed(start):
    link = await start()
    first = link._process
    await leave_running(link)
    await asyncio.sleep(2 * LIMIT_S)  # the limit passes, nobody waits, and the worker is left alone
    assert not first.ended.done()
    assert await link.request("echo", {"n": 1}) == ({"n": 1}, b"")
    assert link.stats().restarts == 1


async def test_while_a_slot_is_free_nobody_is_killed(start):
    link = await start(concurrency=2)
    await leave_running(link)
    await asyncio.sleep(2 * LIMIT_S)
    assert await link.request("echo", {"n": 1}) == ({"n": 1}, b"")
    assert link.stats().restarts == 0


async def test_a_cancel_that_is_obeyed_kills_nobody(start):
    link = await start()
    async with link.call("until_cancelled"):
        await asyncio.sleep(0.05)
    await asyncio.sleep(2 * LIMIT_S)
    assert await link.request("echo", {"n": 1}) == ({"n": 1}, b"")
    assert link.stats().restarts == 0


async def test_without_the_option_those_who_wait_do_so(start):
    link = await start(kill_after_cancel_s=None)
    await leave_running(link, seconds=0.5)
    assert await link.request("echo", {"n": 1}) == ({"n": 1}, b"")
    assert link.stats().restarts == 0
