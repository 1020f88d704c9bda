"""Real calls by three ways to one model: `python -m benchmarks.answer_path_calls [--turns 12] [--short]`

The providers of config/local_hybrid.yaml (see `answer_paths`), each in an engine and a `local_ai_server` of its own,
one after the other: a caller behind Asterisk asks the questions of `turn_latency`, known answers and the language
model's by turns, and listens. Measured is the silence from his last word to the agent's first, less the line's own
delay. Prints a table and one JSON line; exit code 1 when a question was not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.answer_paths import PATHS, SETTINGS, llama_server, providers
from benchmarks.doc_figures import machine_line, markdown_table, put
from benchmarks.machine import usage
from benchmarks.turn_calls import Calls, speak_questions
from benchmarks.turn_figures import Turn
from benchmarks.turn_latency import AGENT, ECHO, TURNS_PER_CALL, choose, load_questions
from tools.call import CallError, SipCaller
from tools.call.calibrate import echo_delays_ms
from tools.engine_events import EngineEvents
from tools.free_ports import free_tcp_port
from tools.pbx_instance import Pbx, PbxUnavailable
from tools.speech import SpeechError
from tools.stack import PROJECT, Ports, Stack, StackError

_SPEECH: Final = {"ENABLE_STT", "ENABLE_TTS"}
_RENDERING_S: Final = 900.0
"""For an engine to be ready: what the persona knows by heart is rendered anew for a voice by another way."""


def _stack(home: Path, pbx: Pbx, path: str, *, server: int, llama: int) -> Stack:
    """An engine whose contexts' provider is that of `path`."""
    asterisk = {
        "ASTERISK_HOST": pbx.host,
        "ASTERISK_ARI_PORT": str(pbx.http_port),
        "ASTERISK_ARI_USERNAME": pbx.ari_user,
        "ASTERISK_ARI_PASSWORD": pbx.ari_password,
        "ASTERISK_ARI_APP": pbx.app,
    }
    return Stack(
        home,
        asterisk,
        ports=Ports(server=server),
        config={"providers": {"local": providers(server, llama)[path]}},
        environment={name: value for name, value in SETTINGS.items() if name not in _SPEECH},
    )


@asynccontextmanager
async def _running(stack: Stack) -> AsyncIterator[Stack]:
    await stack.start(engine_timeout_s=_RENDERING_S)
    try:
        yield stack
    finally:
        await stack.stop()


async def turns_by(home: Path, pbx: Pbx, path: str, turns: int) -> tuple[list[Turn], float]:
    """What became of the questions, and the line's own delay in milliseconds."""
    questions = choose(load_questions(), turns, seed=1)
    server, port = free_tcp_port(), free_tcp_port()
    llama = llama_server(port, home / "llama.log") if path == "local_hybrid" else None
    try:
        if llama is not None:
            llama.start()
            await llama.ready(f"http://127.0.0.1:{port}/health", 120.0)
        async with _running(_stack(home, pbx, path, server=server, llama=port)) as stack:
            url = stack.server_url.replace("http", "ws", 1)
            spoken = await speak_questions(url, "", list(dict.fromkeys(questions)), PROJECT / "var" / "speech")
            scripts = {script.question: script for script in spoken}
            async with SipCaller() as caller, EngineEvents().watch(stack.engine_url) as events:
                async with caller.dial(pbx.sip_uri(ECHO)) as line:
                    echo_ms = statistics.median(await echo_delays_ms(line))
                calls = Calls(caller, pbx.sip_uri(AGENT), events)
                asked = [scripts[question] for question in questions]
                return await calls.run(asked, turns_per_call=TURNS_PER_CALL, at_once=1), echo_ms
    finally:
        if llama is not None:
            await llama.stop(5.0)


def waits(turns: list[Turn], echo_ms: float) -> dict[str, float]:
    """Of what a caller waits for an answer: medians and the longest, by where the answer came from."""
    row: dict[str, float] = {"turns": len(turns), "answered": sum(turn.answered for turn in turns)}
    for kind in ("known", "llm"):
        waited = [t.answer_ms - echo_ms for t in turns if t.answer_ms is not None and t.group == kind]
        if waited:
            row[f"{kind}_p50_ms"] = round(statistics.median(waited), 1)
            row[f"{kind}_most_ms"] = round(max(waited), 1)
    return row


async def measure(home: Path, pbx: Pbx, turns: int) -> dict[str, Any]:
    """All three, one after the other."""
    rows, load_before, before = {}, os.getloadavg(), usage((pbx.pid,))
    for path in PATHS:
        measured, echo_ms = await turns_by(home / path, pbx, path, turns)
        rows[path] = waits(measured, echo_ms)
        for turn in measured:
            print(f"  {path}: {turn.question.text}  ->  {turn.said or turn.trouble}", file=sys.stderr, flush=True)
    ours, others = usage((pbx.pid,)).shares_since(before)
    machine = {
        "cores": os.cpu_count() or 0,
        "loadavg_before": round(load_before[0], 2),
        "loadavg_after": round(os.getloadavg()[0], 2),
        "cpu_share_ours": round(ours, 3),
        "cpu_share_others": round(others, 3),
    }
    return {"benchmark": "answer_path_calls", "paths": rows, "machine": machine}


def table(report: dict[str, Any]) -> str:
    """For the terminal and the document."""

    def pair(row: dict[str, float], kind: str) -> str:
        if f"{kind}_p50_ms" not in row:
            return "-"
        return f"{row[f'{kind}_p50_ms']:.0f} / {row[f'{kind}_most_ms']:.0f} ms"

    head = ("", "answered", "known answers, p50 / most", "the model's answers, p50 / most")
    return markdown_table(
        head,
        [
            (f"`{path}`", f"{row['answered']} of {row['turns']}", pair(row, "known"), pair(row, "llm"))
            for path, row in report["paths"].items()
        ],
    )


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answer_path_calls", description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=12, help="by each path (%(default)s)")
    parser.add_argument("--short", action="store_true", help="2 turns: only whether it runs")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/, if all was answered")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="answer-path-calls-") as scratch:
        pbx = Pbx(Path(scratch) / "pbx")
        try:
            pbx.start()
            try:
                report = asyncio.run(measure(Path(scratch), pbx, 2 if options.short else max(1, options.turns)))
            finally:
                pbx.stop()
        except (PbxUnavailable, StackError, SpeechError, CallError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    figures, note = table(report), machine_line(report["machine"])
    print(f"{figures}\n{note}")
    complete = all(row["answered"] == row["turns"] for row in report["paths"].values())
    if options.write_docs and complete:
        put("answer_path_calls", f"{figures}\n\n{note[0].upper()}{note[1:]}.")
    print(json.dumps(report))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
