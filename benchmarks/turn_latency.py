"""P1: how long a caller waits for an answer. `python -m benchmarks.turn_latency [--turns 30] [--paused 200] [--short]`

Real SIP calls through a real Asterisk to an engine and a local server of its own. What is measured is in the caller's
own recording: the last voiced sample of the question to the first voiced sample of the answer, less the delay of the
same telephone path with Echo() in the same run. Turns answered by the language model and by known answers are reported
apart, with the engine's own split of each; turns that were cut off and ends that were missed are counted. `--paused N`
asks N more, each with a pause of 200 to 700 ms inside (data/turn_pauses.yaml), reported apart. Prints a table and one
line of JSON; exit code 1 when a turn went unanswered, 2 when the parts could not be brought up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.doc_figures import machine_line
from benchmarks.machine import Usage, usage
from benchmarks.paused_speech import load_sentences, plan
from benchmarks.turn_calls import Calls, Script, speak_questions
from benchmarks.turn_docs import write_latency
from benchmarks.turn_figures import Question, Turn, as_dict, figures, table
from tools.call import CallError, SipCaller
from tools.call.calibrate import echo_delays_ms
from tools.engine_events import EngineEvents
from tools.pbx_instance import Pbx, PbxUnavailable
from tools.speech import SpeechError
from tools.stack import PROJECT, Stack, StackError

DATA = Path(__file__).with_name("data") / "turn_questions.yaml"
TOKEN = "token-of-the-benchmark"
TURNS_PER_CALL = 6
SHORT_TURNS = 4
AGENT, ECHO = 700, 600


class Measured(NamedTuple):
    """Turns as people ask them, those of `--paused`, and the report on both."""

    turns: list[Turn]
    paused: list[Turn]
    report: dict[str, Any]


def load_questions(path: Path = DATA) -> list[Question]:
    """All of them, known answers and the language model's by turns."""
    data: dict[str, list[dict[str, Any]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    groups = []
    for expected, rows in data.items():
        pieces = [(row["say"],) if isinstance(row["say"], str) else tuple(row["say"]) for row in rows]
        groups.append([
            Question(said, row.get("pause_ms", 0), expected) for said, row in zip(pieces, rows, strict=True)
        ])  # fmt: skip
    return [question for pair in zip(*groups, strict=True) for question in pair]


def choose(questions: list[Question], turns: int, seed: int) -> list[Question]:
    """`turns` of them: all before any comes again; known answers and the language model's stay in turn."""
    if turns <= SHORT_TURNS:
        return questions[:turns]
    known, llm = questions[0::2], questions[1::2]
    rng = random.Random(seed)
    chosen: list[Question] = []
    while len(chosen) < turns:
        rng.shuffle(known)
        rng.shuffle(llm)
        chosen += [question for pair in zip(known, llm, strict=True) for question in pair]
    return chosen[:turns]


def _stack(home: Path, pbx: Pbx) -> Stack:
    asterisk = {
        "ASTERISK_HOST": pbx.host,
        "ASTERISK_ARI_PORT": str(pbx.http_port),
        "ASTERISK_ARI_USERNAME": pbx.ari_user,
        "ASTERISK_ARI_PASSWORD": pbx.ari_password,
        "ASTERISK_ARI_APP": pbx.app,
        "LOCAL_WS_AUTH_TOKEN": TOKEN,
    }
    return Stack(home, asterisk)


async def _echo_ms(caller: SipCaller, pbx: Pbx) -> list[float]:
    async with caller.dial(pbx.sip_uri(ECHO)) as call:
        return await echo_delays_ms(call)


async def measure(home: Path, pbx: Pbx, options: argparse.Namespace) -> Measured:
    """Bring up the stack and place the calls."""
    questions = choose(load_questions(), options.turns, options.seed) if options.turns else []
    paused = [one.question for one in plan(load_sentences(), paused=options.paused, plain=0, seed=options.seed)]
    async with _stack(home, pbx) as stack:
        url = stack.server_url.replace("http", "ws", 1)
        spoken = await speak_questions(
            url, TOKEN, list(dict.fromkeys([*questions, *paused])), PROJECT / "var" / "speech"
        )
        by_question: dict[Question, Script] = {script.question: script for script in spoken}
        roots = (stack.server.pid, stack.engine.pid, pbx.pid)
        async with SipCaller() as caller, EngineEvents().watch(stack.engine_url) as events:
            echoes = await _echo_ms(caller, pbx)
            load_before, before = os.getloadavg(), usage(roots)
            calls = Calls(caller, pbx.sip_uri(AGENT), events, options.recordings, _show)

            async def ask(asked: list[Question]) -> list[Turn]:
                scripts = [by_question[question] for question in asked]
                return await calls.run(scripts, turns_per_call=TURNS_PER_CALL, at_once=options.calls)

            turns, paused_turns = await ask(questions), await ask(paused)
            after, load_after = usage(roots), os.getloadavg()
            echoes += await _echo_ms(caller, pbx)
    echo_ms = statistics.median(echoes)
    report = {"benchmark": "turn_latency", "calls_at_once": options.calls} | figures(turns, echo_ms)
    if paused:
        report["paused_turns"] = figures(paused_turns, echo_ms)
    report["machine"] = _machine(load_before, load_after, before, after)
    return Measured(turns, paused_turns, report)


def _machine(
    load_before: tuple[float, ...], load_after: tuple[float, ...], before: Usage, after: Usage
) -> dict[str, Any]:
    ours, others = after.shares_since(before)
    return {
        "cores": os.cpu_count(),
        "loadavg_before": [round(load, 2) for load in load_before],
        "loadavg_after": [round(load, 2) for load in load_after],
        "cpu_share_ours": round(ours, 3),
        "cpu_share_others": round(others, 3),
    }


def _show(turn: Turn) -> None:
    waited = f"{turn.answer_ms:5.0f} ms" if turn.answer_ms is not None else "no answer"
    print(f"  {waited}  {turn.question.text}  ->  {turn.said or turn.trouble}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turn_latency", description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=30, help="questions to ask (%(default)s)")
    parser.add_argument("--paused", type=int, default=0, help="more of them, with a pause inside each (%(default)s)")
    parser.add_argument("--calls", type=int, default=1, help="calls at once (%(default)s)")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_TURNS} turns: only whether it runs")
    parser.add_argument("--seed", type=int, default=1, help="order of the questions (%(default)s)")
    parser.add_argument("--pbx", type=Path, metavar="FOLDER", help="keep Asterisk's files here, not in a temporary one")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="keep each call as a stereo WAV")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the configuration and the logs of both parts")
    parser.add_argument("--json-out", type=Path, metavar="FILE", help="write the JSON line there too, with every turn")
    parser.add_argument("--write-docs", action="store_true", help="put the figures and the pictures into docs/")
    options = parser.parse_args()
    if min(options.turns, options.paused) < 0 or options.turns + options.paused < 1 or options.calls < 1:
        parser.error("at least one turn and one call")
    if options.short:
        options.turns = SHORT_TURNS
    return options


