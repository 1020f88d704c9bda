"""SIPp as the callers of a load test: which calls there are, one run of it, and what came of them."""

from __future__ import annotations

import asyncio
import csv
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from tools.free_ports import free_rtp_ports, free_sip_port
from tools.load_test.caller_sound import caller_sound
from tools.pbx_instance import SCRIPT, Pbx

SCENARIO = Path(__file__).with_name("call.xml")
TALKS = 700
TAKES_LEAVE = 710
"""Extensions of `contexts/`: the agent that talks on, and the one that hangs up."""


class SippError(Exception):
    """SIPp could not be run or did not end; the message holds what it said."""


class Way(IntEnum):
    """How a call ends: the second field of `call.xml`."""

    CANCELS_AT_ONCE = 0
    CANCELS_RINGING = 1
    HANGS_UP = 2
    WAITS = 3


@dataclass(frozen=True, slots=True)
class PlannedCall:
    way: Way
    after_ms: int = 0
    """Of `HANGS_UP`: from the answer."""
    extension: int = TALKS


MOMENTS = (
    ("before it is answered", 0.10, Way.CANCELS_AT_ONCE, (0, 0)),
    ("while it rings", 0.10, Way.CANCELS_RINGING, (0, 0)),
    ("when it is answered", 0.10, Way.HANGS_UP, (0, 30)),
    ("in the greeting", 0.15, Way.HANGS_UP, (50, 1000)),
    ("while the caller speaks", 0.10, Way.HANGS_UP, (1400, 2300)),
    ("while the agent thinks", 0.15, Way.HANGS_UP, (2500, 3300)),
    ("in the answer", 0.15, Way.HANGS_UP, (3500, 5500)),
    ("by the agent", 0.15, Way.WAITS, (0, 0)),
)
"""When callers hang up, what share of them, and how many ms after the answer: the times of `caller_sound` and
`ScriptedOptions` put together. Which state a call was in is told by the engine, not by this."""


def plan_calls(count: int, seed: int) -> list[PlannedCall]:
    """Calls with their ends drawn at random; the same for the same seed."""
    draw = random.Random(seed)
    shares = [share for _, share, _, _ in MOMENTS]
    calls = []
    for _, _, way, (least_ms, most_ms) in draw.choices(MOMENTS, shares, k=count):
        extension = TAKES_LEAVE if way is Way.WAITS else TALKS
        calls.append(PlannedCall(way, draw.randint(least_ms, most_ms), extension))
    return calls


@dataclass(frozen=True, slots=True)
class SippResult:
    successful: int
    failed: int
    errors: str
    """Why calls failed, in SIPp's words."""


class Sipp:
    """SIPp on ports of its own, calling one Asterisk. Runs in `folder`."""

    def __init__(self, pbx: Pbx, folder: Path, *, at_once: int) -> None:
        self._pbx = pbx
        self._folder = folder
        self._at_once = at_once
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "caller.ul").write_bytes(caller_sound())
        shutil.copy(SCENARIO, folder / SCENARIO.name)

    async def version(self) -> str:
        """The first line that names it. Raises `SippError` where it cannot be had; fetches it the first time."""
        process = await asyncio.create_subprocess_exec(
            str(SCRIPT), "--root", str(self._pbx.root), "sipp", "-v",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        found = [line.strip() for line in out.decode(errors="replace").splitlines() if line.strip().startswith("SIPp")]
        if not found:
            raise SippError(err.decode(errors="replace").strip() or "SIPp says nothing")
        return found[0]

    async def place(self, calls: Sequence[PlannedCall], *, per_second: float = 15.0, timeout_s: float) -> SippResult:
        """Place all calls, `at_once` at the most at any time. Raises `SippError` when they do not end in time."""
        # SIPp takes a pause of 0 ms for one without an end.
        lines = ["SEQUENTIAL", *(f"{call.extension};{call.way.value};{max(1, call.after_ms)}" for call in calls)]
        (self._folder / "calls.csv").write_text("\n".join(lines) + "\n")
        for name in ("stats.csv", "errors.log"):
            (self._folder / name).unlink(missing_ok=True)
        n_ports = 4 * self._at_once + 40
        first_port = free_rtp_ports(n_ports)
        words = [
            f"127.0.0.1:{self._pbx.sip_port}", "-sf", SCENARIO.name, "-inf", "calls.csv",
            "-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", str(free_sip_port()),
            "-min_rtp_port", str(first_port), "-max_rtp_port", str(first_port + n_ports - 1),
            "-m", str(len(calls)), "-l", str(self._at_once), "-r", f"{per_second * 10:.0f}", "-rp", "10000",
            "-nostdin", "-trace_stat", "-stf", "stats.csv", "-fd", "1", "-trace_err", "-error_file", "errors.log",
        ]  # fmt: skip
        with (self._folder / "screen.txt").open("wb") as screen:
            process = await asyncio.create_subprocess_exec(
                str(SCRIPT), "--root", str(self._pbx.root), "sipp", *words,
                cwd=self._folder, stdin=asyncio.subprocess.DEVNULL, stdout=screen, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            try:
                await asyncio.wait_for(process.wait(), timeout_s)
            except TimeoutError:
                raise SippError(f"{len(calls)} calls were not over after {timeout_s:g} s") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        return self._result(process.returncode)

    def _result(self, returncode: int | None) -> SippResult:
        errors = self._folder / "errors.log"
        said = errors.read_text(errors="replace") if errors.exists() else ""
        try:
            with (self._folder / "stats.csv").open(newline="") as file:
                last = list(csv.DictReader(file, delimiter=";"))[-1]
            return SippResult(int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), said)
        except (OSError, IndexError, KeyError, ValueError) as error:
            screen = (self._folder / "screen.txt").read_text(errors="replace")[-2000:]
            raise SippError(f"SIPp ended with {returncode} and left no figures ({error!r}): {said or screen}") from None
