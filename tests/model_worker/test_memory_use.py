"""Memory: measured over the process group, limited, run out of, and given back."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from model_worker.backoff import Backoff
from model_worker.errors import CallFailed, WorkerDied, WorkerUnavailable
from model_worker.link import WorkerLink
from model_worker.memory import MemoryUse, group_memory, group_pids, group_rss_bytes
from model_worker.spec import WorkerSpec

HERE = str(Path(__file__).parent)
MIB = 1024 * 1024


def heavy(**options) -> WorkerLink:
    spec = WorkerSpec(
        **{"model": "worker_models:Heavy", "env": {"PYTHONPATH": HERE}, "ready_wait_s": 30.0, "canary_deadline_s": 60.0}
        | options
    )
    return WorkerLink(spec, backoff=Backoff(first_s=0.05))


def recorded_process(proc: Path, pid: int, group: int, *, state: str = "S", pss_kb: int = 0) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} (odd) (name) {state} 1 {group} {group} 0 -1 4194560 5 0\n")
    (folder / "statm").write_text("9000 300 100 1 0 500 0\n")
    (folder / "status").write_text("Name:\todd\nVmHWM:\t    2048 kB\nVmRSS:\t    1200 kB\nThreads:\t1\n")
    (folder / "smaps_rollup").write_text(
        f"55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:  1200 kB\nPss:  {pss_kb} kB\nPss_Anon:  1 kB\n"
        "Shared_Clean:  900 kB\nPrivate_Clean:  100 kB\nPrivate_Dirty:  200 kB\nPrivate_Hugetlb:  0 kB\n"
    )


def test_a_group_is_summed_and_its_dead_left_out(tmp_path):
    recorded_process(tmp_path, 10, 10, pss_kb=600)
    recorded_process(tmp_path, 11, 10, pss_kb=400)
    recorded_process(tmp_path, 12, 10, state="Z", pss_kb=999)
    recorded_process(tmp_path, 20, 20, pss_kb=999)
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\n")
    pages = 2 * 300 * os.sysconf("SC_PAGE_SIZE")
    assert group_memory(10, tmp_path) == MemoryUse(
        rss_bytes=pages,
        pss_bytes=1000 * 1024,
        uss_bytes=600 * 1024,
        peak_rss_bytes=4096 * 1024,
        pids=(10, 11),
    )
    assert group_rss_bytes(10, tmp_path) == pages
    assert group_memory(99, tmp_path).pids == ()


async def test_what_a_worker_and_its_engine_hold_is_freed_when_they_stop():
    link = heavy(settings={"mebibytes": 300})
    await link.start()
    engine = (await link.request("start_engine", {"mebibytes": 80}))[0]["pid"]
    use, stats = await link.memory(), link.stats()
    assert set(use.pids) == {stats.pid, engine}
    assert use.uss_bytes > 380 * MIB
    assert use.uss_bytes <= use.pss_bytes <= use.rss_bytes <= use.peak_rss_bytes
    assert 300 * MIB < stats.rss_bytes <= stats.peak_rss_bytes
    status = await link.stop()
    assert status is not None
    assert group_pids(stats.pid) == ()
    assert group_memory(stats.pid).rss_bytes == 0
    assert await link.memory() is None


async def test_a_worker_that_grows_above_its_limit_is_replaced_by_a_small_one():
    link = heavy(memory_limit_bytes=200 * MIB)
    await link.start()
    first = link.stats().pid
    with pytest.raises(WorkerDied, match=r"held \d+ MiB, above its limit of 200 MiB \(SIGKILL\)"):
        await link.request("grow", {"mebibytes": 300})
        await link.request("wait")
    assert (await link.request("oom_score_adj"))[0]["value"] >= 500
    assert link.stats().restarts == 1
    assert group_pids(first) == ()
    assert (await link.memory()).rss_bytes < 200 * MIB
    await link.stop()


@pytest.mark.parametrize(
    "options", [{"settings": {"mebibytes": 200}}, {"canary": ("start_engine", {"mebibytes": 120})}]
)
async def test_a_model_larger_than_its_limit_never_becomes_ready(options):
    link = heavy(memory_limit_bytes=100 * MIB, load_deadline_s=60.0, **options)
    with pytest.raises(WorkerUnavailable, match=r"held \d+ MiB, above its limit of 100 MiB"):
        await link.start()
    assert link.state == "failed"


async def test_running_out_of_memory_inside_is_an_error_of_the_call():
    link = heavy()
    await link.start()
    with pytest.raises(CallFailed) as caught:
        await link.request("too_much")
    assert caught.value.kind in ("MemoryError", "OverflowError")
    assert (await link.request("priorities"))[0]["now"]["idle_threads"] == 0
    assert link.stats().restarts == 0
    await link.stop()


async def test_the_kernels_kill_takes_one_worker_and_the_others_never_notice():
    struck, neighbour = heavy(), heavy()
    await asyncio.gather(struck.start(), neighbour.start())
    states: list[str] = []
    neighbour.on_state_change = states.append
    process = struck._process
    os.kill(struck.stats().pid, signal.SIGKILL)  # as the kernel's out-of-memory killer does
    await process.ended
    assert (await neighbour.request("priorities"))[1] == b""
    assert (await struck.request("priorities"))[1] == b""
    assert (struck.stats().restarts, neighbour.stats().restarts, states) == (1, 0, [])
    await asyncio.gather(struck.stop(), neighbour.stop())
