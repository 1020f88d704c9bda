"""A link and a real child process: answers, streams, cancels, order, and a stop that leaves nothing."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from model_worker.errors import CallFailed, CallTimedOut, FrameError, WorkerUnavailable
from model_worker.link import WorkerLink
from model_worker.spec import Priority, WorkerSpec

HERE = str(Path(__file__).parent)


def echo_spec(**options) -> WorkerSpec:
    return WorkerSpec(**{"model": "worker_models:Echo", "env": {"PYTHONPATH": HERE}, **options})


@asynccontextmanager
async def running(**options):
    link = WorkerLink(echo_spec(**options))
    await link.start()
    try:
        yield link
    finally:
        await link.stop(drain_s=0)


def descriptors_open() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def order_of(link: WorkerLink) -> list[str]:
    return (await link.request("marks"))[0]["order"]


class TestCalls:
    async def test_a_method_answers_with_its_arguments_and_body(self):
        async with running(settings={"greeting": "good day"}) as link:
            assert await link.request("echo", {"n": 1, "s": "ü"}, b"\x00\xff") == ({"n": 1, "s": "ü"}, b"\x00\xff")
            assert (await link.request("greet", {"name": "Ann"}))[0] == {"text": "good day Ann"}

    async def test_a_generator_streams_as_it_yields(self):
        async with running() as link:
            async with link.call("count", {"to": 4, "pause_s": 0.05}) as stream:
                began, at = time.monotonic(), []
                async for header, body in stream:
                    at.append(time.monotonic() - began)
                    assert body == bytes([header["i"]])
            assert len(at) == 4
            assert at[-1] - at[0] > 0.1
            assert (stream.result, stream.result_body) == ({"counted": 4}, b"!")
            assert await link.request("count", {"to": 3}) == ({"counted": 3}, b"\x00\x01\x02!")

    async def test_a_thousand_calls_at_once_are_answered_in_order(self):
        async with running() as link:
            answered: list[int] = []

            async def one(i: int) -> None:
                header, body = await link.request("echo", {"i": i}, b"%d" % i)
                assert (header, body) == ({"i": i}, b"%d" % i)
                answered.append(i)

            await asyncio.gather(*(one(i) for i in range(1000)))
            assert answered == list(range(1000))
            assert link.stats().calls_started == 1000
            assert link.stats().calls_in_flight == 0

    async def test_ten_megabytes_there_and_back(self):
        async with running() as link:
            body = os.urandom(10_000_000)
            assert (await link.request("echo", {}, body))[1] == body

    async def test_what_the_model_raises_reaches_the_caller_and_the_worker_goes_on(self):
        async with running() as link:
            with pytest.raises(CallFailed, match="ValueError: no such voice") as caught:
                await link.request("fail")
            assert (caught.value.kind, caught.value.message, caught.value.retryable) == (
                "ValueError",
                "no such voice",
                False,
            )
            assert await link.request("echo") == ({}, b"")

    @pytest.mark.parametrize(
        ("method", "args", "kind"),
        [
            ("nothing", {}, "AttributeError"),
            ("_secret", {}, "AttributeError"),
            ("load", {}, "AttributeError"),
            ("greet", {"nam": "Ann"}, "TypeError"),
            ("bad_answer", {"what": "none"}, "TypeError"),
            ("bad_answer", {"what": "no_body"}, "TypeError"),
            ("bad_answer", {"what": "not_json"}, "FrameError"),
        ],
    )
    async def test_calls_that_cannot_be_answered_are_errors_of_the_call(self, link, method, args, kind):
        with pytest.raises(CallFailed) as caught:
            await link.request(method, args)
        assert caught.value.kind == kind

    async def test_arguments_that_cannot_be_sent_are_refused_here(self, link):
        with pytest.raises(FrameError, match="JSON"):
            await link.request("echo", {"x": object()})
        assert link.stats().calls_in_flight == 0

    async def test_what_a_model_prints_never_meets_the_frames(self):
        async with running(settings={"print_on_load": "loading \x00 weights\nhalf a line"}) as link:
            assert await link.request("echo") == ({}, b"")

    @pytest.fixture
    async def link(self):
        async with running() as link:
            yield link


class TestCancel:
    async def test_leaving_the_context_stops_a_generator(self):
        async with running() as link:
            async with link.call("forever") as stream:
                async for header, _ in stream:
                    if header["i"] == 3:
                        break
            assert await order_of(link) == ["closed"]

    async def test_leaving_the_context_tells_a_running_method(self):
        async with running() as link:
            began = time.monotonic()
            async with link.call("until_cancelled"):
                await asyncio.sleep(0.05)
            assert await order_of(link) == ["began", "cancelled"]
            assert time.monotonic() - began < 2

    async def test_a_waiting_call_that_is_left_never_runs(self):
        async with running() as link:
            first = asyncio.create_task(link.request("mark", {"name": "first", "seconds": 0.1}))
            await asyncio.sleep(0.02)
            async with link.call("mark", {"name": "second"}):
                pass
            await first
            assert await order_of(link) == ["first"]

    async def test_cancelling_the_task_cancels_the_call(self):
        async with running() as link:
            task = asyncio.create_task(link.request("until_cancelled"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await order_of(link) == ["began", "cancelled"]

    async def test_a_late_call_fails_and_is_cancelled(self):
        async with running() as link:
            with pytest.raises(CallTimedOut, match=r"until_cancelled was not finished within 0.1 s"):
                await link.request("until_cancelled", deadline_s=0.1)
            assert await order_of(link) == ["began", "cancelled"]


class TestOrder:
    async def test_final_before_live_before_speculative(self):
        async with running() as link:
            calls = [asyncio.create_task(link.request("mark", {"name": "running", "seconds": 0.15}))]
            await asyncio.sleep(0.05)
            for name, priority in [
                ("speculative", Priority.SPECULATIVE),
                ("live 1", Priority.LIVE),
                ("final 1", Priority.FINAL),
                ("live 2", Priority.LIVE),
                ("final 2", Priority.FINAL),
            ]:
                calls.append(asyncio.create_task(link.request("mark", {"name": name}, priority=priority)))
                await asyncio.sleep(0)
            assert link.stats().queue_depth == 5
            await asyncio.gather(*calls)
            assert await order_of(link) == ["running", "final 1", "final 2", "live 1", "live 2", "speculative"]

    async def test_concurrent_calls_where_the_model_says_it_can(self):
        async with running(concurrency=3) as link:
            began = time.monotonic()
            await asyncio.gather(*(link.request("busy", {"seconds": 0.3}) for _ in range(3)))
            assert time.monotonic() - began < 0.8


class TestEnvironment:
    async def test_threads_niceness_and_variables_are_the_specs(self):
        spec = {"threads": 3, "nice": 5, "env": {"PYTHONPATH": HERE, "EXTRA": "yes"}}
        async with running(**spec) as link:
            seen, _ = await link.request("environment")
            assert seen["env"]["OMP_NUM_THREADS"] == "3"
            assert seen["env"]["EXTRA"] == "yes"
            assert seen["nice"] == os.nice(0) + 5
            assert not seen["cwd_on_path"]

    async def test_stats_tell_of_the_process(self):
        async with running() as link:
            stats = link.stats()
            assert not gone(stats.pid)
            assert 5_000_000 < stats.rss_bytes < 200_000_000
            assert (stats.state, stats.restarts) == ("ready", 0)
            assert os.getpgid(stats.pid) == stats.pid

    async def test_a_probe_is_answered_while_the_model_is_busy(self):
        async with running() as link:
            calls = [asyncio.create_task(link.request("busy", {"seconds": 0.3})) for _ in range(3)]
            await asyncio.sleep(0.05)
            assert await link.probe(deadline_s=0.2) == {"pid": link.stats().pid, "waiting": 2, "running": 1}
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)


class TestStop:
    async def test_a_model_may_unload(self, tmp_path):
        async with running(settings={"note": str(tmp_path / "note")}):
            pass
        assert (tmp_path / "note").read_text() == "unloaded"

    async def test_nothing_is_left(self):
        descriptors = descriptors_open()
        tasks = asyncio.all_tasks()
        link = WorkerLink(echo_spec())
        await link.start()
        pid = link.stats().pid
        engine = (await link.request("start_engine"))[0]["pid"]
        await link.stop()
        assert gone(pid)
        await asyncio.sleep(0.05)
        assert gone(engine)
        assert asyncio.all_tasks() == tasks
        assert descriptors_open() == descriptors
        assert link.state == "stopped"

    async def test_calls_in_flight_may_end_and_new_ones_are_refused(self):
        link = WorkerLink(echo_spec())
        await link.start()
        call = asyncio.create_task(link.request("mark", {"name": "x", "seconds": 0.2}))
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(link.stop())
        await asyncio.sleep(0)
        with pytest.raises(WorkerUnavailable, match="Echo is stopped"):
            await link.request("echo")
        assert await call == ({}, b"")
        await stopping

    async def test_a_busy_worker_is_ended_all_the_same(self):
        link = WorkerLink(echo_spec())
        await link.start()
        pid = link.stats().pid
        call = asyncio.create_task(link.request("busy", {"seconds": 60}))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        assert await link.stop(drain_s=0.1) is not None
        assert time.monotonic() - began < 3
        assert gone(pid)
        with pytest.raises(Exception, match=r"Echo was ended \(SIGTERM\)"):
            await call

    async def test_it_can_start_again(self):
        link = WorkerLink(echo_spec())
        for _ in range(2):
            await link.start()
            with pytest.raises(RuntimeError, match="ready already"):
                await link.start()
            assert await link.request("echo") == ({}, b"")
            await link.stop()
            await link.stop()

    async def test_a_call_before_the_start_says_so(self):
        with pytest.raises(WorkerUnavailable, match="was not started"):
            await WorkerLink(echo_spec()).request("echo")
