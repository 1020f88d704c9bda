"""Scenarios in real time: a caller with a real telephone, a real Asterisk, the engine and the local server with models.

    await run_all(home, pbx, scenarios, on_heard=lambda heard: print(heard.name, heard.complaints))

What is judged is what the engine tells of the call, and whether the caller's recording agrees with it.
`tools.scenarios.real_parts` brings the engines up.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from tools.call import CallEnded, CallError, Recording, SipCall, SipCaller
from tools.call.impaired_line import ImpairedLine, LineError, impaired_line
from tools.call.impairment import Impairment
from tools.call.measure import voiced_segments
from tools.engine_events import EngineEvents
from tools.pbx_instance import Pbx
from tools.scenarios import judge
from tools.scenarios.load import FOLDER
from tools.scenarios.model import Scenario
from tools.scenarios.real_caller import RealCaller
from tools.scenarios.real_parts import engines
from tools.scenarios.real_record import CallRecord
from tools.scenarios.real_voice import CallerVoice
from tools.stack import Stack
from voice_core.words import tokens

EXTENSION: Final = 750
"""Of tools/pbx: the INVITE's headers choose the context."""
AT_ONCE: Final = 2
FIRST_CALLER: Final = 5001
CONNECT_S: Final = 30.0
PREPARED_S: Final = 240.0
"""For the sound of what the personas say by themselves; later starts find it on disk."""
AFTER_S: Final = 1.0
"""After the script's end, so that what was told last is told."""
LEAST_MS_A_WORD: Final = 100.0
"""The agent speaks at a third of a second a word; with less sound than this, its words were not all heard."""


@dataclass(slots=True)
class Heard:
    """What came of a scenario."""

    name: str
    scenario: Scenario
    observed: judge.Observed
    recording: Recording | None = None
    """Absent when there was no call."""
    words: str = ""
    """What the recogniser makes of the agent's side of the recording, if that was asked for."""

    @property
    def complaints(self) -> list[str]:
        return judge.complaints(self.scenario, self.observed, "real")


@dataclass(slots=True)
class RealEngine:
    """A running engine whose contexts are the personas of `scenarios`, by the scenarios' names."""

    stack: Stack
    pbx: Pbx
    scenarios: Mapping[str, Scenario]
    voice: CallerVoice
    folder: Path = FOLDER
    """Where the scenarios' WAV files lie."""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(FIRST_CALLER))

    async def run(self, name: str, caller: SipCaller) -> Heard:
        """One scenario. What goes wrong with the call is in what was observed, under `broken`."""
        scenario = self.scenarios[name]
        await self._prepared(name)
        for step in scenario.caller:
            spoken = step.interrupt.say if step.interrupt is not None else step.say
            if spoken is not None:  # ahead of the call, which would have to wait for it
                await self.voice.sound(spoken, self.folder)
        try:
            return await self._call(name, scenario, caller)
        except (CallError, LineError, TimeoutError) as error:
            broken = [str(error) or "the engine did not tell of the call's beginning or end in time"]
            return Heard(name, scenario, judge.Observed(time.monotonic(), broken=broken))

    async def _call(self, name: str, scenario: Scenario, caller: SipCaller) -> Heard:
        number = str(next(self._numbers))
        async with AsyncExitStack() as owned:
            events = await owned.enter_async_context(EngineEvents().watch(self.stack.engine_url))
            record = CallRecord(events, number)
            line = await owned.enter_async_context(_line(self.pbx, scenario)) if _needs_line(scenario) else None
            uri = line.uri if line is not None else self.pbx.sip_uri(EXTENSION)
            dialling = caller.dial(uri, headers={"X-AI-CONTEXT": name}, user=number, timeout_s=CONNECT_S)
            call = await owned.enter_async_context(dialling)
            began = time.monotonic()
            await record.started(CONNECT_S)
            person = RealCaller(call, record, self.voice, line=line, folder=self.folder)
            broken = await self._perform(scenario, person, call)
            mark = await self._settle(record, call)
            observed = record.observed(scenario.persona, began=began, until=mark)
            await call.hangup()
            await record.ended(CONNECT_S)
        observed.spoken = sorted(person.spoken)
        observed.broken = [*broken, *observed.broken, *_disagreements(scenario, observed, call.recording)]
        return Heard(name, scenario, observed, call.recording)

    async def _perform(self, scenario: Scenario, person: RealCaller, call: SipCall) -> list[str]:
        """Carry out the steps; says at which one and why it could not go on."""
        person.take_place(scenario.line)
        for number, step in enumerate(scenario.caller, start=1):
            try:
                await person.carry_out(step, scenario.persona)
            except CallEnded as ended:
                return [f"step {number} ({step.kind}): {ended}"] if step.until is not None else []
            except CallError as error:
                return [f"step {number} ({step.kind}): {error}"]
            if call.ended.is_set():
                break
        return []

    async def _settle(self, record: CallRecord, call: SipCall) -> int | None:
        """Wait for what is told last. A call still alive is judged as it is now: returns the number of its events."""
        if not call.ended.is_set():
            await asyncio.sleep(AFTER_S)
        if not call.ended.is_set():
            return record.mark
        await record.ended(CONNECT_S)
        return None

    async def _prepared(self, name: str) -> None:
        """Until what the persona says by itself is sound. Raises `TimeoutError`."""
        async with aiohttp.ClientSession() as client, asyncio.timeout(PREPARED_S):
            while True:
                async with client.get(f"{self.stack.engine_url}/health") as response:
                    if (await response.json())["contexts"][name] == "ready":
                        return
                await asyncio.sleep(0.1)


