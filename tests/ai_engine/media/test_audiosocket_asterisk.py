"""AudioSocket with a real Asterisk and a real SIP call: what the caller says comes back, and nothing stalls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bridged_line import MOST_DELAY_MS, PATIENCE_S, Switchboard, babble, compare, switchboard

from ai_engine.asterisk import channels
from ai_engine.asterisk.errors import AriNotFound
from ai_engine.media.audiosocket_line import AudioSocketLines
from ai_engine.media.pacer import MediaLoop
from tools.pbx_instance import Pbx

if TYPE_CHECKING:
    from tools.call import SipCaller

pytestmark = pytest.mark.asterisk


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


@pytest.fixture
async def lines(media: MediaLoop) -> AsyncIterator[AudioSocketLines]:
    lines = AudioSocketLines(
        media, bind="127.0.0.1", port=0, advertise=None, allowed_sources=["127.0.0.1"], downstream_ms=80
    )
    await lines.start()
    yield lines
    assert lines.waiting == 0
    assert not lines.refused
    await lines.stop()


@pytest.fixture
async def board(pbx: Pbx, media: MediaLoop) -> AsyncIterator[Switchboard]:
    async with switchboard(pbx, media) as board:
        yield board


@pytest.mark.parametrize("media_format", ["slin", "slin16"])
async def test_what_the_caller_says_comes_back(
    pbx: Pbx, board: Switchboard, lines: AudioSocketLines, sip_caller: SipCaller, media_format: str
) -> None:
    async with (
        board.next_call(lines, media_format) as call,
        asyncio.timeout(PATIENCE_S),
        sip_caller.dial(pbx.sip_uri(700)) as phone,
    ):
        await call.bridged.wait()
        await asyncio.sleep(0.3)
        await phone.play(babble(3.0)).sent()
        await asyncio.sleep(0.5)
        recording = phone.recording
        quality = call.line.transport.line_quality()
    delays_ms, likenesses = compare(recording.caller, recording.agent)
    print(f"{media_format}: echo after {min(delays_ms):.0f}-{max(delays_ms):.0f} ms, {quality.known()}")
    assert np.median(likenesses) > 0.95
    assert np.median(delays_ms) <= MOST_DELAY_MS
    assert quality.malformed == quality.unexpected == quality.send_errors == 0


async def test_digits_come_by_ari_once_and_are_no_sound(
    pbx: Pbx, board: Switchboard, lines: AudioSocketLines, sip_caller: SipCaller
) -> None:
    async with (
        board.next_call(lines, "slin") as call,
        asyncio.timeout(PATIENCE_S),
        sip_caller.dial(pbx.sip_uri(700)) as phone,
    ):
        await call.bridged.wait()
        await asyncio.sleep(0.3)
        await phone.send_dtmf("159#")
        while len(call.digits) < 4:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        heard = phone.recording.agent
        quality = call.line.transport.line_quality()
    print(quality.known(), np.abs(heard).max())
    assert call.digits == "159#"
    assert np.abs(heard.astype(int)).max() < 500


@pytest.mark.parametrize("calls", [4, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
async def test_short_calls_stall_nothing(
    pbx: Pbx, board: Switchboard, lines: AudioSocketLines, sip_caller: SipCaller, calls: int
) -> None:
    """A line that sends nothing keeps a channel locked, once in fifty such calls: no request is answered then."""
    took_s = []
    for _ in range(calls):
        begun_s = time.monotonic()
        async with (
            board.next_call(lines, "slin16") as call,
            asyncio.timeout(PATIENCE_S),
            sip_caller.dial(pbx.sip_uri(700)),
        ):
            await call.bridged.wait()
        took_s.append(time.monotonic() - begun_s)
    print(f"{calls} calls of {min(took_s):.2f} to {max(took_s):.2f} s")
    assert call.line.transport.line_quality().send_errors == 0


async def test_a_connection_that_closes_ends_the_media_channel(
    pbx: Pbx, board: Switchboard, media: MediaLoop, lines: AudioSocketLines, sip_caller: SipCaller
) -> None:
    """So an engine that dies leaves no media channel behind."""
    async with (
        board.next_call(lines, "slin") as call,
        asyncio.timeout(PATIENCE_S),
        sip_caller.dial(pbx.sip_uri(700)),
    ):
        await call.bridged.wait()
        assert await channels.get_channel(board.ari, call.media_channel_id)
        await asyncio.wrap_future(media.submit(call.line.transport.close()))
        with pytest.raises(AriNotFound):
            while True:
                await channels.get_channel(board.ari, call.media_channel_id)
                await asyncio.sleep(0.02)