def _run(options: argparse.Namespace, scratch: Path) -> int:
    pbx = Pbx(options.pbx or scratch / "pbx")
    pbx.start()
    try:
        measured = asyncio.run(measure(options.logs or scratch / "stack", pbx, options))
    finally:
        pbx.stop()
    report, machine = measured.report, measured.report["machine"]
    if measured.turns:
        print(table(measured.turns, report))
    if measured.paused:
        print("\nwith a pause inside each")
        print(table(measured.paused, report["paused_turns"]))
    print(
        f"{machine_line(machine)}; load {machine['loadavg_before'][0]:.2f} before, "
        f"{machine['loadavg_after'][0]:.2f} after"
    )
    every = {
        "every_turn": [as_dict(turn) for turn in measured.turns],
        "every_paused_turn": [as_dict(turn) for turn in measured.paused],
    }
    if options.json_out:
        options.json_out.write_text(json.dumps(report | every) + "\n")
    if options.write_docs:
        write_latency(report | every)
    print(json.dumps(report))
    return 1 if any(not turn.answered for turn in (*measured.turns, *measured.paused)) else 0


def main() -> int:
    """Measure and report."""
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="turn-latency-") as scratch:
        try:
            return _run(options, Path(scratch))
        except (PbxUnavailable, StackError, SpeechError, CallError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