def _needs_line(scenario: Scenario) -> bool:
    return not scenario.line.perfect_network or any(step.freeze is not None for step in scenario.caller)


def _line(pbx: Pbx, scenario: Scenario) -> AbstractAsyncContextManager[ImpairedLine]:
    line = scenario.line
    up = Impairment(loss=line.loss_percent / 100, jitter_ms=line.jitter_ms)
    # the caller's telephone here plays packets as they come, where a real one would put them in order
    down = Impairment(loss=line.loss_percent / 100, jitter_ms=line.jitter_ms, reorder=False)
    return impaired_line(pbx.sip_uri(EXTENSION), up=up, down=down, seed=line.seed)


def _disagreements(scenario: Scenario, observed: judge.Observed, recording: Recording) -> list[str]:
    """Where the engine's account and the caller's recording do not go together."""
    sound_ms = sum(segment.duration_ms for segment in voiced_segments(recording.agent))
    words = sum(len(tokens(turn.text)) for turn in observed.turns())
    found = []
    if sound_ms < LEAST_MS_A_WORD * words:
        found.append(f"the engine counts {words} words as heard, but the caller's recording has {sound_ms:.0f} ms")
    if "agent_spoke" in scenario.expect.never and sound_ms > 0:
        found.append(f"the agent was to say nothing, but the caller's recording has {sound_ms:.0f} ms of it")
    return found


async def run_all(
    home: Path,
    pbx: Pbx,
    scenarios: Mapping[str, Scenario],
    *,
    on_heard: Callable[[Heard], None],
    at_once: int = AT_ONCE,
    folder: Path = FOLDER,
    words: bool = False,
) -> None:
    """Every scenario, so many at once; `on_heard` gets each as it is done. `words`: also have written down what the
    caller heard. Raises `StackError`, `SpeechError` and `CallError` when the parts cannot be had."""
    async with engines(home, pbx, scenarios) as parts, SipCaller() as caller:
        async for part in parts:
            engine = RealEngine(part.stack, pbx, part.scenarios, part.voice, folder)
            waiting = list(part.scenarios)

            async def work(engine: RealEngine = engine, waiting: list[str] = waiting) -> None:
                while waiting:
                    heard = await engine.run(waiting.pop(0), caller)
                    if words and heard.recording is not None:
                        heard.words = await engine.voice.understand(heard.recording.agent)
                    on_heard(heard)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(at_once):
                        group.create_task(work())
            except ExceptionGroup as several:
                raise several.exceptions[0] from None
