"""Two callers, one worker: what the first one may have said is never done before what the second one has said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from model_worker.link import WorkerLink
from model_worker.spec import Priority, WorkerSpec

HERE = str(Path(__file__).parent)
LIMIT_S = 60.0


@asynccontextmanager
async def running(**options) -> AsyncIterator[WorkerLink]:
    link = WorkerLink(WorkerSpec(model="worker_models:Echo", env={"PYTHONPATH": HERE}, **options))
    await link.start()
    try:
        yield link
    finally:
        await link.stop(drain_s=0)


async def order_of(link: WorkerLink) -> list[str]:
    return (await link.request("marks"))[0]["order"]


async def until(condition, link: WorkerLink) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition(await link.probe(deadline_s=LIMIT_S)):
            await asyncio.sleep(0.01)


def guess(link: WorkerLink, method: str, **args) -> asyncio.Task:
    return asyncio.create_task(link.request(method, args, priority=Priority.SPECULATIVE))


async def test_a_second_callers_turn_goes_before_all_guesses_that_wait():
    async with running() as link:
        first = guess(link, "until_cancelled")
        await until(lambda now: now["running"] == 1, link)
        guesses = [guess(link, "mark", name=f"guess {n}") for n in range(5)]
        await until(lambda now: now["waiting"] == 5, link)
        live = asyncio.create_task(link.request("mark", {"name": "live"}, priority=Priority.LIVE))
        await until(lambda now: now["waiting"] == 6, link)
        final = asyncio.create_task(link.request("mark", {"name": "final"}, priority=Priority.FINAL))
        await until(lambda now: now["waiting"] == 7, link)
        first.cancel()  # the first caller goes on
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(live, final, *guesses)
        assert await order_of(link) == ["began", "cancelled", "final", "live", *(f"guess {n}" for n in range(5))]


async def test_guesses_never_fill_a_worker_that_can_do_several_things():
    async with running(concurrency=3) as link:
        guesses = [guess(link, "until_cancelled") for _ in range(4)]
        await until(lambda now: (now["running"], now["waiting"]) == (1, 3), link)
        async with asyncio.timeout(LIMIT_S):
            await link.request("mark", {"name": "final"}, priority=Priority.FINAL)
            await link.request("mark", {"name": "live"}, priority=Priority.LIVE)
        assert await order_of(link) == ["began", "final", "live"], "while the guess still runs"
        for task in guesses:
            task.cancel()
        await asyncio.gather(*guesses, return_exceptions=True)


async def test_guesses_that_are_thrown_away_while_they_wait_are_never_done():
    async with running() as link:
        first = guess(link, "until_cancelled")
        await until(lambda now: now["running"] == 1, link)
        guesses = [guess(link, "mark", name=f"guess {n}") for n in range(3)]
        await until(lambda now: now["waiting"] == 3, link)
        for task in (*guesses, first):
            task.cancel()
        for task in (*guesses, first):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await order_of(link) == ["began", "cancelled"]
        await until(lambda now: (now["running"], now["waiting"]) == (0, 0), link)
