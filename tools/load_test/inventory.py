"""What a process holds, seen from inside: tasks, threads, objects, and the pauses its garbage collector made."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
from collections import Counter

INVENTORY_VARIABLE = "PARLEY_INVENTORY"
"""Of the environment: the file that `scripted_engine` writes its inventory to."""


class CollectorPauses:
    """How long the garbage collector stopped everything, by generation, since `forget`."""

    def __init__(self) -> None:
        self._began = 0.0
        self.forget()

    def watch(self) -> None:
        gc.callbacks.append(self._note)

    def forget(self) -> None:
        """What was: while a process starts, its collector has much to look at, and nobody is on the line."""
        self.longest_ms = [0.0, 0.0, 0.0]
        self.collections = [0, 0, 0]

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
            return
        generation = info["generation"]
        took_ms = (time.perf_counter() - self._began) * 1e3
        self.collections[generation] += 1
        self.longest_ms[generation] = max(self.longest_ms[generation], took_ms)


def inventory(pauses: CollectorPauses) -> dict[str, object]:
    """What this process holds now, and `pauses` since the last look. Tasks are named without their call's id."""
    names = Counter(re.sub(r"\d+|[0-9a-f]{12}", "…", task.get_name()) for task in asyncio.all_tasks())
    found: dict[str, object] = {
        "tasks": dict(names),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "objects": len(gc.get_objects()),
        "gc_longest_ms": [round(ms, 3) for ms in pauses.longest_ms],
        "gc_collections": pauses.collections,
    }
    pauses.forget()
    return found
