"""Loads at idle priority: by the ways that are permitted, and never for longer than the load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from model_worker.link import WorkerLink
from model_worker.load_priority import _may_leave_idle
from model_worker.spec import WorkerSpec

HERE = str(Path(__file__).parent)
AUTOGROUPS = Path("/proc/sys/kernel/sched_autogroup_enabled")
HAS_AUTOGROUPS = AUTOGROUPS.exists() and AUTOGROUPS.read_text().strip() == "1"


async def priorities(**options) -> dict[str, dict[str, int | None]]:
    spec = WorkerSpec(
        **{"model": "worker_models:Heavy", "env": {"PYTHONPATH": HERE}, "settings": {"threads": 3}} | options
    )
    link = WorkerLink(spec)
    await link.start()
    try:
        return (await link.request("priorities"))[0]
    finally:
        await link.stop()


async def test_the_load_and_the_threads_it_starts_are_idle_and_all_are_lifted_after():
    if not _may_leave_idle():
        pytest.skip("SCHED_IDLE cannot be left here: neither CAP_SYS_NICE nor RLIMIT_NICE 20")
    seen = await priorities(idle_load_s=60, canary=("priorities", {}))
    assert seen["load"]["idle_threads"] == 4  # the loading thread and its three
    assert seen["now"]["idle_threads"] == 0


@pytest.mark.skipif(not HAS_AUTOGROUPS, reason="this kernel has no autogroups, or they are switched off")
@pytest.mark.parametrize("nice", [0, 5])
async def test_the_session_is_idle_for_the_load_and_lifted_to_its_niceness(nice):
    seen = await priorities(idle_load_s=60, nice=nice)
    assert (seen["load"]["session"], seen["now"]["session"]) == (19, nice)


async def test_without_the_option_nothing_is_lowered():
    seen = await priorities()
    assert seen["load"] == seen["now"]
    assert seen["now"]["idle_threads"] == 0


async def test_a_restart_does_not_load_at_idle_priority():
    spec = WorkerSpec(
        model="worker_models:Heavy", env={"PYTHONPATH": HERE}, idle_load_s=60, ready_wait_s=60, canary_deadline_s=60
    )
    link = WorkerLink(spec)
    await link.start()
    os.kill(link.stats().pid, 9)
    await link._process.ended
    seen = (await link.request("priorities"))[0]
    assert seen["load"]["idle_threads"] == 0
    assert seen["load"]["session"] in (0, None)
    await link.stop()


def test_without_any_privilege_the_load_works_and_is_lifted():
    program = textwrap.dedent(f"""
        import asyncio, json, sys
        sys.path.insert(0, {HERE!r})
        from test_load_priority import priorities
        print("seen", json.dumps(asyncio.run(priorities(idle_load_s=60))))
    """)
    drop: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv, which drops the capabilities, is not installed")
        drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        [*drop, sys.executable, "-c", program], check=False, env=env, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.partition("seen ")[2].splitlines()[0])
    assert seen["load"]["session"] == (19 if HAS_AUTOGROUPS else seen["now"]["session"])
    assert seen["now"]["session"] in (0, None)
    assert seen["now"]["idle_threads"] == 0
