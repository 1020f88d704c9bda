"""`python -m tools.scenarios [names …] [--real] [--list]`: run scenarios and say which came out as they should.

Without names: all that there are for the mode. Exit code 1 when one failed (or passed though it is marked as known to
fail), 2 when a file is wrong or the parts could not be brought up.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ai_engine.config_file import ConfigError
from tools.call import CallError
from tools.pbx_instance import Pbx, PbxUnavailable
from tools.scenarios.judge import AgentTurn, CallerTurn, Observed, StateChange, complaints
from tools.scenarios.load import FOLDER, load_all
from tools.scenarios.model import Mode, Scenario
from tools.scenarios.real import AT_ONCE, Heard, run_all
from tools.scenarios.real_sound import RealSound, RealSoundError
from tools.scenarios.virtual import run
from tools.speech import SpeechError
from tools.stack import StackError


def timeline(observed: Observed) -> Iterator[str]:
    """What happened, one line each, for people."""
    lines = [(begin, f"caller speaks until {end - observed.began:.2f}") for begin, end in observed.spoken]
    for one in observed.happened:
        if isinstance(one, CallerTurn):
            lines.append((one.at, f"caller's turn: {one.text!r}"))
        elif isinstance(one, AgentTurn):
            cut = " (interrupted)" if one.interrupted else ""
            lines.append((one.began if one.began is not None else one.at, f"agent, {one.kind}: {one.text!r}{cut}"))
        elif isinstance(one, StateChange):
            lines.append((one.at, one.state + (f": {one.detail}" if one.detail else "")))
    for at, what in sorted(lines, key=lambda line: line[0]):
        yield f"      {at - observed.began:7.2f} s  {what}"


def verdict(scenario: Scenario, found: list[str], mode: Mode) -> tuple[str, bool]:
    """The word for it, and whether that is as it should be."""
    if mode in scenario.known_failing:
        return ("known", True) if found else ("PASSED, though marked as failing", False)
    return ("FAILED", False) if found else ("ok", True)


def report(name: str, scenario: Scenario, observed: Observed, mode: Mode, *, verbose: bool = False) -> bool:
    """Print how it came out; True when that is as it should be."""
    found = complaints(scenario, observed, mode)
    word, good = verdict(scenario, found, mode)
    print(f"{word:6} {name}")
    if word == "known":
        print(f"      known to fail: {scenario.known_failing[mode]}")
    for complaint in found:
        print(f"      {complaint}")
    if verbose or not good:
        print("\n".join(timeline(observed)), flush=True)
    return good


def run_virtual(scenarios: dict[str, Scenario], options: argparse.Namespace) -> int:
    """All of them on virtual time; the number that did not come out as they should."""
    begun = time.perf_counter()
    failed = 0
    if options.sound:
        with RealSound() as sound:
            for name, scenario in scenarios.items():
                observed = run(scenario, folder=options.folder, speak=sound.speak, network=sound.network())
                failed += not report(name, scenario, observed, "virtual", verbose=options.verbose)
    else:
        for name, scenario in scenarios.items():
            observed = run(scenario, folder=options.folder)
            failed += not report(name, scenario, observed, "virtual", verbose=options.verbose)
    print(f"{len(scenarios) - failed} of {len(scenarios)} as they should be, {time.perf_counter() - begun:.1f} s")
    return failed


def run_real(scenarios: dict[str, Scenario], options: argparse.Namespace) -> int:
    """All of them as calls; the number that did not come out as they should."""
    begun = time.perf_counter()
    results: list[bool] = []

    def tell(heard: Heard) -> None:
        scenario = heard.scenario
        results.append(report(heard.name, scenario, heard.observed, "real", verbose=options.verbose))
        print(f"      heard in the caller's recording: {heard.words or '(nothing)'}", flush=True)
        if options.recordings is not None and heard.recording is not None:
            options.recordings.mkdir(parents=True, exist_ok=True)
            heard.recording.save(options.recordings / f"{heard.name}.wav")

    with tempfile.TemporaryDirectory(prefix="scenarios-") as scratch:
        pbx = Pbx(Path(scratch) / "pbx")
        pbx.start()
        try:
            home = Path(scratch)
            running = run_all(
                home, pbx, scenarios, on_heard=tell, at_once=options.at_once, folder=options.folder, words=True
            )
            asyncio.run(running)
        finally:
            pbx.stop()
    good = sum(results)
    print(f"{good} of {len(scenarios)} as they should be, {time.perf_counter() - begun:.0f} s")
    return len(scenarios) - good


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.scenarios", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="scenarios; all without any")
    parser.add_argument("--real", action="store_true", help="in real time, through a real Asterisk with real models")
    parser.add_argument(
        "--sound", action="store_true", help="virtual time, but with spoken sound and the real voice-activity network"
    )
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--verbose", "-v", action="store_true", help="print what happened each time")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files are (%(default)s)")
    parser.add_argument(
        "--at-once", type=int, default=AT_ONCE, metavar="N", help="real mode: calls at once (%(default)s)"
    )
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="real mode: keep each call as a stereo WAV")
    return parser.parse_args()


def main() -> int:
    """Run what is asked for."""
    options = _arguments()
    mode: Mode = "real" if options.real else "virtual"
    try:
        scenarios = load_all(options.names, options.folder)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if options.list:
        for name, scenario in scenarios.items():
            print(f"{name:32} {' '.join(scenario.modes):13} {scenario.about}")
        return 0
    for name in [name for name, scenario in scenarios.items() if mode not in scenario.modes]:
        skipped = scenarios.pop(name)
        if options.names:
            print(f"not in {mode} mode: {name}: {skipped.not_in[mode]}")
    if not scenarios:
        return 0
    try:
        return 1 if (run_real if options.real else run_virtual)(scenarios, options) else 0
    except (RealSoundError, PbxUnavailable, StackError, SpeechError, CallError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
