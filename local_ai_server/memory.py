"""Whether a model fits into main memory: what it will take, what is free, and the sentence when it does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from local_ai_server.backends.backend import Plan
from local_ai_server.catalog import default_models_dir, load_catalog

MIB: Final = 1024 * 1024
_BASE_BYTES: Final = 150 * MIB
"""Interpreter, native libraries and working buffers of a worker: 90 to 170 MiB with the engines here."""
_FILE_FACTOR: Final = 1.25
"""Weights as they lie on disk, and what engines unpack or repack of them beside them."""
_UNLIMITED: Final = 1 << 60
"""cgroup v1 writes a number near 2^63 where there is no limit."""
_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")


class NotEnoughMemory(Exception):
    """A model does not fit; the message has both figures and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures:
    """What a switch needs and what there is, in bytes."""

    needed: int
    free: int
    reserve: int
    held_by_old: int = 0
    """What stopping the models that are to be replaced would give back."""


def check_memory(figures: MemoryFigures, *, stop_then_start: bool) -> None:
    """Raises `NotEnoughMemory` when the new models do not fit beside the old, or in their place."""
    spare = figures.free - figures.reserve
    if figures.needed <= spare or (stop_then_start and figures.needed <= spare + figures.held_by_old):
        return
    needed, free, reserve, held = (
        f"{n / MIB:.0f} MiB" for n in (figures.needed, figures.free, figures.reserve, figures.held_by_old)
    )
    said = f"about {needed} are needed, {free} are free and {reserve} of them stay in reserve (LOCAL_MEMORY_RESERVE)"
    if figures.needed > spare + figures.held_by_old:
        remedy = f"even without the old model ({held}) that is too little: choose a smaller model or free memory"
    else:
        remedy = (
            f'switch with "stop_then_start": true, which stops the old model ({held}) first; requests wait meanwhile'
        )
    raise NotEnoughMemory(f"{said}; {remedy}")


def estimate_bytes(plan: Plan, models_dir: Path | None = None) -> int:
    """What a worker with this plan will hold.

    The plan's own figure; else the catalogue's for that path; else the files' size × 1.25 + 150 MiB; else the base
    alone: what runs elsewhere needs only its client here.
    """
    if plan.memory_bytes is not None:
        return plan.memory_bytes
    if plan.model_path is None:
        return _BASE_BYTES
    where = (models_dir or default_models_dir()).resolve()
    for model in load_catalog().models:
        if where / model.path == plan.model_path:
            return model.memory_mib * MIB
    return round(_FILE_FACTOR * _size_bytes(plan.model_path)) + _BASE_BYTES


def _size_bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def free_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """What processes here may still claim: the kernel's estimate, or less where a control group allows less.

    proc(5) MemAvailable; memory.max, memory.current and memory.stat of cgroup v2, or memory.limit_in_bytes,
    memory.usage_in_bytes and memory.stat of v1, of our group and all above it. Page cache that was not used lately
    counts as free, as in MemAvailable.
    """
    return min([_available(proc), *_headrooms(proc, cgroups)])


def rss_bytes(pid: int, proc: Path = _PROC) -> int:
    """Resident memory of a process; 0 when it has gone."""
    for line in _lines(proc / str(pid) / "status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _available(proc: Path) -> int:
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _UNLIMITED


def _headrooms(proc: Path, cgroups: Path) -> Iterator[int]:
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            names = ("memory.max", "memory.current", "inactive_file")
            # Beside v1 controllers the unified hierarchy is mounted one level down.
            mounts = [cgroups, cgroups / "unified"]
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            mounts = [cgroups / "memory"]
        else:
            continue
        path = PurePosixPath(group).relative_to("/")
        for mount in mounts:
            # Inside a container the path may be the host's and not be there; the mount is then our group itself.
            for folder in (mount / path, *(mount / parent for parent in path.parents)):
                headroom = _headroom(folder, *names)
                if headroom is not None:
                    yield headroom


def _headroom(folder: Path, limit_name: str, usage_name: str, reclaimable_name: str) -> int | None:
    limit = _number(folder / limit_name)
    usage = _number(folder / usage_name)
    if limit is None or usage is None or limit >= _UNLIMITED:
        return None
    reclaimable = 0
    for line in _lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name == reclaimable_name:
            reclaimable = int(value)
    return max(0, limit - usage + reclaimable)


def _number(path: Path) -> int | None:
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
