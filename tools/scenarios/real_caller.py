"""Carries out a scenario's steps on a real call: speaks, waits, presses keys, hangs up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from tools.call import CallEnded, SipCall, WaitTimedOut
from tools.call.impaired_line import ImpairedLine
from tools.call.measure import Voiced, voiced_segments
from tools.call.media import Utterance
from tools.call.sounds import keys, noise_at
from tools.line_noise import SOUNDS, example, to_pcm
from tools.scenarios.model import (
    SPEECH_DBFS,
    Freeze,
    Interrupt,
    Keys,
    Line,
    Persona,
    Say,
    Sound,
    Step,
    Until,
)
from tools.scenarios.real_record import CallRecord
from tools.scenarios.real_voice import CallerVoice

QUIET_S: Final = 0.9
"""So long must nobody speak and the engine wait for the caller before it counts as quiet."""
_SPEAK_LIMIT_S: Final = 60.0
_LOOK_S: Final = 0.02
_LEAST_ECHO_DELAY_MS: Final = 60.0
_NOISE_S: Final = 12.0
_EARLY_S: Final = 0.1
"""The engine's account and the caller's clock agree to this."""


class RealCaller:
    """One call of one scenario. `spoken` grows as he speaks."""

    def __init__(
        self, call: SipCall, record: CallRecord, voice: CallerVoice, *, line: ImpairedLine | None, folder: Path
    ) -> None:
        self._call = call
        self._record = record
        self._voice = voice
        self._line = line
        self._folder = folder
        self._utterances: list[tuple[Utterance, list[Voiced]]] = []
        self._going_on: Utterance | None = None
        self._acted_s = time.monotonic()
        """What sounds from here on answers what the caller did last."""

    @property
    def spoken(self) -> list[tuple[float, float]]:
        """Begin and end of each stretch of the caller's speech so far."""
        return [
            (utterance.begin_s + voiced.begin_s, utterance.begin_s + voiced.end_s)
            for utterance, stretches in self._utterances
            if utterance.begin_s is not None
            for voiced in stretches
        ]

    def take_place(self, line: Line) -> None:
        """The noise and the echo of where the caller is."""
        if line.noise is not None:
            signal = SOUNDS[line.noise.kind](np.random.default_rng(line.seed), _NOISE_S)
            loudest = max(1e-9, float(np.abs(signal).max()))
            self._call.surround(noise_at(to_pcm(signal / loudest), SPEECH_DBFS - line.noise.snr_db))
        if line.echo is not None:
            delay_ms = max(line.echo.delay_ms, _LEAST_ECHO_DELAY_MS)
            self._call.enter_room(loss_db=line.echo.loss_db, delay_ms=delay_ms)

    async def carry_out(self, step: Step, persona: Persona) -> None:
        """Raises `CallEnded` and `WaitTimedOut`."""
        begun_s = time.monotonic()
        await self._carry_out(step, persona)
        if step.pause is None:
            self._acted_s = begun_s if step.keys is not None else time.monotonic()

    async def _carry_out(self, step: Step, persona: Persona) -> None:
        match step.value:
            case Say() as say:
                await self._say(say)
            case Interrupt(say=say, after_ms=after_ms):
                await self._until_spoken(after_ms)
                await self._say(say)
            case Until() as until:
                await self._until(until, persona)
            case Sound() as sound:
                await self._sound(sound)
            case Keys(digits=digits, in_band=True):
                await self._call.play(keys(digits)).sent()
            case Keys(digits=digits):
                await self._call.send_dtmf(digits)
                await asyncio.sleep(0.2 * len(digits))
            case Freeze(seconds=seconds, lost=lost, go_on=go_on):
                assert self._line is not None, "a frozen line is an impaired one"
                self._line.freeze(seconds, "up", lost=lost)
                await asyncio.sleep(0 if go_on else seconds)
            case float() as seconds:
                await asyncio.sleep(seconds)
            case _ if step.kind == "hold":
                await self._call.hold()
                await self._wait(lambda: self._record.state[0] == "held", _SPEAK_LIMIT_S, "the engine sees the hold")
            case _ if step.kind == "unhold":
                await self._call.resume()
                await self._wait(lambda: self._record.state[0] != "held", _SPEAK_LIMIT_S, "the engine sees its end")
            case _:
                await self._call.hangup()

    async def _say(self, say: Say) -> None:
        pcm = await self._voice.sound(say, self._folder)
        if say.second_voice:
            beside = self._call.play_beside(pcm)
            if not say.go_on:
                await beside.over.wait()
            return
        utterance = self._call.play(pcm)
        self._utterances.append((utterance, voiced_segments(pcm)))
        self._going_on = utterance if say.go_on else None
        if not say.go_on:
            await utterance.sent()

    async def _sound(self, sound: Sound) -> None:
        pcm = example(sound.kind, sound.seconds, SPEECH_DBFS - sound.below_speech_db).pcm
        beside = self._call.play_beside(pcm)
        if not sound.go_on:
            await beside.over.wait()

    async def _until_spoken(self, after_ms: float) -> None:
        """The agent has been heard for so long in the turn at hand, or in the next one if it is quiet."""
        over = self._record.begun()
        if self._record.state[0] in ("speaking", "paused"):
            over = over[:-1]

        def spoken() -> bool:
            turns = self._record.begun()
            if len(turns) <= len(over):
                return False
            _, first_s = self._call.voiced_since(turns[-1] - _EARLY_S)
            return first_s is not None and (time.monotonic() - first_s) * 1000 >= after_ms

        await self._wait(spoken, _SPEAK_LIMIT_S, f"{after_ms:g} ms of the agent's turn")

    async def _until(self, until: Until, persona: Persona) -> None:
        if self._going_on is not None and until.what == "quiet":
            await self._going_on.sent()
        match until.what:
            case "end":
                await self._call.wait_ended(until.limit_s)
            case "agent":
                await self._wait(lambda: self._new_turn(self._acted_s), until.limit_s, "a turn of the agent")
            case "question":
                await self._wait(lambda: self._pauses(self._acted_s), until.limit_s, "the end of a question")
            case "quiet":
                await self._wait(lambda: self._quiet(persona), until.limit_s, "quiet")

    def _new_turn(self, since_s: float) -> bool:
        turns = self._record.begun()
        return bool(turns) and turns[-1] > since_s - _EARLY_S

    def _pauses(self, since_s: float) -> bool:
        """The agent has been heard and draws breath, or is done."""
        turns = self._record.begun()
        if not turns:
            return False
        voiced_ms, _ = self._call.voiced_since(max(turns[-1] - _EARLY_S, since_s - QUIET_S))
        return voiced_ms >= 200 and self._call.agent_quiet_s > 0.25

    def _quiet(self, persona: Persona) -> bool:
        if persona.greeting and persona.greeting_mode == "agent" and not self._record.begun():
            return False
        state, since_s = self._record.state
        now_s = time.monotonic()
        last_said_s = max((end for _, end in self.spoken), default=0.0)
        return (
            state == "listening"
            and min(now_s - since_s, now_s - last_said_s) >= QUIET_S
            and self._call.agent_quiet_s >= QUIET_S
        )

    async def _wait(self, met: Callable[[], bool], limit_s: float, what: str) -> None:
        deadline_s = time.monotonic() + limit_s
        while not met():
            if self._call.ended.is_set():
                raise CallEnded(f"waiting for {what}, but the call has ended: {self._call.end_reason}")
            if time.monotonic() > deadline_s:
                raise WaitTimedOut(f"{what} did not come within {limit_s:g} s; state {self._record.state[0]}")
            await asyncio.sleep(_LOOK_S)
