"""Runs one engine and leaves nothing of it behind: `python -I -S guardian.py --worker PID --grace S -- COMMAND …`.

Started by `EngineProcess` only, in a session of its own, and run as a file: the engine may have an environment that
nothing of ours can be imported in. Its standard input is the worker's hold on it:

    stop\n            SIGTERM to the engine's group, after the grace SIGKILL to whatever it started
    end of file       the worker has gone, however that came: SIGKILL at once

Every process that the engine starts stays below this one, those in sessions of their own too (PR_SET_CHILD_SUBREAPER,
prctl(2)): this process ends when it has no child left, and not before. Its exit status is the engine's.
"""

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_CANNOT_RUN = 127
_SIGNALLED = 128
_POLL_S = 0.05
_PROC = Path("/proc")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Guardian:
    """The engine and all that it starts."""

    def __init__(self, command: list[str], *, grace_s: float) -> None:
        self._grace_s = grace_s
        self._status = _CANNOT_RUN
        self._ended = False
        self._engine = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
        )

    def run(self) -> int:
        """Until nothing is left. The engine's exit status, 128 and more for a signal."""
        wakeup, wake = os.pipe()
        for end in (wakeup, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: os.write(wake, b"t"))
        while not self._ended:
            readable, _, _ = select.select([0, wakeup], [], [])
            if wakeup in readable and b"t" in _drain(wakeup):
                self._ask_to_end()
            elif 0 in readable:
                if os.read(0, 64):
                    self._ask_to_end()
                else:
                    break
            self._reap()
        self._kill_all()
        return self._status

    def _ask_to_end(self) -> None:
        """SIGTERM, and up to the grace for everything to go; the worker's end cuts it short."""
        with suppress(ProcessLookupError):
            os.killpg(self._engine.pid, signal.SIGTERM)
        until = time.monotonic() + self._grace_s
        while self._reap() and time.monotonic() < until:
            readable, _, _ = select.select([0], [], [], _POLL_S)
            if readable and not os.read(0, 64):
                break
        self._ended = True

    def _kill_all(self) -> None:
        while self._reap():
            for pid in _descendants(os.getpid()):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_S)

    def _reap(self) -> bool:
        """Takes leave of those that have ended; False when there are no others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._ended = True
                return False
            if pid == 0:
                return True
            if pid == self._engine.pid:
                code = os.waitstatus_to_exitcode(status)
                self._status = code if code >= 0 else _SIGNALLED - code
                self._engine.returncode = code  # it was reaped here: Popen is not to wait for it
                self._ended = True


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _drain(descriptor: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(descriptor, 4096)
    return b""


def _descendants(root: int) -> list[int]:
    """Of all depths, zombies included."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, IndexError, ValueError):
                # The name, field 2, is in parentheses and may hold anything, parentheses included (proc(5)).
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    open_ = [root]
    while open_:
        below = children.get(open_.pop(), [])
        found += below
        open_ += below
    return found


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="guardian", description="Runs one engine; started by its worker.")
    parser.add_argument("--worker", type=int, required=True, help="pid of the worker that it runs for")
    parser.add_argument("--grace", type=float, required=True, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to obey, who then ends us in order
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with suppress(PermissionError):
        # A worker that is switched to loads at idle priority and leaves it later, with its own process group only:
        # the engine would keep what it inherited.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        guardian = Guardian(options.command, grace_s=options.grace)
    except OSError as error:
        print(f"{options.command[0]} cannot be run: {error.strerror}", file=sys.stderr)  # noqa: T201 - its log
        return _CANNOT_RUN
    return guardian.run()


if __name__ == "__main__":
    sys.exit(main())
