"""P2: how many calls a core carries. `python -m benchmarks.engine_load [--calls 150] [--short] [--write-docs]`

N callers, in this process, send and receive real RTP over loopback (mu-law, everyone talking, both ways) against the
programs of `engine_load_programs`, one after the other. Reported for each: its CPU time per call-second, and the gaps
between its packets by the kernel's time of arrival at the caller. Ratios are to the floor of the same run; the floor is
run first and last, because what else the machine does shows there. What a call may cost beside (echo cancelling,
wideband) is reported apart, and the longest pause that the garbage collector made in a program's measured time.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

import numpy as np

from ai_engine.media.echo import guards_for
from ai_engine.media.rtp import PT_PCMU, write_header
from benchmarks.doc_figures import machine_line, markdown_table, put
from benchmarks.engine_load_programs import PAYLOAD_TYPES, PROGRAMS, WEIGHTS, agent_second
from benchmarks.machine import usage

_SO_TIMESTAMPNS = 35
_WARM_UP_S = 2.0
_FRAME_S = 0.020
_SHORT_PROGRAMS = ("floor", "transport", "cancelled", "wideband")
_TITLES = {
    "floor": "floor",
    "transport": "transport and pacer",
    "voice": "+ voice activity",
    "engine": "+ conversation, stub provider",
    "guarded": "apart: + canceller at hand, no echo",
    "cancelled": "apart: + canceller at work",
    "wideband": "apart: G.722 lines, no canceller",
}


@dataclass(slots=True)
class Outcome:
    """One program under load."""

    program: str
    calls: int
    cpu_ms_per_call_second: float
    gap_p50_ms: float
    gap_p99_ms: float
    gap_max_ms: float
    received_share: float
    """Packets that came of those due."""
    rss_mb: float
    detail: dict[str, float] = field(default_factory=dict)


class Callers:
    """N telephones. Each sends every 20 ms, at a moment of its own; the kernel notes when packets come."""

    def __init__(self, ports: list[int], payload_type: int = PT_PCMU) -> None:
        self._payload_type = payload_type
        self._sockets = []
        for port in ports:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            sock.connect(("127.0.0.1", port))
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._sockets.append(sock)
        second = agent_second()
        self._payloads = [second[i : i + 160] for i in range(0, 8000, 160)]
        self._packet = bytearray(172)
        self._arrivals: list[list[int]] = [[] for _ in ports]
        self._began = time.monotonic()
        self._due = 0
        """Packets sent so far; the n-th is sent by call n % N."""

    def talk(self, seconds: float) -> None:
        """Go on sending and receiving in real time; arrivals are kept from this call on."""
        self._drain()
        for arrivals in self._arrivals:
            arrivals.clear()
        n = len(self._sockets)
        step = _FRAME_S / n
        end = self._due + int(seconds / _FRAME_S) * n
        while self._due < end:
            elapsed = time.monotonic() - self._began
            while self._due < end and self._due * step <= elapsed:
                self._send(self._due)
                self._due += 1
                if self._due % (10 * n) == 0:
                    self._drain()
            time.sleep(0.0005)
        self._drain()

    def gaps_ms(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Between consecutive packets of the same call."""
        return np.concatenate([np.diff(np.array(arrivals)) / 1e6 for arrivals in self._arrivals])

    def received(self) -> int:
        return sum(map(len, self._arrivals))

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def _send(self, due: int) -> None:
        n, call = divmod(due, len(self._sockets))
        self._packet[12:] = self._payloads[n % len(self._payloads)]
        write_header(self._packet, self._payload_type, n & 0xFFFF, n * 160 & 0xFFFFFFFF, call + 1, marker=n == 0)
        try:
            self._sockets[call].send(self._packet)
        except OSError:  # the program has not opened or has already closed the port
            pass

    def _drain(self) -> None:
        for sock, arrivals in zip(self._sockets, self._arrivals, strict=True):
            try:
                while True:
                    _, ancillary, _, _ = sock.recvmsg(2048, 64)
                    seconds, nanoseconds = struct.unpack("@ll", ancillary[0][2])
                    arrivals.append(seconds * 1_000_000_000 + nanoseconds)
            except OSError:
                continue


