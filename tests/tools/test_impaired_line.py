"""The bad line between a caller and a PBX: on loopback between two made-up ends, and on a real call."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.call import SipCaller
from tools.call.calibrate import burst
from tools.call.impaired_line import ImpairedLine, LineError, impaired_line
from tools.call.impairment import Impairment
from tools.call.measure import voiced_segments
from tools.pbx_instance import Pbx

WAIT_S = 30.0


@dataclass
class End:
    """A side of a call: a socket for SIP and one for RTP."""

    sip: socket.socket
    rtp: socket.socket

    @property
    def uri(self) -> str:
        return f"sip:700@127.0.0.1:{port(self.sip)}"

    def describe(self, first_line: str, *, rtp_port: int | None = None) -> bytes:
        wanted = port(self.rtp) if rtp_port is None else rtp_port
        body = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {wanted} RTP/AVP 0 101\r\na=rtcp:9 IN IP4 127.0.0.1\r\na=sendrecv\r\n"
        )
        return f"{first_line}\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def port(end: socket.socket) -> int:
    number: int = end.getsockname()[1]
    return number


def udp() -> socket.socket:
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("127.0.0.1", 0))
    end.setblocking(False)
    return end


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    """Caller and PBX."""
    caller, pbx = End(udp(), udp()), End(udp(), udp())
    yield caller, pbx
    for end in (caller, pbx):
        end.sip.close()
        end.rtp.close()


async def receive(end: socket.socket) -> bytes:
    async with asyncio.timeout(WAIT_S):
        return await asyncio.get_running_loop().sock_recv(end, 4096)


def media_port(message: bytes) -> int:
    found = re.search(rb"m=audio (\d+)", message)
    assert found
    return int(found[1])


def sip_address(line: ImpairedLine) -> tuple[str, int]:
    return "127.0.0.1", int(line.uri.rpartition(":")[2])


async def set_up(line: ImpairedLine, caller: End, pbx: End) -> tuple[int, int]:
    """Offer and answer through the line; returns the ports caller and PBX were told to send to."""
    caller.sip.sendto(caller.describe("INVITE sip:700@127.0.0.1 SIP/2.0"), sip_address(line))
    offer = await receive(pbx.sip)
    pbx.sip.sendto(pbx.describe("SIP/2.0 200 OK"), sip_address(line))
    return media_port(await receive(caller.sip)), media_port(offer)


async def test_both_sides_send_their_media_to_the_line(ends: tuple[End, End]) -> None:
    caller, pbx = ends
    async with impaired_line(pbx.uri) as line:
        caller.sip.sendto(caller.describe("INVITE sip:700@127.0.0.1 SIP/2.0"), sip_address(line))
        offer = await receive(pbx.sip)
        assert media_port(offer) not in (port(caller.rtp), 0)
        head, _, body = offer.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(body) in head
        assert b"a=rtcp" not in body
        assert b"a=sendrecv" in body
        pbx.sip.sendto(pbx.describe("SIP/2.0 200 OK"), sip_address(line))
        near = media_port(await receive(caller.sip))
        caller.rtp.sendto(b"up", ("127.0.0.1", near))
        assert await receive(pbx.rtp) == b"up"
        pbx.rtp.sendto(b"down", ("127.0.0.1", media_port(offer)))
        assert await receive(caller.rtp) == b"down"


async def test_messages_without_a_description_pass_as_they_are(ends: tuple[End, End]) -> None:
    caller, pbx = ends
    async with impaired_line(pbx.uri) as line:
        message = b"BYE sip:700@127.0.0.1 SIP/2.0\r\nContent-Length: 0\r\n\r\n"
        caller.sip.sendto(message, sip_address(line))
        assert await receive(pbx.sip) == message
        refusal = pbx.describe("SIP/2.0 200 OK", rtp_port=0)
        pbx.sip.sendto(refusal, sip_address(line))
        assert media_port(await receive(caller.sip)) == 0


async def test_packets_are_lost_in_one_direction_only(ends: tuple[End, End]) -> None:
    caller, pbx = ends
    async with impaired_line(pbx.uri, up=Impairment(loss=0.5), seed=2) as line:
        near, far = await set_up(line, caller, pbx)
        for number in range(100):
            caller.rtp.sendto(b"%d" % number, ("127.0.0.1", near))
            pbx.rtp.sendto(b"%d" % number, ("127.0.0.1", far))
        assert [int(await receive(caller.rtp)) for _ in range(100)] == list(range(100))
        up, down = line.stats
        async with asyncio.timeout(WAIT_S):
            while up.taken < 100:  # its counters are looked at: nothing else tells
                await asyncio.sleep(0.01)
        came = [int(await receive(pbx.rtp)) for _ in range(100 - up.lost)]
        assert 20 < up.lost < 80
        assert came == sorted(came)
        assert (down.taken, down.lost) == (100, 0)


async def test_jitter_lets_packets_overtake_and_all_arrive(ends: tuple[End, End]) -> None:
    caller, pbx = ends
    async with impaired_line(pbx.uri, up=Impairment(jitter_ms=50), seed=2) as line:
        near, _ = await set_up(line, caller, pbx)
        for number in range(50):
            caller.rtp.sendto(b"%d" % number, ("127.0.0.1", near))
        came = [int(await receive(pbx.rtp)) for _ in range(50)]
    assert sorted(came) == list(range(50))
    assert came != sorted(came)


async def test_a_freeze_holds_packets_and_delivers_them_in_order(ends: tuple[End, End]) -> None:
    caller, pbx = ends
    loop = asyncio.get_running_loop()
    async with impaired_line(pbx.uri) as line:
        near, far = await set_up(line, caller, pbx)
        begin_s = loop.time()
        line.freeze(0.3, "up")
        for number in range(10):
            caller.rtp.sendto(b"%d" % number, ("127.0.0.1", near))
        pbx.rtp.sendto(b"not held", ("127.0.0.1", far))
        assert await receive(caller.rtp) == b"not held"
        assert [int(await receive(pbx.rtp)) for _ in range(10)] == list(range(10))
        assert loop.time() - begin_s >= 0.29


def own_udp_ports() -> set[int]:
    """Bound by this process; whether others take a port that was given back is their affair."""
    mine = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            mine.add(link.readlink().name)
    rows = [row.split() for row in Path("/proc/self/net/udp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in mine}


async def test_its_ports_are_free_again_at_once(ends: tuple[End, End]) -> None:
    caller, pbx = ends
    async with impaired_line(pbx.uri, up=Impairment(delay_ms=60_000)) as line:
        near, far = await set_up(line, caller, pbx)
        caller.rtp.sendto(b"still under way", ("127.0.0.1", near))
        ports = [sip_address(line)[1], near, near + 1, far, far + 1]
        assert set(ports) <= own_udp_ports()
    assert not own_udp_ports() & set(ports)
    line.close()  # harmless


async def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(LineError, match="it looks like sip:700"):
        async with impaired_line("700"):
            pass


@pytest.mark.asterisk
async def test_a_call_over_a_bad_line_is_heard_through_its_holes(pbx: Pbx, sip_caller: SipCaller) -> None:
    bad = Impairment(loss=0.2, delay_ms=20)
    async with impaired_line(pbx.sip_uri(600), down=bad, seed=4) as line, sip_caller.dial(line.uri) as call:
        said = call.play(burst(1000))
        await said.sent()
        await call.wait_for_agent(500, WAIT_S, since_s=said.begin_s)
        await call.wait_for_silence(300, WAIT_S)
        heard = call.recording.agent
        await call.send_dtmf("#")
        assert await call.wait_ended(WAIT_S) == "hung up by the far end", "keys pass, and so does the end of the call"
    up, down = line.stats
    assert up.lost == 0
    assert down.lost > 0
    assert voiced_segments(heard)
