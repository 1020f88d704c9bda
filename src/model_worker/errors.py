"""What can go wrong between a caller and a model.

    WorkerError
    ├── FrameError          bytes or a header that are not a frame
    ├── WorkerUnavailable   no worker took the call: starting, restarting, failed or stopped
    ├── WorkerDied          the worker took the call and ended before it answered
    ├── CallTimedOut        the worker took the call and did not finish it in time
    └── CallFailed          the model refused or raised; the worker goes on

The middle three say nothing about the request: the same call may succeed on the restarted worker (`retryable`).
"""

from __future__ import annotations


class WorkerError(Exception):
    """Root of this package's errors."""

    retryable = False


class FrameError(WorkerError):
    """Bytes that cannot be a frame, or a header that cannot be sent as one. The stream cannot be used any more."""


class WorkerUnavailable(WorkerError):
    """No worker to take the call. `reason` says why, and what to do where something can be done."""

    retryable = True

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WorkerDied(WorkerError):
    """The worker ended while the call was in flight. `last_stderr_lines` are its last words, oldest first."""

    retryable = True

    def __init__(self, reason: str, last_stderr_lines: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((reason, *(f"  {line}" for line in last_stderr_lines))))
        self.reason = reason
        self.last_stderr_lines = last_stderr_lines


class CallTimedOut(WorkerError):
    """The call was not finished by its deadline, and was cancelled."""

    retryable = True

    def __init__(self, method: str, deadline_s: float) -> None:
        super().__init__(f"{method} was not finished within {deadline_s:g} s")
        self.method = method
        self.deadline_s = deadline_s


class CallFailed(WorkerError):
    """The model raised. `kind` is the class name of what it raised, `message` its text."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
