"""RTP lines with a real Asterisk: over IPv6, and what a pressed key leaves of itself in the media."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bridged_line import PATIENCE_S, Switchboard, babble, compare, switchboard

from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp_line import RtpLines
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
async def board(pbx: Pbx, media: MediaLoop) -> AsyncIterator[Switchboard]:
    async with switchboard(pbx, media) as board:
        yield board


def lines_at(address: str, media: MediaLoop) -> tuple[RtpPorts, RtpLines]:
    ports = RtpPorts(46000, 46998, host=address, drain_s=0)
    return ports, RtpLines(ports, media, advertise=address, allowed_sources=[address], downstream_ms=80)


async def test_a_call_over_ipv6(pbx: Pbx, media: MediaLoop, board: Switchboard, sip_caller: SipCaller) -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    ports, lines = lines_at("::1", media)
    async with (
        board.next_call(lines, "ulaw") as call,
        asyncio.timeout(PATIENCE_S),
        sip_caller.dial(pbx.sip_uri(700)) as phone,
    ):
        await call.bridged.wait()
        await asyncio.sleep(0.3)
        await phone.play(babble(2.0)).sent()
        await asyncio.sleep(0.5)
        recording = phone.recording
        line = call.line.transport.line_quality()
    _, likenesses = compare(recording.caller, recording.agent)
    assert np.median(likenesses) > 0.95
    assert line.received > 50
    assert line.strays == line.malformed == line.send_errors == 0
    assert ports.in_use == 0


async def test_keys_come_by_ari_once_and_are_neither_heard_nor_lost(
    pbx: Pbx, media: MediaLoop, board: Switchboard, sip_caller: SipCaller
) -> None:
    """Asterisk keeps the events (RFC 4733) for itself; their sequence numbers are missing in what it passes on."""
    _, lines = lines_at("127.0.0.1", media)
    async with (
        board.next_call(lines, "ulaw") as call,
        asyncio.timeout(PATIENCE_S),
        sip_caller.dial(pbx.sip_uri(700)) as phone,
    ):
        await call.bridged.wait()
        await phone.send_dtmf("159")
        while len(call.digits) < 3:
            await asyncio.sleep(0.05)
        received = call.line.transport.line_quality().received
        while call.line.transport.line_quality().received < received + 10:  # what follows the last key
            await asyncio.sleep(0.05)
        line = call.line.transport.line_quality()
        heard = phone.recording.agent
    assert call.digits == "159"
    assert line.lost == 0
    assert np.abs(heard.astype(int)).max() < 500
