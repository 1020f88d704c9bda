"""What a person at the terminal sees of a longer command: lines of progress, and steps that are programs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
INTERRUPT_GRACE_S = 10.0
"""For a step that was interrupted to take away what it has half done."""


class StepError(Exception):
    """The command cannot go on; the message says what to do."""


def say(text: str) -> None:
    print(text, flush=True)


def progress(text: str) -> None:
    say(f"[demo] {text}")


async def command(*argv: str) -> None:
    """Run a step that shows its own progress. Raises `StepError` when it fails (it has said why).

    Cancelled, it interrupts the step and waits until it has ended. The step is in a session of its own, so that Ctrl-C
    at the terminal reaches it once and not twice.
    """
    process = await asyncio.create_subprocess_exec(*argv, cwd=PROJECT, start_new_session=True)
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        await _interrupt(process)
        raise
    if code:
        raise StepError(f"stopped: `{' '.join(_shown(argv))}` did not succeed (see above)")


async def output_of(*argv: str) -> str:
    """What a quick program prints."""
    process = await asyncio.create_subprocess_exec(*argv, cwd=PROJECT, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip()


def _shown(argv: tuple[str, ...]) -> list[str]:
    program = Path(argv[0])
    return [str(program.relative_to(PROJECT)) if program.is_relative_to(PROJECT) else program.name, *argv[1:]]


async def _interrupt(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(INTERRUPT_GRACE_S):
                await process.wait()
                return
