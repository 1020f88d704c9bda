"""Where a call's CPU time goes on the media thread. `python -m benchmarks.media_profile [--short] [--write-docs]`

The program `engine` of `engine_load_programs` under the same load, with cProfile on its media thread: the shares of the
functions' own time, system calls included. cProfile makes small functions look dearer than they are; it says where to
look, not what a call costs (that is `engine_load`). Beside it: how many memory blocks more the process holds after a
call-second than before it, for what is allocated and freed within a tick is cheap, and what piles up is not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from benchmarks.doc_figures import machine_line, markdown_table, put
from benchmarks.engine_load import Callers
from benchmarks.machine import usage

_WARM_UP_S = 2.0


def profile(n_calls: int, seconds: float, first_port: int, top: int) -> dict[str, float | list[list[object]]]:
    """The program's own report. Raises `RuntimeError` when it does not start."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.engine_load_programs",
        "engine",
        str(n_calls),
        str(first_port),
        str(top),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the engine's program did not start; its error is above")
            callers = Callers(json.loads(line)["ports"])
            callers.talk(_WARM_UP_S)
            process.stdin.write("mark\n")
            process.stdin.flush()
            process.stdout.readline()
            callers.talk(seconds)
            process.stdin.write("profile\n")
            process.stdin.flush()
            found: dict[str, float | list[list[object]]] = json.loads(process.stdout.readline())
            callers.close()
            process.stdin.write("stop\n")
            process.stdin.close()
            process.wait(timeout=30)
        finally:
            process.kill()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--top", type=int, default=16, help="functions shown [%(default)s]")
    parser.add_argument("--first-port", type=int, default=45000)
    parser.add_argument("--short", action="store_true", help="5 calls for 1 s: only shows that it runs")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/performance.md")
    arguments = parser.parse_args()
    n_calls, seconds = (5, 1.0) if arguments.short else (arguments.calls, arguments.seconds)
    load_before, before = os.getloadavg()[0], usage()
    found = profile(n_calls, seconds, arguments.first_port, arguments.top)
    ours, others = usage().shares_since(before)
    machine = {"cores": os.cpu_count() or 1, "cpu_share_ours": ours, "cpu_share_others": others}
    rows = found["top"]
    assert isinstance(rows, list)
    print(f"{n_calls} calls, {seconds:g} s; {machine_line(machine)}; load average before {load_before:.2f}\n")
    print(f"{'own time':>9} {'µs a tick':>10}  function")
    for name, share, microseconds in rows:
        print(f"{share:>9.1%} {microseconds:>10.2f}  {name}")
    kept = f"{found['blocks_per_call_second']:.1f} memory blocks more after each call-second"
    print(f"\n{kept}")
    if arguments.write_docs:
        table = markdown_table(
            ("function", "share of own time", "µs a tick"),
            [(f"`{name}`", f"{share:.1%}", f"{microseconds:.1f}") for name, share, microseconds in rows],
        )
        put("media_profile", f"\n{n_calls} calls, {seconds:g} s; {machine_line(machine)}; {kept}.\n\n{table}\n")
    print(json.dumps({"benchmark": "media_profile", "load_before": load_before, "machine": machine, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
