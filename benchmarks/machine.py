"""What else the machine does while a benchmark runs: a latency says little without it."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_IDLE_FIELDS = (3, 4)  # proc(5): idle and iowait of /proc/stat's first line


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the machine started."""

    busy_s: float
    """Of all cores, whoever used them."""
    idle_s: float
    ours_s: float
    """Of this process and those asked for, with all their descendants that live, and our own children that ended."""

    def shares_since(self, before: Usage) -> tuple[float, float]:
        """Share (0-1) of all cores that this benchmark used since `before`, and that others used."""
        busy, idle = self.busy_s - before.busy_s, self.idle_s - before.idle_s
        whole = max(busy + idle, 1e-9)
        ours = self.ours_s - before.ours_s
        return ours / whole, max(0.0, busy - ours) / whole


def usage(roots: Sequence[int | None] = ()) -> Usage:
    """Read /proc now. In a container, `busy_s` is that of the whole host."""
    jiffies = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = sum(jiffies[field] for field in _IDLE_FIELDS)
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        parents[int(entry.name)] = int(fields[1])
        spent[int(entry.name)] = int(fields[11]) + int(fields[12])
    ours = {os.getpid(), *(pid for pid in roots if pid is not None)}
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in ours} - ours
        grown = bool(children)
        ours |= children
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Usage(
        (sum(jiffies) - idle) / _TICKS_A_SECOND,
        idle / _TICKS_A_SECOND,
        sum(spent.get(pid, 0) for pid in ours) / _TICKS_A_SECOND + ended.ru_utime + ended.ru_stime,
    )
