"""A whole call in G.722: what lies above 4 kHz reaches the engine, and what the agent says of it the caller."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soxr
from agent_fixture import Agent, agent_events, eventually

from tools.call.wav import Pcm

if TYPE_CHECKING:
    from tools.call.wide_phone import WidePhone

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(300)]

RATE_HZ = 16000
PATIENCE_S = 60.0
WIDE = {"X-AI-CONTEXT": "ctx715", "X-AI-AUDIO-PROFILE": "wideband"}
WIDE_SHARE = 3e-4
"""Of the power above 4.5 kHz; an 8 kHz voice at 16 kHz has less than a thirtieth of that there."""


def high_share(pcm: Pcm) -> float:
    power = np.abs(np.fft.rfft(pcm.astype(float))) ** 2
    return float(power[np.fft.rfftfreq(pcm.size, 1 / RATE_HZ) > 4500].sum() / power.sum())


def with_sibilants(pcm: Pcm) -> Pcm:
    """A line of 8 kHz at 16 kHz, with noise from 5 to 7 kHz where it speaks, as its own consonants would be."""
    wide = soxr.resample(pcm, 8000, RATE_HZ).astype(float)
    noise = np.random.default_rng(1).normal(size=wide.size)
    spectrum = np.fft.rfft(noise)
    hz = np.fft.rfftfreq(wide.size, 1 / RATE_HZ)
    spectrum[(hz < 5000) | (hz > 7000)] = 0
    envelope = np.convolve(np.abs(wide), np.ones(320) / 320, "same")
    return np.clip(wide + 0.3 * envelope * np.fft.irfft(spectrum, wide.size), -32768, 32767).astype(np.int16)


async def quiet_again(phone: WidePhone, since: int = 0) -> None:
    """Until something was heard after `since`, and nothing for 1.2 s behind it."""

    async def loudest() -> tuple[int, int]:
        heard = phone.heard[since:]
        before, last = heard[: -RATE_HZ * 12 // 10], heard[-RATE_HZ * 12 // 10 :]
        return (int(np.abs(before).max()) if before.size else 0, int(np.abs(last).max()) if last.size else 0)

    await eventually(loudest, lambda found: found[0] > 1000 and found[1] < 300, PATIENCE_S)


def sides_of(file: Path) -> tuple[Pcm, Pcm]:
    with wave.open(str(file), "rb") as reader:
        assert (reader.getframerate(), reader.getnchannels()) == (RATE_HZ, 2)
        both = np.frombuffer(reader.readframes(reader.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()


async def test_what_the_caller_says_above_4_khz_reaches_the_engine(agent: Agent) -> None:
    pytest.importorskip("baresip", reason="the telephone needs baresip-python: pip install 'parley[caller]'")
    from tools.call.wide_phone import wide_call

    question = with_sibilants(await agent.line("What colour is the door?"))
    async with (
        agent_events(agent) as events,
        wide_call(agent.pbx.sip_uri(750), headers=WIDE, timeout_s=PATIENCE_S) as phone,
    ):
        await quiet_again(phone)
        (session,) = (await agent.get("/sessions"))["sessions"]
        await phone.play(question)
        answer = await events.next("agent_turn", lambda e: e["source"] != "said", PATIENCE_S)
    assert "yellow" in answer["text"]
    await agent.nothing_left(PATIENCE_S)

    async def recordings() -> list[Path]:
        return list((agent.stack.home / "recordings").rglob(f"*_{session['call_id']}.wav"))

    (file,) = await eventually(recordings, bool, PATIENCE_S)
    caller, _ = sides_of(file)
    print(f"share of the power above 4.5 kHz: {high_share(caller):.1e}")
    assert high_share(caller) > WIDE_SHARE


@pytest.mark.slow
async def test_what_the_agent_says_above_4_khz_reaches_the_caller(agent: Agent) -> None:
    """Also what was rendered before, once that was done again for calls of this width."""
    pytest.importorskip("baresip", reason="the telephone needs baresip-python: pip install 'parley[caller]'")
    from tools.call.wide_phone import wide_call

    async def greeting() -> float:
        async with wide_call(agent.pbx.sip_uri(750), headers=WIDE, timeout_s=PATIENCE_S) as phone:
            await quiet_again(phone)
            return high_share(phone.heard)

    async def prepared() -> bool:
        return any(
            (entry.get("context"), entry.get("rate_hz")) == ("ctx715", RATE_HZ)
            for entry in agent.logged("context_prepared")
        )

    await greeting()
    await agent.nothing_left(PATIENCE_S)
    await eventually(prepared, bool, PATIENCE_S)
    share = await greeting()
    await agent.nothing_left(PATIENCE_S)
    print(f"share of the power above 4.5 kHz: {share:.1e}")
    assert share > WIDE_SHARE


MISTAKES = {
    "AI_TRANSPORT": ("X-AI-TRANSPORT", "carrier-pigeon", "rtp, audiosocket, websocket"),
    "AI_TRANSPORT_FORMAT": ("X-AI-TRANSPORT-FORMAT", "slin16", "ulaw, alaw, slin, g722"),
}


@pytest.mark.parametrize(("header", "value", "may_be"), MISTAKES.values(), ids=MISTAKES.keys())
async def test_a_mistake_in_the_dialplan_costs_the_caller_nothing(
    agent: Agent, header: str, value: str, may_be: str
) -> None:
    pytest.importorskip("baresip", reason="the telephone needs baresip-python: pip install 'parley[caller]'")
    from tools.call.wide_phone import wide_call

    before = len(agent.logged("dialplan_variable_ignored"))
    headers = {"X-AI-CONTEXT": "default", header: value}
    async with wide_call(agent.pbx.sip_uri(750), headers=headers, timeout_s=PATIENCE_S) as phone:
        await quiet_again(phone)
    await agent.nothing_left(PATIENCE_S)
    (warning,) = agent.logged("dialplan_variable_ignored")[before:]
    assert (warning["value"], warning["may_be"], warning["used"]) == (value, may_be, "rtp/ulaw")
