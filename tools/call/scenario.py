"""A call as a list of steps.

    steps = [AgentDone(), Say("hours.wav"), AgentDone(), Interrupt("wait.wav", after_voiced_ms=800), HangUp()]
    await perform(call, steps)

Each step returns what it saw, so that a test or a benchmark can measure it on the call's recording.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.call.call import SipCall
from tools.call.wav import Pcm


@dataclass(frozen=True, slots=True)
class Say:
    """Speak to the end."""

    speech: Pcm | str | Path


@dataclass(frozen=True, slots=True)
class AgentDone:
    """The agent speaks (at least `min_voiced_ms`, begun after the step before) and is then quiet for `silence_ms`."""

    min_voiced_ms: float = 100
    silence_ms: float = 900
    timeout_s: float = 30


@dataclass(frozen=True, slots=True)
class Pause:
    """Say nothing for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Speak over the agent once it has spoken `after_voiced_ms`."""

    speech: Pcm | str | Path
    after_voiced_ms: float
    timeout_s: float = 30


@dataclass(frozen=True, slots=True)
class Keys:
    """Press DTMF keys."""

    digits: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call, at once or when the agent has spoken `after_voiced_ms` since the step before."""

    after_voiced_ms: float = 0
    timeout_s: float = 30


Step = Say | AgentDone | Pause | Interrupt | Keys | HangUp


@dataclass(frozen=True, slots=True)
class Done:
    """A step and when it took place, on `time.monotonic`: for speech the first and last sample sent, for `AgentDone`
    the agent's first voiced moment and the one it fell silent."""

    step: Step
    begin_s: float
    end_s: float


async def perform(call: SipCall, steps: Sequence[Step]) -> list[Done]:
    """Carry out `steps` one after the other. Raises what the waits of `SipCall` raise."""
    done: list[Done] = []
    since_s = call.answered_s if call.answered_s is not None else call.dialled_s
    for step in steps:
        begin_s, end_s = await _perform(call, step, since_s)
        done.append(Done(step, begin_s, end_s))
        since_s = end_s
    return done


async def _perform(call: SipCall, step: Step, since_s: float) -> tuple[float, float]:
    begin_s = time.monotonic()
    match step:
        case Say(speech):
            return await _say(call, speech)
        case Interrupt(speech, after_voiced_ms, timeout_s):
            await call.wait_for_agent(after_voiced_ms, timeout_s, since_s=since_s)
            return await _say(call, speech)
        case AgentDone(min_voiced_ms, silence_ms, timeout_s):
            begin_s = await call.wait_for_agent(min_voiced_ms, timeout_s, since_s=since_s)
            return begin_s, await call.wait_for_silence(silence_ms, timeout_s)
        case Pause(seconds):
            await asyncio.sleep(seconds)
        case Keys(digits):
            await call.send_dtmf(digits)
        case HangUp(after_voiced_ms, timeout_s):
            if after_voiced_ms:
                await call.wait_for_agent(after_voiced_ms, timeout_s, since_s=since_s)
            await call.hangup()
    return begin_s, time.monotonic()


async def _say(call: SipCall, speech: Pcm | str | Path) -> tuple[float, float]:
    utterance = call.play(speech)
    end_s = await utterance.sent()
    return (utterance.begin_s if utterance.begin_s is not None else end_s), end_s
