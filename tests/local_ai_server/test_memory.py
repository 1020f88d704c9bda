"""Memory admission on figures that are made up."""

import os
from pathlib import Path

import pytest

from local_ai_server.backends.backend import Plan
from local_ai_server.catalog import load_catalog
from local_ai_server.memory import (
    MIB,
    MemoryFigures,
    NotEnoughMemory,
    check_memory,
    estimate_bytes,
    free_bytes,
    rss_bytes,
)


def machine(root: Path, *, available_mib: int, cgroup: str = "", files: dict[str, str] | None = None) -> tuple:
    proc, cgroups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available_mib * 1024} kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, text in (files or {}).items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, cgroups


GROUPS = [
    ("none", "", {}, 8000),
    ("v2 unlimited", "0::/a\n", {"a/memory.max": "max\n", "a/memory.current": "5\n"}, 8000),
    (
        "v2",
        "0::/a/b\n",
        {
            "a/b/memory.max": f"{1000 * MIB}\n",
            "a/b/memory.current": f"{700 * MIB}\n",
            "a/b/memory.stat": f"anon 1\nactive_file 7\ninactive_file {100 * MIB}\n",
        },
        400,
    ),
    (
        "v2, less above",
        "0::/a/b\n",
        {
            "a/b/memory.max": f"{1000 * MIB}\n",
            "a/b/memory.current": "0\n",
            "a/memory.max": f"{600 * MIB}\n",
            "a/memory.current": f"{500 * MIB}\n",
        },
        100,
    ),
    (
        "v2 in a container that is shown the host's path",
        "0::/docker/0123\n",
        {"memory.max": f"{300 * MIB}\n", "memory.current": f"{100 * MIB}\n"},
        200,
    ),
    (
        "v1",
        "7:cpu:/x\n4:memory:/x\n",
        {
            "memory/x/memory.limit_in_bytes": f"{512 * MIB}\n",
            "memory/x/memory.usage_in_bytes": f"{500 * MIB}\n",
            "memory/x/memory.stat": f"inactive_file 3\ntotal_inactive_file {50 * MIB}\n",
        },
        62,
    ),
    (
        "v1 unlimited",
        "4:memory:/x\n",
        {"memory/x/memory.limit_in_bytes": "9223372036854771712\n", "memory/x/memory.usage_in_bytes": "1\n"},
        8000,
    ),
    ("over its limit", "0::/\n", {"memory.max": "10\n", "memory.current": "20\n"}, 0),
]


@pytest.mark.parametrize(("cgroup", "files", "free_mib"), [g[1:] for g in GROUPS], ids=[g[0] for g in GROUPS])
def test_free_is_what_the_tightest_limit_leaves(tmp_path, cgroup, files, free_mib):
    assert free_bytes(*machine(tmp_path, available_mib=8000, cgroup=cgroup, files=files)) == free_mib * MIB


def test_a_limit_above_what_is_left_changes_nothing(tmp_path):
    files = {"memory.max": f"{9000 * MIB}\n", "memory.current": "0\n"}
    assert free_bytes(*machine(tmp_path, available_mib=50, cgroup="0::/\n", files=files)) == 50 * MIB


def test_this_machine_has_memory_and_this_process_holds_some():
    assert free_bytes() > 0
    assert 10 * MIB < rss_bytes(os.getpid()) < 10_000 * MIB
    assert rss_bytes(2**22 + 1) == 0


def test_an_estimate_is_the_plans_own_then_the_catalogues_then_the_files(tmp_path):
    voice = tmp_path / "tts/en_US-joe-medium/en_US-joe-medium.onnx"
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.bin").write_bytes(bytes(4 * MIB))
    (other / "b.bin").write_bytes(bytes(4 * MIB))
    assert estimate_bytes(Plan(load={}, model_path=voice, memory_bytes=7), tmp_path) == 7
    stated_mib = load_catalog().model("en_US-joe-medium").memory_mib
    assert estimate_bytes(Plan(load={}, model_path=voice), tmp_path) == stated_mib * MIB
    assert estimate_bytes(Plan(load={}, model_path=other), tmp_path) == 160 * MIB
    assert estimate_bytes(Plan(load={}, model_path=other / "a.bin"), tmp_path) == 155 * MIB
    assert estimate_bytes(Plan(load={}), tmp_path) == 150 * MIB


def figures(needed, free, *, reserve=100, held=0):
    return MemoryFigures(needed=needed * MIB, free=free * MIB, reserve=reserve * MIB, held_by_old=held * MIB)


def test_what_fits_beside_the_old_is_let_in():
    check_memory(figures(400, 500), stop_then_start=False)
    check_memory(figures(400, 200, held=300), stop_then_start=True)


REFUSALS = [
    (figures(400, 499, held=300), False, ["400 MiB", "499 MiB", "100 MiB", "stop_then_start"]),
    (figures(400, 150, held=300), False, ["400 MiB", "150 MiB", "300 MiB", "smaller model"]),
    (figures(400, 150, held=300), True, ["400 MiB", "150 MiB", "300 MiB", "smaller model"]),
]


@pytest.mark.parametrize(("numbers", "stop_then_start", "words"), REFUSALS)
def test_what_does_not_fit_is_refused_with_figures_and_remedy(numbers, stop_then_start, words):
    with pytest.raises(NotEnoughMemory) as caught:
        check_memory(numbers, stop_then_start=stop_then_start)
    for word in words:
        assert word in str(caught.value)
