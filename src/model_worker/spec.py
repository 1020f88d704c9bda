"""What a worker is to run, how calls are ordered, and what a link tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

WorkerState = Literal["starting", "ready", "restarting", "failed", "stopped"]
"""`failed`: the first start did not succeed. A worker that was ready once is `restarting` until it is again."""


class Priority(IntEnum):
    """The order of waiting calls; calls of one priority keep the order they came in."""

    FINAL = 0
    """A caller waits for this answer."""
    LIVE = 1
    """Part of a caller's speech while it goes on."""
    SPECULATIVE = 2
    """Perhaps for nothing. At most one runs in a worker at a time."""
    BATCH = 3
    """For nobody in a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """One worker process. All times are in seconds."""

    model: str
    """`module:Class`, importable by this interpreter; the class fulfils `model_worker.model.Model`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of `Model.load`. They travel as JSON."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Set on top of this process's environment: `CUDA_VISIBLE_DEVICES`, `LD_LIBRARY_PATH`, ..."""
    python: str | None = None
    """The interpreter of another virtual environment, Python 3.11 or newer; None: this one.

    `model` must be importable there. Of this environment nothing is, but this package and `lent_packages`.
    """
    lent_packages: tuple[str, ...] = ()
    """Top-level packages of this environment that the other interpreter borrows; what they import must be there."""
    threads: int = 1
    """Threads for each of the native pools (OpenMP, OpenBLAS, MKL)."""
    nice: int = 0
    """Added to the process's niceness, and set for its session's autogroup where there are such."""
    idle_load_s: float = 0.0
    """Up to so long the first load and its canary run at idle priority, where that is permitted (`load_priority`): a
    model that is switched to shall not stall those who talk. A restart does not: callers wait for it."""
    memory_limit_bytes: int | None = None
    """Resident memory of the process and what it started, above which it is killed and started anew. Looked at every
    0.5 s, mapped weights included. None: no limit."""
    kill_after_cancel_s: float | None = None
    """Native code cannot be stopped. So long a cancelled call may hold on when all the worker runs is such calls and
    others wait: then it is killed and started anew. Those that wait already get `WorkerDied`. None: no limit."""
    concurrency: int = 1
    """Calls that run at once. More than 1 only where the model says it can."""
    canary: tuple[str, Mapping[str, Any]] | None = None
    """A method and its arguments: a small real inference that must succeed before the worker is called ready."""
    canary_deadline_s: float = 20.0
    """For the canary; and for a call cancelled for lateness to end, before the worker counts as hung."""
    load_deadline_s: float = 120.0
    """From the start of the process to the model loaded."""
    call_deadline_s: float = 60.0
    """From the call's sending to its end, waiting in the worker's queue included."""
    ready_wait_s: float = 2.0
    """How long a call waits for a worker that is starting or restarting, before `WorkerUnavailable`."""

    def __post_init__(self) -> None:
        module, _, name = self.model.partition(":")
        if not module or not name:
            raise ValueError(f"worker model {self.model!r} is not of the form 'module:Class'")
        if self.threads < 1 or self.concurrency < 1:
            raise ValueError(f"worker {self.model}: threads and concurrency are at least 1")
        if self.lent_packages and self.python is None:
            raise ValueError(f"worker {self.model}: lent_packages are for another python, and none is named")

    @property
    def name(self) -> str:
        """The class's name, for logs and errors."""
        return self.model.partition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStats:
    """One look at a worker."""

    state: WorkerState
    pid: int | None
    rss_bytes: int
    """Resident memory; 0 when there is no process."""
    peak_rss_bytes: int = 0
    """The highest that it has been in this process's life."""
    calls_started: int
    """Since the link was made, over all restarts; load and canary not counted."""
    calls_in_flight: int
    queue_depth: int
    """Calls in flight beyond what the worker runs at once."""
    restarts: int
