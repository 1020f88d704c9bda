"""Children that die, hang and babble; a parent that is killed. Real processes throughout."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import uvloop

from model_worker.backoff import Backoff
from model_worker.errors import WorkerDied, WorkerUnavailable
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec

HERE = str(Path(__file__).parent)


def link_to(model: str, **options) -> WorkerLink:
    spec = WorkerSpec(**{"model": f"worker_models:{model}", "env": {"PYTHONPATH": HERE}, **options})
    return WorkerLink(spec, backoff=Backoff(first_s=0.05))


def descriptors_open() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def until(condition, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def echo():
    states: list[str] = []
    link = link_to("Echo", ready_wait_s=5)
    link.on_state_change = states.append
    link.states = states
    await link.start()
    yield link
    await link.stop(drain_s=0)


@pytest.mark.parametrize(
    ("method", "args", "reason", "last_words"),
    [
        ("abort", {}, r"closed its socket \(SIGABRT\)", "about to go wrong"),
        ("leave", {"status": 3}, r"closed its socket \(exit status 3\)", ""),
        ("garbage", {"data": "ffffffffffffffff"}, "sent what is not a frame", ""),
        ("garbage", {"data": "00000002000000007b7d"}, "sent a frame that answers nothing", ""),
        ("garbage", {"data": "000000020000000022ff"}, "sent what is not a frame", ""),
    ],
)
async def test_a_worker_that_fails_is_named_and_replaced(echo, method, args, reason, last_words):
    first = echo.stats().pid
    with pytest.raises(WorkerDied, match=reason) as caught:
        await echo.request(method, args)
    assert last_words in "\n".join(caught.value.last_stderr_lines)
    assert caught.value.retryable
    assert await echo.request("echo", {"again": True}) == ({"again": True}, b"")
    assert gone(first)
    assert echo.stats().restarts == 1
    assert echo.states == ["starting", "ready", "restarting", "ready"]


async def test_every_call_in_flight_is_told(echo):
    calls = [asyncio.create_task(echo.request("busy", {"seconds": 60})) for _ in range(5)]
    await asyncio.sleep(0.05)
    os.kill(echo.stats().pid, signal.SIGKILL)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, WorkerDied) and "SIGKILL" in str(outcome) for outcome in outcomes)


async def test_a_call_right_after_the_death_waits_for_the_next_worker(echo):
    process = echo._process
    os.kill(echo.stats().pid, signal.SIGKILL)
    await asyncio.wait((process.ended,))
    assert await echo.request("echo", {"n": 1}) == ({"n": 1}, b"")
    assert echo.stats().restarts == 1


async def test_chunks_before_the_death_are_given(echo):
    seen = []
    with pytest.raises(WorkerDied):
        async with echo.call("count", {"to": 1000, "pause_s": 0.01}) as stream:
            async for header, _ in stream:
                seen.append(header["i"])
                if header["i"] == 3:
                    os.kill(echo.stats().pid, signal.SIGKILL)
    assert seen[:4] == [0, 1, 2, 3]


async def test_a_call_that_neither_ends_nor_obeys_has_the_worker_replaced():
    link = link_to("Echo", canary_deadline_s=0.2, ready_wait_s=60)
    await link.start()
    try:
        with pytest.raises(Exception, match=r"not finished within 0.1 s"):
            await link.request("busy", {"seconds": 60}, deadline_s=0.1)
        await until(lambda: link.stats().restarts == 1)
        assert await link.request("echo") == ({}, b"")
    finally:
        await link.stop()


async def test_calls_during_a_restart_wait_for_a_bounded_time():
    link = WorkerLink(
        WorkerSpec(model="worker_models:Echo", env={"PYTHONPATH": HERE}, ready_wait_s=0.1), backoff=Backoff(first_s=30)
    )
    await link.start()
    os.kill(link.stats().pid, signal.SIGKILL)
    await until(lambda: link.state == "restarting")
    began = time.monotonic()
    with pytest.raises(WorkerUnavailable, match="is restarting: it closed its socket"):
        await link.request("echo")
    assert 0.09 < time.monotonic() - began < 15, "not until the restart"
    await link.stop()


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("HangsAtLoad", {"load_deadline_s": 0.5}, "load was not finished within 0.5 s\n  reading weights"),
        ("FailsToLoad", {"settings": {"path": "/x"}}, "no weights at /x; run the installer"),
        ("FailsToLoad", {"settings": {"pat": "/x"}}, "unexpected keyword argument 'pat'"),
        ("DiesAtLoad", {}, "illegal instruction ahead"),
        ("Missing", {}, "has no attribute 'Missing'"),
        ("Echo", {"canary": ("fail", {})}, "no such voice"),
        ("Echo", {"canary": ("busy", {"seconds": 60}), "canary_deadline_s": 0.3}, "busy was not finished within 0.3 s"),
    ],
)
async def test_a_start_that_fails_says_why_and_leaves_nothing(model, options, words):
    descriptors = descriptors_open()
    link = link_to(model, **options)
    with pytest.raises(WorkerUnavailable, match="could not start") as caught:
        await link.start()
    assert words in str(caught.value)
    assert link.state == "failed"
    assert link.stats().pid is None
    assert descriptors_open() == descriptors


async def test_a_canary_that_hangs_after_a_restart_is_not_called_ready(tmp_path):
    link = link_to(
        "DeafCanary",
        settings={"path": str(tmp_path / "lives"), "good": 1},
        canary=("sing", {}),
        canary_deadline_s=0.3,
        ready_wait_s=10,
    )
    states: list[str] = []
    link.on_state_change = states.append
    await link.start()
    with pytest.raises(WorkerDied):
        await link.request("abort")
    assert await link.request("sing") == ({}, b"")
    assert (tmp_path / "lives").read_text() == "xxxx"  # two starts, one deaf between them, one call
    assert states == ["starting", "ready", "restarting", "ready"]
    await link.stop()


async def test_a_start_can_be_stopped_or_cancelled():
    link = link_to("HangsAtLoad")
    start = asyncio.create_task(link.start())
    await asyncio.sleep(0.2)
    await link.stop()
    with pytest.raises(WorkerUnavailable, match="stopped while it started"):
        await start
    start = asyncio.create_task(link.start())
    await asyncio.sleep(0.2)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert link.state == "stopped"


async def test_a_stop_during_a_restart_leaves_nothing():
    link = link_to("Echo")
    tasks = asyncio.all_tasks()
    descriptors = descriptors_open()
    for wait_s in (0.0, 0.05, 0.1, 0.2):
        await link.start()
        os.kill(link.stats().pid, signal.SIGKILL)
        await asyncio.sleep(wait_s)
        await link.stop()
        assert asyncio.all_tasks() == tasks
        assert descriptors_open() == descriptors


@pytest.mark.parametrize("turns_later", range(6))
async def test_a_stop_in_the_very_moment_of_the_exit_is_not_lost(turns_later):
    """The cancel of the supervisor and the end of what it waits for may meet in one turn of the loop."""
    link = link_to("Echo")
    await link.start()
    child = link._process._process
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while child.returncode is None:
            await asyncio.sleep(0)
        for _ in range(turns_later):
            await asyncio.sleep(0)
        await link.stop(drain_s=0)
    assert link.state == "stopped"
    assert link.stats().pid is None


@pytest.mark.parametrize("method", ["busy", "forever", "idle"])
def test_a_killed_parent_takes_its_worker_with_it(method):
    program = textwrap.dedent(f"""
        import asyncio, sys
        import structlog
        from model_worker.link import WorkerLink
        from model_worker.spec import WorkerSpec
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
        async def main():
            link = WorkerLink(WorkerSpec(model="worker_models:Echo", env={{"PYTHONPATH": {HERE!r}}}))
            await link.start()
            engine = (await link.request("start_engine"))[0]["pid"]
            print(link.stats().pid, engine, flush=True)
            args = {{"seconds": 60}} if {method!r} == "busy" else {{}}
            await (asyncio.sleep(60) if {method!r} == "idle" else link.request({method!r}, args))
        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        time.sleep(0.1)
        assert not any(gone(pid) for pid in pids)
        parent.kill()
        parent.wait()
        began = time.monotonic()
        while not all(gone(pid) for pid in pids):
            assert time.monotonic() - began < 30, "the worker outlived its parent"
            time.sleep(0.01)


async def test_ctrl_c_is_the_parents(echo):
    os.killpg(echo.stats().pid, signal.SIGINT)
    assert await echo.request("echo") == ({}, b"")
    assert echo.stats().restarts == 0


def test_the_same_on_uvloop():
    async def life() -> None:
        link = link_to("Echo", ready_wait_s=5)
        await link.start()
        descriptors = descriptors_open()
        async with link.call("count", {"to": 3}) as stream:
            assert [header["i"] async for header, _ in stream] == [0, 1, 2]
        with pytest.raises(WorkerDied, match="SIGABRT") as caught:
            await link.request("abort")
        assert "about to go wrong" in caught.value.last_stderr_lines
        assert await link.request("echo", {"n": 1}, bytes(1_000_000)) == ({"n": 1}, bytes(1_000_000))
        assert len(descriptors_open()) == len(descriptors)
        pid = link.stats().pid
        await link.stop()
        assert gone(pid)
        start = asyncio.create_task(link.start())
        await asyncio.sleep(0.01)
        await link.stop()
        with pytest.raises(WorkerUnavailable):
            await start
        assert len(descriptors_open()) == len(descriptors) - 2

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(life())
