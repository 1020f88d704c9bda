"""Replicas: the least loaded is called, what keeps state is kept together, and the death of one is the others' work."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from model_worker.backoff import Backoff
from model_worker.errors import WorkerDied, WorkerUnavailable
from model_worker.pool import WorkerPool
from model_worker.spec import WorkerSpec

HERE = str(Path(__file__).parent)


def pool_of(replicas: int, **options) -> WorkerPool:
    spec = WorkerSpec(**{"model": "worker_models:Echo", "env": {"PYTHONPATH": HERE}, "ready_wait_s": 30.0} | options)
    return WorkerPool(spec, replicas=replicas, backoff=lambda: Backoff(first_s=0.05))


@asynccontextmanager
async def running(replicas: int, **options):
    pool = pool_of(replicas, **options)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop(drain_s=0)


async def member_of(pool: WorkerPool, **args) -> int:
    """The index of the member that takes a call with these arguments."""
    before = [member.stats().calls_started for member in pool.members]
    await pool.request("echo", args)
    after = [member.stats().calls_started for member in pool.members]
    return next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if b > a)


async def test_calls_run_on_all_replicas_at_once():
    async with running(3) as pool:
        async with pool.call("until_cancelled"), pool.call("until_cancelled"), pool.call("until_cancelled"):
            assert [member.calls_in_flight for member in pool.members] == [1, 1, 1]
            assert (pool.stats().calls_in_flight, pool.stats().queue_depth) == (3, 0)
            use = await pool.memory()
        assert len(use.pids) == 3
        assert pool.stats().rss_bytes > max(member.stats().rss_bytes for member in pool.members)
        assert pool.stats().calls_started == 3
    assert pool.state == "stopped"
    assert await pool.memory() is None


async def test_one_dies_and_the_others_go_on():
    async with running(2) as pool:
        states: list[str] = []
        pool.on_state_change = states.append
        async with pool.call("until_cancelled") as struck:
            victim = next(member for member in pool.members if member.calls_in_flight)
            process = victim._process
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(WorkerDied, match="SIGKILL"):
                await struck.finish()
        assert pool.state == "ready"
        answers = await asyncio.gather(*(pool.request("echo", {"n": n}) for n in range(20)))
        assert [header["n"] for header, _ in answers] == list(range(20))
        async with asyncio.timeout(30):
            while victim.state != "ready":
                await asyncio.sleep(0.02)
        assert pool.stats().restarts == 1
        assert states == []


async def test_all_die_and_calls_wait_for_the_first_that_is_back():
    async with running(2) as pool:
        processes = [member._process for member in pool.members]
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        await asyncio.gather(*(process.ended for process in processes))
        assert await pool.request("echo", {"n": 1}) == ({"n": 1}, b"")


async def test_the_calls_of_one_stream_go_to_one_worker_however_busy():
    async with running(2) as pool:
        home = await member_of(pool, stream="u1")
        async with pool.members[home].call("count", {"to": 400, "pause_s": 0.01}):
            assert await member_of(pool, stream="u2") != home
            waiting = asyncio.create_task(member_of(pool, stream="u1"))
            await asyncio.sleep(0)
        assert await waiting == home


async def test_a_session_comes_back_to_its_worker_unless_another_is_free():
    async with running(2) as pool:
        home = await member_of(pool, session="s1")
        other = 1 - home
        assert [await member_of(pool, session="s1") for _ in range(3)] == [home] * 3
        async with pool.members[home].call("until_cancelled"):
            assert await member_of(pool, session="s1") == other
        assert await member_of(pool, session="s1") == other


async def test_a_session_whose_worker_died_goes_elsewhere():
    async with running(2) as pool:
        home = await member_of(pool, session="s1", stream=None)
        process = pool.members[home]._process
        os.kill(process.pid, signal.SIGKILL)
        await process.ended
        assert (await pool.request("echo", {"session": "s1"}))[0] == {"session": "s1"}


async def test_a_pool_that_cannot_start_says_why_and_leaves_nothing(tmp_path):
    pool = pool_of(3, model="worker_models:FailsToLoad", settings={"path": "/x"})
    with pytest.raises(WorkerUnavailable, match="no weights at /x"):
        await pool.start()
    assert pool.state == "failed"
    assert "no weights at /x" in pool.reason
    assert [member.stats().pid for member in pool.members] == [None] * 3
    with pytest.raises(WorkerUnavailable, match=r"failed: .*no weights"):
        await pool.request("echo")


async def test_a_later_replica_that_fails_takes_the_others_with_it(tmp_path):
    """The canary's second life hangs: the second replica."""
    settings = {"path": str(tmp_path / "lives"), "good": 1}
    canary = {"canary": ("sing", {}), "canary_deadline_s": 1.0}
    pool = pool_of(2, model="worker_models:DeafCanary", settings=settings, **canary)
    with pytest.raises(WorkerUnavailable, match="sing was not finished"):
        await pool.start()
    assert pool.state == "failed"
    assert [member.stats().pid for member in pool.members] == [None, None]


async def test_a_start_that_is_cancelled_leaves_nothing():
    pool = pool_of(2, model="worker_models:HangsAtLoad")
    start = asyncio.create_task(pool.start())
    while pool.state != "starting":
        await asyncio.sleep(0.01)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert pool.state == "stopped"


def test_a_pool_has_members():
    with pytest.raises(ValueError, match="pool of 0 workers"):
        pool_of(0)
