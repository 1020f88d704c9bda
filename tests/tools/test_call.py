"""The scripted caller on real calls through a real Asterisk."""

from __future__ import annotations

import asyncio
import statistics
import wave
from pathlib import Path

import numpy as np
import pytest

from tools.call import CallEnded, CallRefused, SipCaller, WaitTimedOut, read_wav
from tools.call.calibrate import burst, echo_delays_ms
from tools.call.measure import NothingHeard, lag_ms, levels, likeness, voiced_segments
from tools.call.scenario import AgentDone, HangUp, Interrupt, Keys, Pause, Say, Step, perform
from tools.call.wav import RATE_HZ, Pcm
from tools.free_ports import free_sip_port
from tools.pbx_instance import Pbx

pytestmark = pytest.mark.asterisk


def tone(seconds: float, hz: float = 440, amplitude: float = 8000) -> Pcm:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.int16)


async def test_echo_returns_what_was_said(pbx: Pbx, sip_caller: SipCaller, tmp_path: Path) -> None:
    async with sip_caller.dial(pbx.sip_uri(600)) as call:
        assert call.established.is_set()
        utterance = call.play(burst(500))
        end_s = await utterance.sent()
        await call.wait_for_silence(300)
        assert await call.wait_for_agent(100, since_s=utterance.begin_s) < end_s
        call.save(tmp_path / "call.wav")
        recording = call.recording
    delay_ms = lag_ms(recording.caller, recording.agent)
    assert delay_ms < 1000
    # ulaw's own noise is 30 dB down; a lost or doubled frame would cost far more
    assert likeness(recording.caller, recording.agent, delay_ms) > 0.99
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)


async def test_the_clock_places_both_sides_to_20_ms(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(600)) as call:
        delays_ms = await echo_delays_ms(call, bursts=8)
    assert min(delays_ms) < 500
    middle_ms = statistics.median(delays_ms)
    together = sum(abs(delay - middle_ms) <= 20 for delay in delays_ms)
    assert together >= 5, f"a busy machine may hold up some of eight, but not most: {delays_ms}"


async def test_calibration_against_what_is_no_echo_is_refused(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(601)) as call:
        with pytest.raises(NothingHeard, match="does not echo"):
            await echo_delays_ms(call, bursts=1)


async def test_where_no_pbx_runs_nobody_answers(sip_caller: SipCaller) -> None:
    with pytest.raises(WaitTimedOut, match="is a PBX running there"):
        async with sip_caller.dial(f"sip:700@127.0.0.1:{free_sip_port()}", timeout_s=0.5):
            pass


async def test_speech_begins_when_asked(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(600)) as call:
        assert call.answered_s is not None
        at_s = call.answered_s + 0.4
        utterance = call.play(tone(0.2), at_s=at_s)
        end_s = await utterance.sent()
        assert utterance.begin_s is not None
        assert 0 <= utterance.begin_s - at_s < 0.5
        assert end_s - utterance.begin_s == pytest.approx(0.2, abs=0.1)
        assert voiced_segments(call.recording.caller)[0].begin_s == pytest.approx(
            utterance.begin_s - call.answered_s, abs=0.1
        )


async def test_milliwatt_is_heard_as_one_unbroken_tone(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(601)) as call:
        begun_s = await call.wait_for_agent(500)
        heard = call.heard_since(begun_s)
        with pytest.raises(WaitTimedOut, match="100 ms of silence"):
            await call.wait_for_silence(100, timeout_s=0.3)
    heard = heard[: np.flatnonzero(heard)[-1] - 160]  # the next packet was still on its way
    loud = levels(heard, 160) > 10000
    assert loud.mean() > 0.9, "a busy machine may make a gap of its own"


async def test_four_calls_at_once_hear_only_their_own(pbx: Pbx, sip_caller: SipCaller) -> None:
    async def one(index: int) -> tuple[Pcm, Pcm]:
        async with sip_caller.dial(pbx.sip_uri(600), user=f"caller{index}") as call:
            await call.play(burst(400, seed=index)).sent()
            await asyncio.sleep(0.2)
            return call.recording.caller, call.recording.agent

    calls = await asyncio.gather(*(one(index) for index in range(4)))
    for mine, (_, heard) in enumerate(calls):
        for other, (said, _) in enumerate(calls):
            alike = likeness(said, heard, lag_ms(said, heard))
            assert (alike > 0.9) == (mine == other), (mine, other, alike)


async def test_a_hang_up_by_the_far_end_is_seen(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(602)) as call:
        assert await call.wait_ended(60) == "hung up by the far end"
        assert voiced_segments(call.recording.agent)
        with pytest.raises(CallEnded):
            await call.wait_for_agent(100)
        with pytest.raises(CallEnded):
            call.play(tone(0.1))


async def test_an_unknown_number_is_refused_with_its_status(pbx: Pbx, sip_caller: SipCaller) -> None:
    with pytest.raises(CallRefused, match="404") as refusal:
        async with sip_caller.dial(pbx.sip_uri(999)):
            pass
    assert refusal.value.status == 404


async def test_hanging_up_leaves_no_channel(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(600)) as call:
        await asyncio.sleep(0.1)
    assert call.end_reason == "hung up by the caller"
    await call.hangup()  # harmless
    async with asyncio.timeout(60):
        while "0 active channels" not in await asyncio.to_thread(pbx.cli, "core show channels"):
            await asyncio.sleep(0.1)


