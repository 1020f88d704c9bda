"""P1: how long a caller waits for an answer. `python -m benchmarks.turn_latency [--turns 30] [--calls 1] [--short]`

Real SIP calls through a real Asterisk to an engine and a local server of its own. What is measured is in the caller's
own recording: the last voiced sample of the question to the first voiced sample of the answer, less the delay of the
same telephone path with Echo() in the same run. Turns answered by the language model and by known answers are reported
apart, with the engine's own split of each. Prints a table and one line of JSON; exit code 1 when a turn went
unanswered, 2 when the parts could not be brought up.
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
from typing import Any

import yaml

from benchmarks.machine import Usage, usage
from benchmarks.turn_calls import Calls, Script, speak_questions
from benchmarks.turn_figures import Question, Turn, figures, table
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


async def measure(home: Path, pbx: Pbx, options: argparse.Namespace) -> tuple[list[Turn], dict[str, Any]]:
    """Bring up the stack, place the calls, and return the turns and the report."""
    questions = choose(load_questions(), options.turns, options.seed)
    async with _stack(home, pbx) as stack:
        url = stack.server_url.replace("http", "ws", 1)
        spoken = await speak_questions(url, TOKEN, list(dict.fromkeys(questions)), PROJECT / "var" / "speech")
        by_question: dict[Question, Script] = {script.question: script for script in spoken}
        roots = (stack.server.pid, stack.engine.pid, pbx.pid)
        async with SipCaller() as caller, EngineEvents().watch(stack.engine_url) as events:
            echoes = await _echo_ms(caller, pbx)
            load_before, before = os.getloadavg(), usage(roots)
            calls = Calls(caller, pbx.sip_uri(AGENT), events, options.recordings, _show)
            turns = await calls.run(
                [by_question[question] for question in questions],
                turns_per_call=TURNS_PER_CALL,
                at_once=options.calls,
            )
            after, load_after = usage(roots), os.getloadavg()
            echoes += await _echo_ms(caller, pbx)
    report = {"benchmark": "turn_latency", "calls_at_once": options.calls}
    report |= figures(turns, statistics.median(echoes))
    return turns, report | {"machine": _machine(load_before, load_after, before, after)}


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
    parser.add_argument("--calls", type=int, default=1, help="calls at once (%(default)s)")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_TURNS} turns: only whether it runs")
    parser.add_argument("--seed", type=int, default=1, help="order of the questions (%(default)s)")
    parser.add_argument("--pbx", type=Path, metavar="FOLDER", help="keep Asterisk's files here, not in a temporary one")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="keep each call as a stereo WAV")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the configuration and the logs of both parts")
    parser.add_argument("--json-out", type=Path, metavar="FILE", help="write the JSON line there too, with every turn")
    options = parser.parse_args()
    if options.turns < 1 or options.calls < 1:
        parser.error("--turns and --calls: at least 1")
    if options.short:
        options.turns = SHORT_TURNS
    return options


def _run(options: argparse.Namespace, scratch: Path) -> int:
    pbx = Pbx(options.pbx or scratch / "pbx")
    pbx.start()
    try:
        turns, report = asyncio.run(measure(options.logs or scratch / "stack", pbx, options))
    finally:
        pbx.stop()
    machine = report["machine"]
    print(table(turns, report))
    print(
        f"{machine['cores']} cores: this benchmark used {100 * machine['cpu_share_ours']:.0f} % of them, others "
        f"{100 * machine['cpu_share_others']:.0f} %; load {machine['loadavg_before'][0]:.2f} before, "
        f"{machine['loadavg_after'][0]:.2f} after"
    )
    if options.json_out:
        every = [
            {"said": t.said, "heard_as": t.caller_text, "question": t.question.text, "source": t.source,
             "answer_ms": t.answer_ms, "first_sound_ms": t.first_sound_ms, "filler": t.filler, "cut_off": t.cut_off,
             "timeline_ms": t.timeline_ms, "trouble": t.trouble}
            for t in turns
        ]  # fmt: skip
        options.json_out.write_text(json.dumps(report | {"every_turn": every}) + "\n")
    print(json.dumps(report))
    return 1 if report["unanswered"] else 0


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
