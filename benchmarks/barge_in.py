"""P3: how soon the agent falls silent for a caller, and what it does not fall silent for.

`python -m benchmarks.barge_in [--interruptions 30] [--echoes 100] [--calls 1] [--short]`

Real SIP calls through a real Asterisk to an engine and a local server of its own. Measured in the caller's recording:
onset of the caller's words → the last sample of the agent. Then coughs and "uh-huh" (the agent should go on), "yes" and
"no" at the end of its question (to be heard), and the agent's own voice coming back through a hands-free telephone,
20 dB down and 60 to 300 ms late, while it speaks (neither pauses nor interruptions). Prints a table and one line of
JSON; exit code 2 when the parts could not be brought up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.barge_in_figures import Outcome, as_dicts, figures, rows, table
from benchmarks.doc_figures import machine_line
from benchmarks.machine import usage
from benchmarks.turn_calls import FIRST_CALLER, GREETING_TIMEOUT_S
from benchmarks.turn_docs import write_barge_in
from benchmarks.turn_latency import TOKEN
from tools.call import CallError, SipCall, SipCaller
from tools.call.measure import NothingHeard, silence_delay_ms, voiced_segments
from tools.call.sounds import THROAT
from tools.call.wav import RATE_HZ, Pcm
from tools.engine_events import EngineEvents
from tools.pbx_instance import Pbx, PbxUnavailable
from tools.speech import SpeechError, speak
from tools.stack import PROJECT, Stack, StackError

CONTEXTS = Path(__file__).with_name("data") / "barge_in_contexts"
AGENT = 700
STORY, FACT, QUESTION = "Tell me about the garden.", "What color is the door?", "Is there parking?"
WORDS = (
    "Excuse me, what color is the door?",
    "Stop, please, is there parking?",
    "No wait, I have another question.",
    "Hold on a second please.",
    "Sorry, where can I park my car?",
    "Can I ask you something else?",
)
NON_WORDS = ("uh-huh", "mm-hmm", "cough", "okay", "cough twice", "breath")
ANSWERS = ("Yes.", "No.")
ECHO_LOSS_DB = 20.0
ECHO_DELAY_MS = (60.0, 300.0)
TURNS_PER_CALL = 5
SETTLE_S = 1.6
"""After a sound over the agent: by then it has gone on or been interrupted for good."""


@dataclass(slots=True)
class Bench:
    """Places the calls of all parts."""

    caller: SipCaller
    uri: str
    events: EngineEvents
    sounds: Mapping[str, Pcm]
    rng: random.Random
    recordings: Path | None = None
    _placed: int = field(default=0)

    async def run(self, plan: list[tuple[str, str]], *, at_once: int) -> list[Outcome]:
        """`plan`: (part, sound) of each turn."""
        waiting = [plan[at : at + TURNS_PER_CALL] for at in range(0, len(plan), TURNS_PER_CALL)]
        outcomes: list[Outcome] = []

        async def work() -> None:
            while waiting:
                outcomes.extend(await self._call(waiting.pop(0)))

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
        return outcomes

    async def _call(self, turns: list[tuple[str, str]]) -> list[Outcome]:
        number = str(FIRST_CALLER + self._placed)
        self._placed += 1
        begin = len(self.events.seen)
        outcomes: list[Outcome] = []
        try:
            async with self.caller.dial(self.uri, user=number) as call:
                started = await self.events.find(
                    lambda e: e["type"] == "call_started" and e["caller_number"] == number,
                    start=begin, timeout_s=GREETING_TIMEOUT_S,
                )  # fmt: skip
                await call.wait_for_agent(timeout_s=GREETING_TIMEOUT_S)
                await call.wait_for_silence(700)
                for part, sound in turns:
                    outcomes.append(await self._turn(call, started["call_id"], part, sound))
                if self.recordings is not None:
                    self.recordings.mkdir(parents=True, exist_ok=True)
                    call.save(self.recordings / f"{number}.wav")
        except (CallError, TimeoutError) as error:
            rest = turns[len(outcomes) :]
            outcomes += [Outcome(part, sound, trouble=str(error) or "timed out") for part, sound in rest]
        for outcome in outcomes:
            print(f"  {outcome}", file=sys.stderr, flush=True)
        return outcomes

    async def _turn(self, call: SipCall, call_id: str, part: str, sound: str) -> Outcome:
        first = len(self.events.seen)
        asked = {"echo": FACT, "answer": QUESTION}.get(part, STORY)
        await call.play(self.sounds[asked]).sent()
        await call.wait_for_agent(min_voiced_ms=100, timeout_s=15.0)
        outcome = Outcome(part, sound)
        if part == "echo":
            call.enter_room(loss_db=ECHO_LOSS_DB, delay_ms=self.rng.uniform(*ECHO_DELAY_MS))
        elif part == "answer":
            await call.wait_for_silence(self.rng.choice((60, 150, 400)))
            await call.play(self.sounds[sound]).sent()
            await call.wait_for_agent(timeout_s=10.0)
        else:
            await asyncio.sleep(self.rng.uniform(1.0, 4.0))
            said = call.play(self.sounds[sound])
            await said.sent()
            await asyncio.sleep(SETTLE_S)
            if part == "words":
                self._measure(call, said.begin_s or 0.0, outcome)
        await call.wait_for_silence(1200, timeout_s=40.0)
        mine = [e for e in self.events.seen[first:] if e.get("call_id") == call_id]
        states = Counter(e["state"] for e in mine if e["type"] == "state")
        outcome.committed = states["barge_in"] > 0
        outcome.paused = states["paused"] > 0
        decided = [e for e in mine if e["type"] == "state" and e["state"] in ("barge_in", "resumed", "kept")]
        outcome.words = "; ".join(f"{e['state']}: {e['detail']}" for e in decided)
        wanted = sound.strip(".").lower()
        outcome.heard = any(wanted in e["text"].lower() for e in mine if e["type"] == "caller_turn")
        return outcome

    def _measure(self, call: SipCall, begin_s: float, outcome: Outcome) -> None:
        recording = call.recording
        try:
            after_s = begin_s - recording.begin_s - 0.05
            outcome.silent_ms = silence_delay_ms(recording.caller, recording.agent, after_s=after_s, join_ms=400)
        except NothingHeard as nothing:
            outcome.trouble = str(nothing)


async def _sounds(url: str, rng: random.Random) -> dict[str, Pcm]:
    spoken = [STORY, FACT, QUESTION, *WORDS, *ANSWERS, "uh-huh", "mm-hmm", "okay"]
    sounds: dict[str, Pcm] = {}
    for text in spoken:
        pcm = await speak(url, text, token=TOKEN, cache=PROJECT / "var" / "speech")
        voiced = voiced_segments(pcm)
        sounds[text] = pcm[round(voiced[0].begin_s * RATE_HZ) : round(voiced[-1].end_s * RATE_HZ)] if voiced else pcm
    for name in NON_WORDS:
        if name in THROAT:
            sounds[name] = THROAT[name](np.random.default_rng(rng.randrange(1 << 30)))
    return sounds


async def measure(home: Path, pbx: Pbx, options: argparse.Namespace) -> tuple[list[Outcome], dict[str, Any]]:
    """Bring up the stack and place the calls; every outcome, and the report."""
    rng = random.Random(options.seed)
    asterisk = {
        "ASTERISK_HOST": pbx.host,
        "ASTERISK_ARI_PORT": str(pbx.http_port),
        "ASTERISK_ARI_USERNAME": pbx.ari_user,
        "ASTERISK_ARI_PASSWORD": pbx.ari_password,
        "ASTERISK_ARI_APP": pbx.app,
        "LOCAL_WS_AUTH_TOKEN": TOKEN,
    }
    plan = [("words", WORDS[n % len(WORDS)]) for n in range(options.interruptions)]
    plan += [("non_words", NON_WORDS[n % len(NON_WORDS)]) for n in range(options.non_words)]
    plan += [("answer", ANSWERS[n % 2]) for n in range(options.answers)]
    echoes = [("echo", "its own voice")] * options.echoes
    async with Stack(home, asterisk, contexts=CONTEXTS) as stack:
        sounds = await _sounds(stack.server_url.replace("http", "ws", 1), rng)
        async with SipCaller() as caller, EngineEvents().watch(stack.engine_url) as events:
            roots = (stack.server.pid, stack.engine.pid, pbx.pid)
            before = usage(roots)
            bench = Bench(caller, pbx.sip_uri(AGENT), events, sounds, rng, options.recordings)
            outcomes = await bench.run(plan, at_once=options.calls)
            outcomes += await bench.run(echoes, at_once=options.calls)
            ours, others = usage(roots).shares_since(before)
    machine = {"cores": os.cpu_count(), "cpu_share_ours": round(ours, 3), "cpu_share_others": round(others, 3)}
    report = {"benchmark": "barge_in", "calls_at_once": options.calls} | figures(outcomes)
    return outcomes, report | {"machine": machine}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.barge_in", description=__doc__.split("\n")[0])
    parser.add_argument("--interruptions", type=int, default=30, help="with words (%(default)s)")
    parser.add_argument("--non-words", type=int, default=30, help="coughs, breaths, uh-huh (%(default)s)")
    parser.add_argument("--answers", type=int, default=20, help="yes and no to a question (%(default)s)")
    parser.add_argument("--echoes", type=int, default=100, help="turns with the agent's echo (%(default)s)")
    parser.add_argument("--calls", type=int, default=1, help="calls at once (%(default)s)")
    parser.add_argument("--short", action="store_true", help="one of each: only whether it runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="keep each call as a stereo WAV")
    parser.add_argument("--json-out", type=Path, metavar="FILE", help="write the JSON line there too, with every sound")
    parser.add_argument("--write-docs", action="store_true", help="put the figures and the picture into docs/")
    options = parser.parse_args()
    if options.short:
        options.interruptions = options.echoes = 1
        options.non_words = options.answers = 0
    return options


def main() -> int:
    """Measure and report."""
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="barge-in-") as scratch:
        pbx = Pbx(Path(scratch) / "pbx")
        try:
            pbx.start()
            try:
                outcomes, report = asyncio.run(measure(Path(scratch) / "stack", pbx, options))
            finally:
                pbx.stop()
        except (PbxUnavailable, StackError, SpeechError, CallError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    print(table(report))
    print(machine_line(report["machine"]))
    every = {"every_outcome": as_dicts(outcomes), "rows": rows(report)}
    if options.json_out:
        options.json_out.write_text(json.dumps(report | every) + "\n")
    if options.write_docs:
        write_barge_in(report | every)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
