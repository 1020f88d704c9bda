"""An engine as its worker sees it: started, waited for until it is ready, watched, stopped. Blocks; has no event loop.

Between the two stands `guardian`, which ends the engine when the worker is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from model_worker.stderr_tail import StderrTail

_GUARDIAN: Final = Path(__file__).with_name("guardian.py")
_PROC: Final = Path("/proc")
_READ_BYTES: Final = 64 * 1024
_POLL_S: Final = 0.1
_OUTPUT_GRACE_S: Final = 1.0
_SIGNALLED: Final = 128
_KILL_S: Final = 10.0
"""For the kernel to take a killed process's memory back."""


class EngineFailed(Exception):
    """The engine did not start, or ended; the message says which, then has its last lines."""


class EngineProcess:
    """One life of an engine. `stop` must be called in the end; it is idempotent."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], *, name: str, secret: str = "", grace_s: float = 3.0
    ) -> None:
        """Starts it. `secret` is left out of what is told of its output; `grace_s`: from SIGTERM to SIGKILL.

        Raises `EngineFailed` where what an earlier worker's engine holds is not given back.
        """
        _await_predecessors()
        self._name = name
        self._secret = secret
        self._grace_s = grace_s
        self._tail = StderrTail()
        self._reading = threading.Lock()
        self._stopping = threading.Event()
        guard = [sys.executable, "-I", "-S", str(_GUARDIAN), "--worker", str(os.getpid()), "--grace", str(grace_s)]
        self._guardian = subprocess.Popen(
            [*guard, "--", *command],
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"{name} output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The guardian's, under which all processes of the engine are."""
        return self._guardian.pid

    @property
    def running(self) -> bool:
        return self._guardian.poll() is None

    def wait_ready(self, is_ready: Callable[[], bool], *, timeout_s: float, remedy: str) -> None:
        """Returns when `is_ready`. Raises `EngineFailed`, and has stopped it, when it ends or takes longer.

        `remedy`: what the user may set when it takes too long.
        """
        until = time.monotonic() + timeout_s
        while True:
            if not self.running:
                self.stop()
                raise EngineFailed(self._words(f"{self._end_in_words()} before it was ready"))
            if is_ready():
                return
            if time.monotonic() >= until:
                self.stop()
                raise EngineFailed(self._words(f"was not ready within {timeout_s:g} s; {remedy}"))
            time.sleep(_POLL_S)

    def wait(self) -> str | None:
        """Until it ends: how it ended, with its last lines. None when it was stopped."""
        self._guardian.wait()
        self._reader.join(_OUTPUT_GRACE_S)
        return None if self._stopping.is_set() else self._words(self._end_in_words())

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; returns when no process of it is left."""
        self._stopping.set()
        stdin = self._guardian.stdin
        if stdin is not None and not stdin.closed:
            with suppress(BrokenPipeError):
                stdin.write(b"stop\n")
                stdin.flush()
            try:
                self._guardian.wait(self._grace_s + _POLL_S)
            except subprocess.TimeoutExpired:
                pass
            with suppress(BrokenPipeError):
                stdin.close()  # the guardian's sign to kill
        with suppress(subprocess.TimeoutExpired):
            self._guardian.wait(_KILL_S)
        self._reader.join(_OUTPUT_GRACE_S)

    def output(self) -> tuple[str, ...]:
        """Its last lines, the oldest first."""
        with self._reading:
            lines = self._tail.lines()
        return tuple(line.replace(self._secret, "***") for line in lines) if self._secret else lines

    def _read(self) -> None:
        output: IO[bytes] | None = self._guardian.stdout
        assert output is not None
        with output:
            while data := os.read(output.fileno(), _READ_BYTES):
                with self._reading:
                    self._tail.data_received(data)

    def _end_in_words(self) -> str:
        status = self._guardian.returncode
        if status is not None and status > _SIGNALLED:
            return f"was ended by signal {status - _SIGNALLED}"
        return f"ended with exit status {status}"

    def _words(self, what: str) -> str:
        lines = self.output()
        said = "; its last lines:\n" + "\n".join(lines) if lines else "; it said nothing"
        return f"{self._name} {what}{said}"


def _await_predecessors() -> None:
    """Engines whose worker was killed are being killed as well: what they hold is needed."""
    until = time.monotonic() + _KILL_S
    while left := [pid for pid, worker in _guardians() if not (_PROC / str(worker)).exists()]:
        if time.monotonic() > until:
            raise EngineFailed(f"an engine of a worker that has gone does not end: kill its process {left[0]}")
        time.sleep(_POLL_S)


def _guardians() -> list[tuple[int, int]]:
    """The guardians there are: (pid, the worker's pid)."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if str(_GUARDIAN).encode() in words and b"--worker" in words:
                    found.append((int(entry.name), int(words[words.index(b"--worker") + 1])))
    return found