def measure(program: str, n_calls: int, seconds: float, first_port: int) -> Outcome:
    """One program under load. Raises `RuntimeError` when it does not come up or nothing is heard of it."""
    command = [sys.executable, "-m", "benchmarks.engine_load_programs", program, str(n_calls), str(first_port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(word: str) -> dict[str, float]:
            process.stdin.write(word + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return dict(json.loads(process.stdout.readline()))  # type: ignore[union-attr]

        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                line = process.stdout.readline() if selector.select(timeout=30) else ""
            if not line:
                raise RuntimeError(f"the program {program!r} did not start; its error is above")
            callers = Callers(json.loads(line)["ports"], PAYLOAD_TYPES.get(program, PT_PCMU))
            callers.talk(_WARM_UP_S)
            before = ask("mark")
            callers.talk(seconds)
            after = ask("mark")
            gaps, received = callers.gaps_ms(), callers.received()
            callers.close()
            process.stdin.write("stop\n")
            process.stdin.close()
            process.wait(timeout=30)
        finally:
            process.kill()
    if not gaps.size:
        raise RuntimeError(f"no packet came from the program {program!r}")
    cpu_s, elapsed_s = after["cpu_s"] - before["cpu_s"], after["at_s"] - before["at_s"]
    known = {"cpu_s", "at_s", "rss_mb"}
    return Outcome(
        program=program,
        calls=n_calls,
        cpu_ms_per_call_second=round(1000 * cpu_s / elapsed_s / n_calls, 3),
        gap_p50_ms=round(float(np.percentile(gaps, 50)), 2),
        gap_p99_ms=round(float(np.percentile(gaps, 99)), 2),
        gap_max_ms=round(float(gaps.max()), 2),
        received_share=round(received / (n_calls * seconds / _FRAME_S), 4),
        rss_mb=round(after["rss_mb"], 1),
        detail={key: value for key, value in after.items() if key not in known},
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each program [%(default)s]")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, help="[all; with --short some]")
    parser.add_argument("--first-port", type=int, default=44000)
    parser.add_argument("--short", action="store_true", help="5 calls for 1 s: only shows that it runs")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/performance.md")
    arguments = parser.parse_args()
    n_calls, seconds = (5, 1.0) if arguments.short else (arguments.calls, arguments.seconds)
    wanted = arguments.programs or list(_SHORT_PROGRAMS if arguments.short else PROGRAMS)
    programs = [p for p in wanted if p in {"floor", "transport"} or WEIGHTS.is_file()]
    if programs != wanted:
        print(f"only floor and transport: {WEIGHTS.name} is not installed")
    if guards_for("auto") is None:
        print("without the cancellers: their extra, echo, is not installed")
        programs = [p for p in programs if p not in {"guarded", "cancelled"}]
    if "floor" in programs and not arguments.short:
        programs.append("floor")

    load_before, before = os.getloadavg()[0], usage()
    print(f"{n_calls} calls, {seconds:g} s each, load average before {load_before:.2f}\n")
    columns = ("x floor", "gap p50", "gap p99", "gap max", "heard", "MB", "gc max")
    print(f"{'program':<10} {'CPU ms/call-s':>13}" + "".join(f" {column:>8}" for column in columns))
    outcomes: list[Outcome] = []
    others = 0.0
    for program in programs:
        alone_before = usage()
        outcome = measure(program, n_calls, seconds, arguments.first_port)
        others = max(others, usage().shares_since(alone_before)[1])
        outcomes.append(outcome)
        ratio = _ratio(outcome, outcomes)
        print(
            f"{program:<10} {outcome.cpu_ms_per_call_second:>13.2f} {ratio:>8} {outcome.gap_p50_ms:>8.1f}"
            f" {outcome.gap_p99_ms:>8.1f} {outcome.gap_max_ms:>8.1f} {outcome.received_share:>8.1%}"
            f" {outcome.rss_mb:>8.0f} {outcome.detail.get('gc_longest_ms', 0.0):>8.2f}",
            flush=True,
        )
    ours = usage().shares_since(before)[0]
    machine = {"cores": os.cpu_count() or 1, "cpu_share_ours": ours, "cpu_share_others": others}
    if arguments.write_docs:
        put("engine_load", _markdown(outcomes, n_calls, seconds, machine))
    print()
    report = {"benchmark": "engine_load", "load_before": load_before, "machine": machine}
    print(json.dumps({**report, "outcomes": [asdict(o) for o in outcomes]}))
    return 0


def _markdown(outcomes: list[Outcome], n_calls: int, seconds: float, machine: dict[str, float]) -> str:
    head = ("program", "CPU ms per call-second", "× floor", "gap p50", "p99", "max", "RSS MB", "collector's longest ms")
    rows = [
        (
            "floor again" if number and outcome.program == "floor" else _TITLES[outcome.program],
            f"{outcome.cpu_ms_per_call_second:.2f}",
            _ratio(outcome, outcomes),
            f"{outcome.gap_p50_ms:.1f}",
            f"{outcome.gap_p99_ms:.1f}",
            f"{outcome.gap_max_ms:.1f}",
            outcome.rss_mb,
            outcome.detail.get("gc_longest_ms", "") if outcome.program != "floor" else "",
        )
        for number, outcome in enumerate(outcomes)
    ]
    said = f"{n_calls} calls, {seconds:g} s for each program; {machine_line(machine)} at the most."
    return f"\n{said}\n\n{markdown_table(head, rows)}"


def _ratio(outcome: Outcome, outcomes: list[Outcome]) -> str:
    floors = [o.cpu_ms_per_call_second for o in outcomes if o.program == "floor"]
    return f"{outcome.cpu_ms_per_call_second / floors[0]:.2f}" if floors and floors[0] else "-"


if __name__ == "__main__":
    sys.exit(main())
