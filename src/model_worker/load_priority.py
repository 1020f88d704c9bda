"""Idle priority for the time of a load, in the worker's own process, so that loading a model stalls no caller.

Two ways, each used where it can be undone; both together, because each is blind where the other works:

- SCHED_IDLE for the loading thread, which the threads it starts inherit (sched(7)). It weighs against all in the same
  control group, but may be left only with CAP_SYS_NICE or an RLIMIT_NICE of 20 (`--ulimit nice=20`, `LimitNICE=20`).
- The nice value of the session's autogroup (sched(7)), which anyone may set and take back. With autogroups, which
  there are where no control group divides the processor, it alone weighs between one session and another, and every
  worker is a session of its own: thread policies and nice values do nothing there.

In a container without the capability or the limit neither is to be had, and the load runs as everything else does.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from model_worker.memory import PROC, group_pids

Lowered = Literal["thread", "session"]

_LOWEST_NICE: Final = 19
_NO_PARAMETERS: Final = os.sched_param(0)
_AUTOGROUP_TRIES: Final = 200
"""The kernel lets the unprivileged of the whole machine set one autogroup in 0.1 s (EAGAIN)."""
_AUTOGROUP_PAUSE_S: Final = 0.05


class LoadPriority:
    """`lower` on the thread that is to load; `lift` from any thread, also when nothing was lowered."""

    def __init__(self, *, nice: int) -> None:
        """`nice`: what the autogroup goes back to."""
        self._nice = nice
        self._lowered: set[Lowered] = set()
        self._lock = threading.Lock()

    def lower(self) -> None:
        """To idle priority, by what is permitted here."""
        with self._lock:
            if set_autogroup_nice(_LOWEST_NICE):
                self._lowered.add("session")
            if _may_leave_idle():
                os.sched_setscheduler(0, os.SCHED_IDLE, _NO_PARAMETERS)
                self._lowered.add("thread")

    def lift(self) -> list[Lowered]:
        """Every thread of the process group back to normal. What had been lowered."""
        with self._lock:
            lowered = sorted(self._lowered)
            self._lowered.clear()
            if "thread" in lowered:
                while _lift_threads():  # one that was idle still may have started another meanwhile
                    pass
            if "session" in lowered:
                set_autogroup_nice(self._nice)
            return lowered


def set_autogroup_nice(nice: int) -> bool:
    """Sets the nice value of this session's autogroup; False where there are none."""
    try:
        if Path("/proc/sys/kernel/sched_autogroup_enabled").read_text(encoding="ascii").strip() != "1":
            return False
        for _ in range(_AUTOGROUP_TRIES):
            with suppress(BlockingIOError):
                Path("/proc/self/autogroup").write_text(str(nice), encoding="ascii")
                return True
            time.sleep(_AUTOGROUP_PAUSE_S)
    except OSError:
        return False
    return False


def _may_leave_idle() -> bool:
    """Tried on a thread that ends with it."""
    left = []

    def there_and_back() -> None:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_IDLE, _NO_PARAMETERS)
            os.sched_setscheduler(0, os.SCHED_OTHER, _NO_PARAMETERS)
            left.append(True)

    thread = threading.Thread(target=there_and_back)
    thread.start()
    thread.join()
    return bool(left)


def _lift_threads() -> bool:
    found = False
    for pid in group_pids(os.getpgrp()):
        with suppress(FileNotFoundError):
            for task in (PROC / str(pid) / "task").iterdir():
                with suppress(ProcessLookupError):
                    thread = int(task.name)
                    if os.sched_getscheduler(thread) == os.SCHED_IDLE:
                        os.sched_setscheduler(thread, os.SCHED_OTHER, _NO_PARAMETERS)
                        found = True
    return found
