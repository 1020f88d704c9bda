"""The calls of benchmarks/turn_latency.py: a scripted caller asks its questions and listens to each answer's end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turn_figures import Question, Turn, judge
from tools.call import CallError, SipCall, SipCaller
from tools.call.measure import voiced_segments
from tools.call.wav import RATE_HZ, Pcm
from tools.engine_events import EngineEvents
from tools.speech import speak

ANSWER_TIMEOUT_S = 25.0
"""Beyond the engine's own: what comes of a question is known by then."""
GO_ON_TIMEOUT_S = 8.0
"""For the rest of an answer that was interrupted by the question's second piece."""
GREETING_TIMEOUT_S = 15.0
FIRST_CALLER = 4001
"""Callers are told apart by their numbers, in the engine's events too."""


@dataclass(slots=True)
class Script:
    """A question as sound."""

    question: Question
    pcm: Pcm


@dataclass(slots=True)
class _Asked:
    question: Question
    begin_s: float
    end_s: float
    first_event: int
    """Where the events of this turn begin."""


async def speak_questions(url: str, token: str, questions: Sequence[Question], cache: Path) -> list[Script]:
    """Every question as sound: its pieces without the silence around them, with exactly the pause between them."""
    scripts = []
    for question in questions:
        pieces: list[Pcm] = []
        for piece in question.pieces:
            if pieces:
                pieces.append(np.zeros(question.pause_ms * RATE_HZ // 1000, np.int16))
            pieces.append(_voiced_part(await speak(url, piece, token=token, cache=cache)))
        scripts.append(Script(question, np.concatenate(pieces)))
    return scripts


def _voiced_part(pcm: Pcm) -> Pcm:
    segments = voiced_segments(pcm)
    return pcm[round(segments[0].begin_s * RATE_HZ) : round(segments[-1].end_s * RATE_HZ)] if segments else pcm


@dataclass(slots=True)
class Calls:
    """Places the calls. Each caller's number is its own."""

    caller: SipCaller
    uri: str
    events: EngineEvents
    recordings: Path | None = None
    on_turn: Callable[[Turn], None] = lambda _: None
    _placed: int = field(default=0)

    async def run(self, scripts: Sequence[Script], *, turns_per_call: int, at_once: int) -> list[Turn]:
        """Ask all of `scripts`, so many on a call, with so many calls at once."""
        calls = [scripts[at : at + turns_per_call] for at in range(0, len(scripts), turns_per_call)]
        waiting = asyncio.Queue[Sequence[Script]]()
        for call in calls:
            waiting.put_nowait(call)
        turns: list[Turn] = []

        async def work() -> None:
            while not waiting.empty():
                turns.extend(await self.place(waiting.get_nowait()))

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
        return turns

    async def place(self, scripts: Sequence[Script]) -> list[Turn]:
        """One call. A turn that is not answered is reported as such, and so are those a broken call never came to."""
        number = str(FIRST_CALLER + self._placed)
        self._placed += 1
        begin = len(self.events.seen)
        asked: list[_Asked] = []
        trouble = ""
        call: SipCall | None = None
        call_id = ""
        try:
            async with self.caller.dial(self.uri, user=number) as call:
                started = await self.events.find(
                    lambda e: e["type"] == "call_started" and e["caller_number"] == number,
                    start=begin, timeout_s=GREETING_TIMEOUT_S,
                )  # fmt: skip
                call_id = started["call_id"]
                await call.wait_for_agent(timeout_s=GREETING_TIMEOUT_S)
                await call.wait_for_silence(900)
                for script in scripts:
                    asked.append(await self._ask(call, call_id, script))  # noqa: PERF401 - kept if the next one fails
        except (CallError, TimeoutError) as error:
            trouble = str(error) or "the engine did not report the call"
        turns = []
        if call is not None and call.answered_s is not None:
            recording = call.recording
            if self.recordings is not None:
                self.recordings.mkdir(parents=True, exist_ok=True)
                recording.save(self.recordings / f"{number}.wav")
            mine = [e for e in self.events.seen if e.get("call_id") == call_id]
            for turn, following in zip(asked, [*asked[1:], None], strict=False):  # none asked: one too many
                end = following.first_event if following else len(mine)
                turns.append(judge(turn.question, recording, turn.begin_s, turn.end_s, mine[turn.first_event : end]))
        turns += [Turn(script.question, trouble=trouble) for script in scripts[len(asked) :]]
        for done in turns:
            self.on_turn(done)
        return turns

    async def _ask(self, call: SipCall, call_id: str, script: Script) -> _Asked:
        begin = len(self.events.seen)
        first_event = sum(e.get("call_id") == call_id for e in self.events.seen)
        utterance = call.play(script.pcm)
        end_s = await utterance.sent()
        begin_s = utterance.begin_s if utterance.begin_s is not None else time.monotonic()

        def answer(event: dict[str, Any]) -> bool:
            mine = event.get("call_id") == call_id
            return mine and event["type"] == "agent_turn" and event["source"] != "said"

        try:
            reply = await self.events.find(answer, start=begin, timeout_s=ANSWER_TIMEOUT_S)
            if reply["interrupted"]:
                await self.events.find(
                    lambda e: answer(e) and not e["interrupted"], start=begin, timeout_s=GO_ON_TIMEOUT_S
                )
        except TimeoutError:
            pass  # told by `judge`, which finds no answer
        await call.wait_for_silence(900)
        return _Asked(script.question, begin_s, end_s, first_event)
