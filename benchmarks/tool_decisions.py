"""How often the embedded model chooses the right tool. `python -m benchmarks.tool_decisions [--policy auto] [--short]`

Each remark of `benchmarks/data/tool_questions.yaml` is put to `local_ai_server.tool_calls.choose` over the real worker.
A tool that was called and not asked for is counted apart: to hang up on a caller is worse than to go on.
Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import structlog
import yaml

from local_ai_server.service import Place
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.tool_calls import choose
from model_worker.spec import Priority
from voice_wire.messages import LlmToolRequest

QUESTIONS = Path(__file__).parent / "data" / "tool_questions.yaml"
PERSONA = "You answer the phone of a clinic. You are friendly and brief."


async def measure(policy: str, limit: int | None, *, show: bool) -> dict[str, Any]:
    """Shares of the remarks that were decided right, by kind."""
    data = yaml.safe_load(QUESTIONS.read_text())
    settings = read_settings(Path("no.env"), {"LOCAL_AI_MODE": "full", "ENABLE_STT": "false", "ENABLE_TTS": "false"})
    switchboard = Switchboard.from_settings(settings)
    counts: Counter[str] = Counter()
    paths: Counter[str] = Counter()
    times_ms = []
    await switchboard.start()
    try:
        for remark in data["remarks"][:limit]:
            message = LlmToolRequest.model_validate({"tools": data["tools"], "tool_policy": policy})
            began = time.perf_counter()
            answer = await choose(
                switchboard.service("llm"),
                messages=[{"role": "system", "content": PERSONA}, {"role": "user", "content": remark["said"]}],
                message=message,
                session_key="benchmark",
                place=Place(Priority.FINAL),
            )
            times_ms.append(1000 * (time.perf_counter() - began))
            called = dict(answer.tool_calls[0]) if answer.tool_calls else {"name": "none", "parameters": {}}
            verdict = _verdict(remark, called)
            counts[verdict] += 1
            counts["asked" if remark["tool"] != "none" else "not_asked"] += 1
            paths[answer.tool_path] += 1
            if show:
                print(f"{verdict:10} {remark['tool']:22}{called['name']:22}{answer.tool_path:12}{remark['said']}")
    finally:
        await switchboard.stop()
    return {
        "policy": policy,
        **{name: counts[name] for name in ("asked", "right", "arguments", "missed", "other_tool")},
        **{name: counts[name] for name in ("not_asked", "left", "unasked")},
        "paths": dict(paths),
        "p50_ms": round(statistics.median(times_ms)),
    }


def _verdict(remark: dict[str, Any], called: dict[str, Any]) -> str:
    if remark["tool"] == "none":
        return "left" if called["name"] == "none" else "unasked"
    if called["name"] != remark["tool"]:
        return "missed" if called["name"] == "none" else "other_tool"
    wanted = remark.get("arguments", {})
    return "right" if wanted.items() <= called["parameters"].items() else "arguments"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", choices=("auto", "strict", "compatible", "all"), default="all")
    parser.add_argument("--show", action="store_true", help="each remark and what was decided")
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    policies = ("auto", "strict", "compatible") if options.policy == "all" else (options.policy,)
    rows = [asyncio.run(measure(policy, 2 if options.short else None, show=options.show)) for policy in policies]
    names = ("policy", "asked", "right", "arguments", "missed", "other_tool", "not_asked", "left", "unasked", "p50_ms")
    print("".join(f"{name:>12}" for name in names))
    for row in rows:
        print("".join(f"{row[name]!s:>12}" for name in names))
    print(json.dumps({"benchmark": "tool_decisions", "rows": rows}))


if __name__ == "__main__":
    main()
