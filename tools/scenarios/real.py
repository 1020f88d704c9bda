"""Scenarios in real time, as SIP calls through a real Asterisk. To be written; `run_real` is what the command calls."""

from __future__ import annotations

import argparse
import sys

from tools.scenarios.model import Scenario


def run_real(scenarios: dict[str, Scenario], options: argparse.Namespace) -> int:
    """Run them; returns the exit code."""
    print(f"error: real mode is not there yet, for {len(scenarios)} scenarios", file=sys.stderr)
    return 2
