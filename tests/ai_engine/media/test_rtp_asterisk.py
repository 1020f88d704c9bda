"""RTP with a real Asterisk and a real SIP call: what the caller says comes back, in each format, soon and whole."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bridged_line import MOST_DELAY_MS, PATIENCE_S, Echo, babble, compare

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import Event, StasisStart
from ai_engine.caller_leg import CallerLeg
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.rtp_transport import RtpTransport
from tools.call.impairment import Impairment
from tools.pbx_instance import Pbx
from voice_wire.audio import encode_mulaw

if TYPE_CHECKING:
    from tools.call import SipCaller

pytestmark = pytest.mark.asterisk

UNDER_WAY = 5
"""Packets, with the jitter that is put on the line."""


class Bridged:
    """The next call to the Stasis app: answered, bridged with an external media channel, echoed."""

    def __init__(self, pbx: Pbx, media: MediaLoop, ports: RtpPorts, wire_format: str) -> None:
        self.ari = AriClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, pbx.app)
        self.media = media
        self.transport = RtpTransport(ports, wire_format=wire_format)
        self.echo = Echo(self.transport)
        self.format = wire_format
        self.number = uuid.uuid4().hex[:8]
        """Part of every id: Asterisk lets go of those of the test before in its own time."""
        self.starts: asyncio.Queue[StasisStart] = asyncio.Queue()
        self.connected = asyncio.Event()
        self.bridged = asyncio.Event()
        self.caller = ""

    @property
    def bridge_path(self) -> str:
        return f"/bridges/media-test-{self.number}"

    @property
    def media_id(self) -> str:
        return f"media-test-external-{self.number}"

    def noted(self, event: Event) -> None:
        if isinstance(event, StasisStart):
            self.starts.put_nowait(event)

    async def serve(self) -> None:
        caller = self.caller = (await self.starts.get()).channel.id
        await self.ari.request("POST", f"/channels/{caller}/answer")
        await self.ari.request("POST", self.bridge_path, params={"type": "mixing"})
        external = await self.ari.request(
            "POST",
            "/channels/externalMedia",
            params={
                "app": self.ari.app,
                "channelId": self.media_id,
                "external_host": f"127.0.0.1:{self.transport.local_port}",
                "format": self.format,
            },
        )
        await self.starts.get()
        variables = external["channelvars"]
        host, port = variables["UNICASTRTP_LOCAL_ADDRESS"], int(variables["UNICASTRTP_LOCAL_PORT"])
        self.media.post(self.transport.expect, host, port)
        self.media.add(self.echo)
        channels = f"{caller},{self.media_id}"
        await self.ari.request("POST", f"{self.bridge_path}/addChannel", params={"channel": channels})
        self.bridged.set()

    async def connected_to_ari(self) -> None:
        self.connected.set()


@contextlib.asynccontextmanager
async def bridged(pbx: Pbx, media: MediaLoop, ports: RtpPorts, wire_format: str) -> AsyncIterator[Bridged]:
    call = Bridged(pbx, media, ports, wire_format)
    async with call.ari:
        events = asyncio.create_task(call.ari.run(call.noted, call.connected_to_ari))
        serving = asyncio.create_task(call.serve())
        try:
            await asyncio.wait_for(call.connected.wait(), PATIENCE_S)
            yield call
            await asyncio.wait_for(serving, PATIENCE_S)
        finally:
            serving.cancel()
            media.remove(call.echo)
            for path in (f"/channels/{call.media_id}", call.bridge_path):
                with contextlib.suppress(Exception):
                    await call.ari.request("DELETE", path)
            events.cancel()
            await asyncio.gather(events, serving, return_exceptions=True)
            await asyncio.wrap_future(media.submit(call.transport.close()))
    if call.echo.error is not None:
        raise call.echo.error


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


@pytest.fixture
def ports() -> RtpPorts:
    return RtpPorts(46000, 46998, host="127.0.0.1", drain_s=0)


def forge(transport: RtpTransport, n_packets: int) -> None:
    """Loud packets from an address that is not Asterisk's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n in range(n_packets):
            packet = RtpPacket(0, n, n * 160, 666, encode_mulaw(np.full(160, 20000, np.int16)))
            sock.sendto(bytes(packet), ("127.0.0.1", transport.local_port))


@pytest.mark.parametrize("wire_format", ["ulaw", "alaw", "slin"])
async def test_what_the_caller_says_comes_back(
    pbx: Pbx, media: MediaLoop, ports: RtpPorts, sip_caller: SipCaller, wire_format: str
) -> None:
    async with bridged(pbx, media, ports, wire_format) as call, sip_caller.dial(pbx.sip_uri(700)) as phone:
        async with asyncio.timeout(PATIENCE_S):
            await call.bridged.wait()
            quiet_since = time.monotonic()
            forge(call.transport, 40)
            while call.transport.line_quality().strays < 40:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert np.abs(phone.heard_since(quiet_since).astype(int)).max(initial=0) < 500
        await phone.play(babble(3.0)).sent()
        await asyncio.sleep(0.5)
        recording = phone.recording
        line = call.transport.line_quality()
    delays_ms, likenesses = compare(recording.caller, recording.agent)
    print(f"{wire_format}: echo after {min(delays_ms):.0f}-{max(delays_ms):.0f} ms, {line}")
    assert np.median(likenesses) > 0.95
    assert np.median(delays_ms) <= MOST_DELAY_MS
    assert line.strays == 40
    assert line.malformed == line.unexpected == line.send_errors == 0
    assert line.lost == 0
    assert ports.in_use == 0


async def test_both_legs_of_a_bad_line_tell_what_it_lost(
    pbx: Pbx, media: MediaLoop, ports: RtpPorts, sip_caller: SipCaller
) -> None:
    """Asterisk tells of the caller's leg when RTCP has gone and come: every 5 s."""
    from tools.call.impaired_line import impaired_line

    up, down = Impairment(loss=0.1, jitter_ms=40), Impairment(loss=0.1)
    async with (
        bridged(pbx, media, ports, "ulaw") as call,
        impaired_line(pbx.sip_uri(700), seed=1, up=up, down=down) as bad_line,
        sip_caller.dial(bad_line.uri),
    ):
        leg = CallerLeg(call.ari, call.caller, every_s=0.2)
        leg.start()
        async with asyncio.timeout(90):
            while leg.quality is None or not leg.quality.lost or not leg.quality.lost_by_peer:
                await asyncio.sleep(0.2)
        await leg.end(channel_may_be_there=True)
        ours, theirs = call.transport.line_quality(), leg.quality
    upward, downward = bad_line.stats
    print(f"ours {ours.known()}, Asterisk's {theirs.known()}, in truth {upward.lost} up, {downward.lost} down")
    assert ours.lost is not None
    assert ours.concealed is not None
    assert 0 < ours.lost <= upward.lost + UNDER_WAY
    assert ours.concealed >= ours.lost * 0.5
    assert theirs.lost is not None
    # A packet that others have overtaken counts as lost until it comes.
    assert 0 < theirs.lost <= upward.lost + UNDER_WAY
    assert 0 < (theirs.lost_by_peer or 0) <= downward.lost + UNDER_WAY
    assert theirs.jitter_ms is not None
    assert 5 < theirs.jitter_ms < 2000, "milliseconds"
