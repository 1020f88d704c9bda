"""`python -m tools.load_test --calls 2000 --at-once 20`: short SIP calls with random ends, and what they leave behind.

Real callers (SIPp), a real Asterisk of its own and a real engine process on loopback; the answers are scripted, no
model is needed but voice activity. Afterwards nothing may be left: no channel, bridge, call, task, port, socket or
thread, no memory beyond what the second cycle needed, no error in the logs; and a call must still be answered.
Exit code: 0 when all of that is so, 1 when it is not, 2 when the parts could not be brought up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path

from tools.load_test.sipp import SippError
from tools.load_test.soak import GROWTH, Report, soak
from tools.pbx_instance import PbxUnavailable
from tools.stack import StackError


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.load_test", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=2000, help="in all [%(default)s]")
    parser.add_argument("--at-once", type=int, default=20, help="[%(default)s]")
    parser.add_argument("--cycles", type=int, default=10, help="after each, memory is looked at [%(default)s]")
    parser.add_argument("--per-second", type=float, default=15.0, help="new calls, at the most [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which calls end [%(default)s]")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and configuration there")
    arguments = parser.parse_args()
    # As Ctrl-C: whatever was brought up is brought down, too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with tempfile.TemporaryDirectory(prefix="parley-load-") as temporary:
        home = arguments.keep.resolve() if arguments.keep else Path(temporary)
        try:
            report = asyncio.run(
                soak(
                    home, calls=arguments.calls, at_once=arguments.at_once, cycles=arguments.cycles,
                    per_second=arguments.per_second, seed=arguments.seed, tell=lambda line: print(line, flush=True),
                )
            )  # fmt: skip
        except (PbxUnavailable, StackError, SippError) as error:
            print(f"load test: {error}", file=sys.stderr)
            return 2
    show(report)
    return 1 if report.complaints or report.growth > GROWTH else 0


def show(report: Report) -> None:
    """For people, and one JSON line."""
    print(f"\n{report.sipp}")
    for state, count in report.states.most_common():
        print(f"{count:>6}  ended while {state}")
    print(f"memory after the last cycle: {report.growth:.3f} of that after the second (at most {GROWTH:.2f})")
    print(f"longest pauses of the garbage collector, by generation: {report.gc_longest_ms} ms")
    for complaint in report.complaints:
        print(f"WRONG: {complaint}")
    print(json.dumps({"tool": "load_test", **report.as_json()}))


if __name__ == "__main__":
    sys.exit(main())