async def test_without_an_engine_the_caller_hears_an_apology(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(700)) as call:
        assert await call.wait_ended(15) == "hung up by the far end"
        assert call.ringing_s is not None
        spoken_ms = sum(segment.duration_ms for segment in voiced_segments(call.recording.agent))
    assert spoken_ms > 1500


async def test_a_call_that_the_engine_gives_back_hears_the_apology(pbx: Pbx, sip_caller: SipCaller) -> None:
    import aiohttp

    headers = {"Authorization": aiohttp.encode_basic_auth(pbx.ari_user, pbx.ari_password)}
    async with (
        aiohttp.ClientSession(pbx.ari_url, headers=headers) as http,
        http.ws_connect(f"/ari/events?app={pbx.app}") as events,
        sip_caller.dial(pbx.sip_uri(701), wait=False) as call,
    ):
        start = await events.receive_json(timeout=60)
        assert (start["type"], start["args"]) == ("StasisStart", ["701"])
        assert start["channel"]["channelvars"]["AI_CONTEXT"] == "clinic"
        assert not call.established.is_set(), "the engine answers, not the dialplan"
        async with http.post(f"/ari/channels/{start['channel']['id']}/continue") as reply:
            assert reply.status == 204
        assert await call.wait_ended(15) == "hung up by the far end"
        assert voiced_segments(call.recording.agent)


async def test_headers_choose_the_agent_at_750(pbx: Pbx, sip_caller: SipCaller) -> None:
    headers = {"X-AI-CONTEXT": "clinic-2", "X-AI-TRANSPORT-FORMAT": "slin16", "X-AI-PROVIDER": "a;b${EVIL}"}
    async with sip_caller.dial(pbx.sip_uri(750), headers=headers, wait=True) as call:
        channel = pbx.cli("core show channels concise").split("!")[0]
        variables = pbx.cli(f"core show channel {channel}")
        await call.hangup()
    assert "AI_CONTEXT=clinic-2" in variables
    assert "AI_TRANSPORT_FORMAT=slin16" in variables
    assert "AI_PROVIDER=abEVIL" in variables, "nothing that the dialplan would evaluate"
    assert "AI_TRANSPORT=" not in variables


async def test_keys_reach_the_far_end(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(600)) as call:
        await perform(call, [Pause(0.2), Keys("5#")])
        assert await call.wait_ended(3) == "hung up by the far end", "# ends Echo()"


async def test_a_script_waits_interrupts_and_hangs_up(pbx: Pbx, sip_caller: SipCaller) -> None:
    """The agent is a tone without end."""
    async with sip_caller.dial(pbx.sip_uri(601)) as call:
        steps: list[Step] = [
            Interrupt(tone(0.3), after_voiced_ms=200),
            Pause(0.1),
            Say(tone(0.2)),
            HangUp(after_voiced_ms=200),
        ]
        done = await perform(call, steps)
        recording = call.recording
    assert [step.step for step in done] == steps
    assert all(step.begin_s <= step.end_s for step in done)
    assert done[2].end_s - done[2].begin_s == pytest.approx(0.2, abs=0.1)
    assert done[3].end_s - done[2].end_s == pytest.approx(0.2, abs=0.1)
    assert call.end_reason == "hung up by the caller"
    spoken = voiced_segments(recording.caller, join_ms=50)
    assert [round(segment.duration_ms, -2) for segment in spoken] == [300, 200]


async def test_a_script_waits_until_the_agent_is_done(pbx: Pbx, sip_caller: SipCaller) -> None:
    async with sip_caller.dial(pbx.sip_uri(600)) as call:
        call.play(tone(0.4))
        [done] = await perform(call, [AgentDone(100, 200)])
        assert done.end_s - done.begin_s == pytest.approx(0.4, abs=0.04)


async def test_the_asterisk_that_dies_does_not_hold_the_caller(pbx: Pbx, tmp_path: Path, sip_caller: SipCaller) -> None:
    other = Pbx(tmp_path / "home", root=pbx.root)
    other.start()
    try:
        async with sip_caller.dial(other.sip_uri(600)) as call:
            other.stop(kill=True)
        assert call.ended.is_set()
    finally:
        other.stop()


def test_the_command_line_plays_and_records(pbx: Pbx, tmp_path: Path) -> None:
    import json
    import subprocess
    import sys

    from tools.call import write_wav

    write_wav(tmp_path / "question.wav", tone(0.5))
    command = [sys.executable, "-W", "error", "-m", "tools.call", "--to", pbx.sip_uri(600), "--json"]
    command += ["--silence-ms", "300", "--seconds", "2"]
    play = ["--play", str(tmp_path / "question.wav"), "--record", str(tmp_path / "call.wav")]
    result = subprocess.run([*command, *play], capture_output=True, text=True, timeout=120, check=False)
    assert json.loads(result.stdout)["ended"] == "hung up by the caller", result.stderr
    assert voiced_segments(read_wav(tmp_path / "call.wav"))
    (tmp_path / "not.wav").write_text("not a WAV")
    result = subprocess.run(
        [*command, "--play", str(tmp_path / "not.wav")], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2
    assert "is not a PCM WAV file" in result.stderr
