"""What the processes of a group hold of main memory, from /proc (proc(5)). Blocking; costs about a millisecond."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """A worker's memory with that of the engines it started, in bytes."""

    rss_bytes: int
    """Resident; pages shared by several of the processes are counted for each."""
    pss_bytes: int
    """The proportional share: what is shared with others, outside the group too, counts in part."""
    uss_bytes: int
    """What nobody else holds: so much is freed at least when the group ends."""
    peak_rss_bytes: int
    """The sum of each process's own highest."""
    pids: tuple[int, ...]


def group_pids(group: int, proc: Path = PROC) -> tuple[int, ...]:
    """The processes of a process group that have not ended."""
    pids = []
    for entry in proc.iterdir():
        if entry.name.isdecimal():
            state, pgrp = _state_and_group(entry)
            if pgrp == group and state not in ("Z", "X"):
                pids.append(int(entry.name))
    return tuple(sorted(pids))


def group_memory(group: int, proc: Path = PROC) -> MemoryUse:
    """Measured now; all zeros when no process of the group is left.

    smaps_rollup is read for it, which halts each process's memory calls for the time it takes to walk its pages: some
    milliseconds for each GiB. Not for every moment; `rss_bytes` and `group_rss_bytes` are.
    """
    pids = group_pids(group, proc)
    pss = uss = 0
    for pid in pids:
        figures = dict(_kilobytes(proc / str(pid) / "smaps_rollup"))
        pss += figures.get("Pss", 0)
        uss += sum(size for name, size in figures.items() if name.startswith("Private_"))
    return MemoryUse(
        rss_bytes=sum(rss_bytes(pid, proc) for pid in pids),
        pss_bytes=pss * _KIB,
        uss_bytes=uss * _KIB,
        peak_rss_bytes=sum(peak_rss_bytes(pid, proc) for pid in pids),
        pids=pids,
    )


def group_rss_bytes(group: int, proc: Path = PROC) -> int:
    """Resident memory of the group's processes, summed."""
    return sum(rss_bytes(pid, proc) for pid in group_pids(group, proc))


def rss_bytes(pid: int, proc: Path = PROC) -> int:
    """Resident memory of one process; 0 when it is gone."""
    fields = _text(proc / str(pid) / "statm").split()
    return int(fields[1]) * _PAGE_BYTES if len(fields) > 1 else 0


def peak_rss_bytes(pid: int, proc: Path = PROC) -> int:
    """The highest resident memory that the kernel has seen of one process; 0 when it is gone."""
    return dict(_kilobytes(proc / str(pid) / "status")).get("VmHWM", 0) * _KIB


def _state_and_group(process: Path) -> tuple[str, int]:
    # The name, field 2, is in parentheses and may hold anything, parentheses included.
    fields = _text(process / "stat").rpartition(")")[2].split()
    return (fields[0], int(fields[2])) if len(fields) > 2 else ("X", 0)


def _kilobytes(path: Path) -> Iterator[tuple[str, int]]:
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            yield name, int(value.split()[0])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:  # it has ended, or it is not ours to read
        return ""
