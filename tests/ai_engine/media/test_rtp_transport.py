"""The RTP transport on real sockets: whom it hears, what it sends, and what it gives back."""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rtp_arrivals import PATIENCE_S, Peer

from ai_engine.media.comfort_noise import comfort_noise_gain
from ai_engine.media.ip_address import as_seen
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.rtp_transport import RtpTransport
from ai_engine.media.transport import FrameKind
from voice_wire.audio import decode_alaw, decode_mulaw, encode_alaw, encode_mulaw

TONE = (8000 * np.sin(2 * np.pi * 400 * np.arange(160) / 8000)).astype(np.int16)


class Asterisk(Peer):
    """The other end: a socket that numbers its packets."""

    def __init__(self, transport: RtpTransport, *, host: str = "127.0.0.1") -> None:
        super().__init__(transport, host=host)
        self.sequence, self.timestamp, self.ssrc = 7, 1000, 99

    def send(self, payload: bytes, payload_type: int = 0, *, arrives: bool = True) -> None:
        packet = RtpPacket(payload_type, self.sequence, self.timestamp, self.ssrc, payload)
        self.sequence += 1
        self.timestamp += 160
        self.send_bytes(bytes(packet), arrives=arrives)

    def received(self) -> list[RtpPacket]:
        return [RtpPacket.parse(datagram) for datagram in self.received_bytes()]


@pytest.fixture
def ports() -> RtpPorts:
    return RtpPorts(42000, 42998, host="127.0.0.1", drain_s=0)


@pytest.fixture
def transport(ports: RtpPorts) -> Iterator[RtpTransport]:
    transport = RtpTransport(ports)
    yield transport
    asyncio.run(transport.close())


@pytest.fixture
def asterisk(transport: RtpTransport) -> Iterator[Asterisk]:
    asterisk = Asterisk(transport)
    transport.expect(*asterisk.address)
    yield asterisk
    asterisk.socket.close()


class Ticks:
    """Calls the transport as the pacer would, 20 ms of real time apart in the numbers it is told."""

    def __init__(self, transport: RtpTransport) -> None:
        self.transport, self.now = transport, time.monotonic()

    def tick(self) -> tuple[np.ndarray, FrameKind]:  # type: ignore[type-arg]
        self.now += 0.020
        frame = self.transport.receive(self.now)
        self.transport.transmit(self.now)
        assert len(frame.pcm) == 320
        return np.frombuffer(frame.pcm, np.int16), frame.kind


@pytest.mark.parametrize(
    ("name", "payload_type", "encode"),
    [
        ("ulaw", 0, encode_mulaw),
        ("alaw", 8, encode_alaw),
        ("slin", 10, lambda pcm: pcm.astype(">i2").tobytes()),
    ],
)
def test_each_format_both_ways(ports: RtpPorts, name: str, payload_type: int, encode) -> None:  # type: ignore[no-untyped-def]
    transport = RtpTransport(ports, wire_format=name)
    asterisk, ticks = Asterisk(transport), Ticks(transport)
    asterisk.send(encode(TONE), payload_type)
    while (heard := ticks.tick())[1] is FrameKind.SILENCE:
        pass
    assert np.abs(heard[0].astype(int) - TONE).max() <= 300
    asterisk.received()
    decoders = {"ulaw": decode_mulaw, "alaw": decode_alaw, "slin": lambda wire: np.frombuffer(wire, ">i2")}
    agent = TONE.astype("<i2").tobytes() if name == "slin" else encode(TONE)
    transport.play(1, agent, "beep", ticks.now)
    ticks.tick()
    (packet,) = asterisk.received()
    assert packet.payload_type == payload_type
    assert np.abs(decoders[name](packet.payload).astype(int) - TONE).max() <= 300
    asyncio.run(transport.close())
    asterisk.socket.close()


def test_other_formats_are_refused_by_name(ports: RtpPorts) -> None:
    with pytest.raises(ValueError, match=r"'slin16'.* use ulaw, alaw, slin, g722"):
        RtpTransport(ports, wire_format="slin16")
    assert ports.in_use == 0


def test_strays_are_counted_and_change_nothing(transport: RtpTransport, asterisk: Asterisk) -> None:
    stray, ticks = Asterisk(transport), Ticks(transport)
    stray.ssrc = asterisk.ssrc  # the best forgery there is
    stray.sequence = asterisk.sequence
    for _ in range(5):
        stray.send(encode_mulaw(TONE))
        asterisk.send(b"\xff" * 160)
        pcm, _ = ticks.tick()
        assert not pcm.any()
    line = transport.line_quality()
    assert (line.strays, line.received) == (5, 5)
    assert len(asterisk.received()) == 5
    assert stray.received() == []
    assert transport.peer == asterisk.address
    stray.socket.close()


def test_a_flood_of_strays_is_left_to_the_kernel(transport: RtpTransport, asterisk: Asterisk) -> None:
    stray, ticks = Asterisk(transport), Ticks(transport)
    for _ in range(100):
        stray.send(b"\xff" * 160)
    ticks.tick()
    assert transport.line_quality().strays == 100
    for _ in range(100):
        stray.send(b"\xff" * 160, arrives=False)
    asterisk.send(encode_mulaw(TONE))
    ticks.tick()
    line = transport.line_quality()
    assert (line.strays, line.received) == (100, 1)
    assert len(asterisk.received()) == 2
    asterisk.socket.close()  # from here on the kernel reports "connection refused"
    for _ in range(3):
        ticks.tick()
    assert transport.line_quality().send_errors > 0
    stray.socket.close()


def test_the_peer_is_the_first_allowed_address_until_the_channel_names_it(ports: RtpPorts) -> None:
    transport = RtpTransport(ports, allowed_sources=["127.0.0.2"])
    foreign, first, named = Asterisk(transport), Asterisk(transport, host="127.0.0.2"), Asterisk(transport)
    ticks = Ticks(transport)
    foreign.send(b"\xff" * 160)
    ticks.tick()
    assert transport.peer is None
    first.send(b"\xff" * 160)
    ticks.tick()
    assert transport.peer == first.address
    assert len(first.received()) == 1
    transport.expect(*named.address)
    first.send(b"\xff" * 160)
    ticks.tick()
    assert first.received() == []
    assert len(named.received()) == 1
    assert transport.line_quality().strays == 2
    asyncio.run(transport.close())
    for end in (foreign, first, named):
        end.socket.close()


def test_an_unspecified_host_locks_the_port(ports: RtpPorts) -> None:
    transport = RtpTransport(ports)
    other, asterisk, ticks = Asterisk(transport), Asterisk(transport), Ticks(transport)
    transport.expect("0.0.0.0", asterisk.address[1])
    other.send(b"\xff" * 160)
    asterisk.send(b"\xff" * 160)
    ticks.tick()
    assert transport.peer == asterisk.address
    asyncio.run(transport.close())
    other.socket.close()
    asterisk.socket.close()


def test_what_is_not_audio_is_never_heard(transport: RtpTransport, asterisk: Asterisk) -> None:
    ticks = Ticks(transport)
    for _ in range(4):
        asterisk.send(b"\xff" * 160)
        ticks.tick()
    asterisk.send(b"\x05\x0a\x00\xa0", payload_type=101)  # RFC 4733, digit 5
    asterisk.send(b"\x7f", payload_type=13)
    asterisk.send(b"\x00" * 160, payload_type=18)
    asterisk.send_bytes(b"\x80\xc8\x00\x06" + bytes(24))
    asterisk.send_bytes(b"nonsense")
    for _ in range(6):
        pcm, kind = ticks.tick()
        assert not pcm.any()
    assert kind is FrameKind.SILENCE
    line = transport.line_quality()
    assert (line.events, line.unexpected, line.rtcp, line.malformed, line.lost) == (1, 1, 1, 1, 0)


@pytest.mark.parametrize("level", [45, 60])
def test_comfort_noise_is_heard_as_loud_as_it_says_until_somebody_speaks(
    transport: RtpTransport, asterisk: Asterisk, level: int
) -> None:
    """RFC 3389: the first octet is the level in -dBov; what follows is a spectrum."""
    ticks = Ticks(transport)
    for _ in range(3):
        asterisk.send(b"\xff" * 160)
        ticks.tick()
    asterisk.send(bytes((level, 4, 5, 6)), payload_type=13)
    silent = [ticks.tick() for _ in range(40)]
    assert {kind for _, kind in silent[10:]} == {FrameKind.SILENCE}
    noise = np.concatenate([pcm for pcm, _ in silent[10:]]).astype(float)
    assert 20 * np.log10(np.sqrt(np.mean(noise**2)) / 32768) == pytest.approx(-level, abs=1.0)
    asterisk.timestamp += 160 * 39
    for _ in range(5):
        asterisk.send(b"\xff" * 160)
        pcm, kind = ticks.tick()
    assert kind is FrameKind.SPEECH
    assert not pcm.any()
    assert transport.line_quality().comfort_noise == 1
    assert transport.line_quality().lost == 0


@pytest.mark.parametrize(
    ("payload", "gain"), [(b"", 0.0), (b"\x28", 1.0), (b"\x00", 1.0), (b"\xa8", 1.0), (b"\x3c", 0.1)]
)
def test_no_comfort_noise_is_louder_than_a_telephones(payload: bytes, gain: float) -> None:
    assert comfort_noise_gain(payload) == pytest.approx(gain)


@pytest.mark.parametrize("in_band", [False, True], ids=["events alone", "the tone as well"])
def test_a_key_is_no_sound_and_no_loss(transport: RtpTransport, asterisk: Asterisk, in_band: bool) -> None:
    """RFC 4733: all packets of an event bear the time at which the key went down, and its end comes three times."""
    ticks = Ticks(transport)
    for _ in range(4):
        asterisk.send(b"\xff" * 160)
        ticks.tick()
    began, heard = asterisk.timestamp, []
    for n in range(1, 13):
        now, asterisk.timestamp = asterisk.timestamp, began
        end = 0x80 if n > 9 else 0
        asterisk.send(bytes((5, end | 10)) + min(160 * n, 1600).to_bytes(2, "big"), payload_type=101)
        asterisk.timestamp = now + (0 if in_band else 160)
        if in_band:
            asterisk.send(encode_mulaw(TONE))
        heard.append(ticks.tick())
    for _ in range(4):
        asterisk.send(b"\xff" * 160)
        heard.append(ticks.tick())
    line = transport.line_quality()
    assert (line.events, line.lost, line.unexpected, line.malformed, line.restarts) == (12, 0, 0, 0, 0)
    sounding = [bool(np.abs(pcm).max() > 2000) for pcm, _ in heard]
    assert sum(sounding) == (12 if in_band else 0)


def test_a_new_source_behind_the_same_address_is_heard(transport: RtpTransport, asterisk: Asterisk) -> None:
    ticks = Ticks(transport)
    for _ in range(3):
        asterisk.send(b"\xff" * 160)
        ticks.tick()
    asterisk.ssrc, asterisk.sequence, asterisk.timestamp = 12345, 60000, 5
    heard = []
    for _ in range(4):
        asterisk.send(encode_mulaw(TONE))
        heard.append(ticks.tick()[0].any())
    assert any(heard)
    assert transport.line_quality().restarts == 1


def test_a_lost_packet_is_concealed(transport: RtpTransport, asterisk: Asterisk) -> None:
    ticks = Ticks(transport)
    kinds = []
    for n in range(10):
        asterisk.send(encode_mulaw(TONE))
        if n == 5:
            asterisk.sequence += 1
            asterisk.timestamp += 160
            kinds.append(ticks.tick())
        kinds.append(ticks.tick())
    concealed = [pcm for pcm, kind in kinds if kind is FrameKind.CONCEALED]
    assert len(concealed) == 1
    assert np.abs(concealed[0]).max() > 4000
    assert transport.line_quality().lost == 1


def test_silence_goes_out_all_the_time_under_one_marker(transport: RtpTransport, asterisk: Asterisk) -> None:
    ticks = Ticks(transport)
    for n in range(10):
        if n == 5:
            transport.play(1, encode_mulaw(TONE) * 2, "beep", ticks.now)
            transport.played.end_turn(1, ticks.now)
        ticks.tick()
    packets = asterisk.received()
    assert [packet.marker for packet in packets] == [True] + [False] * 9
    assert {(b.sequence - a.sequence) & 0xFFFF for a, b in itertools.pairwise(packets)} == {1}
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(packets)} == {160}
    loud = [decode_mulaw(packet.payload).any() for packet in packets]
    assert loud == [False] * 5 + [True] * 2 + [False] * 3


def test_without_silence_each_talkspurt_has_a_marker_and_the_time_it_began(ports: RtpPorts) -> None:
    transport = RtpTransport(ports, send_silence=False)
    asterisk, ticks = Asterisk(transport), Ticks(transport)
    transport.expect(*asterisk.address)
    for n in range(30):
        if n in (3, 20):
            transport.play(n, encode_mulaw(TONE) * 2, "beep", ticks.now)
            transport.played.end_turn(n, ticks.now)
        ticks.tick()
    packets = asterisk.received()
    assert [packet.marker for packet in packets] == [True, False, True, False]
    first = packets[0]
    assert [(packet.sequence - first.sequence) & 0xFFFF for packet in packets] == [0, 1, 2, 3]
    assert [((packet.timestamp - first.timestamp) & 0xFFFFFFFF) // 160 for packet in packets] == [0, 1, 17, 18]
    asyncio.run(transport.close())
    asterisk.socket.close()


def test_timestamps_follow_the_clock_when_ticks_were_left_out(transport: RtpTransport, asterisk: Asterisk) -> None:
    ticks = Ticks(transport)
    for _ in range(3):
        ticks.tick()
    ticks.now += 1.0
    for _ in range(3):
        ticks.tick()
    packets = asterisk.received()
    steps = [((b.timestamp - a.timestamp) & 0xFFFFFFFF) // 160 for a, b in itertools.pairwise(packets)]
    assert steps == [1, 1, 51, 1, 1]
    assert [packet.marker for packet in packets] == [True, False, False, True, False, False]


@pytest.fixture
async def closed(ports: RtpPorts) -> AsyncIterator[RtpTransport]:
    transport = RtpTransport(ports)
    await transport.close()
    yield transport


async def test_close_gives_the_port_back_and_may_be_called_twice(closed: RtpTransport, ports: RtpPorts) -> None:
    assert ports.in_use == 0
    await closed.close()
    frame = closed.receive(1.0)  # a tick that was under way
    closed.transmit(1.0)
    assert frame.kind is FrameKind.SILENCE


def test_sound_comes_out_whole_and_at_a_steady_delay(transport: RtpTransport, asterisk: Asterisk) -> None:
    ticks = Ticks(transport)
    for _ in range(500):
        asterisk.send(encode_mulaw(TONE))
        ticks.tick()
    line = transport.line_quality()
    assert (line.lost, line.late, line.concealed) == (0, 0, 0)
    assert line.delay_ms is not None
    assert line.delay_ms == pytest.approx(20)


def test_a_packet_came_when_the_kernel_had_it_and_not_when_we_looked(
    transport: RtpTransport, asterisk: Asterisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: list[float] = []
    monkeypatch.setattr(transport._jitter, "put", lambda _packet, at: arrived.append(at))
    transport._receive_message = transport._socket.recvmsg  # with its time stamps
    asterisk.send(encode_mulaw(TONE))
    assert select.select([transport._socket], [], [], PATIENCE_S)[0]
    time.sleep(0.1)
    transport.receive(1000.0)
    assert len(arrived) == 1
    assert 1000.0 - 5.0 <= arrived[0] <= 1000.0 - 0.099


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@needs_ipv6
@pytest.mark.parametrize(
    ("bound", "asterisk_at"), [("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1")], ids=["::1", ":: by v6", ":: by v4"]
)
@pytest.mark.parametrize("told", [True, False], ids=["address told", "address learned"])
def test_ipv6_both_ways_and_no_stray(bound: str, asterisk_at: str, told: bool) -> None:
    ports = RtpPorts(42000, 42998, host=bound, drain_s=0)
    transport = RtpTransport(ports, allowed_sources=["0:0:0:0:0:0:0:1", "127.0.0.1"])
    asterisk, stray, ticks = Asterisk(transport, host=asterisk_at), Asterisk(transport, host="::1"), Ticks(transport)
    if told:
        transport.expect(*asterisk.address)
    loudest = 0
    for n in range(8):
        asterisk.send(encode_mulaw(TONE))
        if n:
            stray.send(encode_mulaw(TONE))
        loudest = max(loudest, int(np.abs(ticks.tick()[0]).max()))
    ticks.tick()  # the last stray lay behind the packet that was waited for
    line = transport.line_quality()
    assert (line.received, line.strays, line.send_errors) == (8, 7, 0)
    assert loudest > 7000
    assert asterisk.received()
    assert stray.received() == []
    assert transport.peer is not None
    assert transport.peer == (as_seen(asterisk_at, socket.AF_INET6), asterisk.address[1])
    asyncio.run(transport.close())
    assert ports.in_use == 0
    asterisk.socket.close()
    stray.socket.close()


@pytest.mark.parametrize(
    ("host", "family", "seen"),
    [
        ("192.0.2.1", socket.AF_INET, "192.0.2.1"),
        ("::ffff:192.0.2.1", socket.AF_INET, "192.0.2.1"),
        ("192.0.2.1", socket.AF_INET6, "::ffff:192.0.2.1"),
        ("::ffff:c000:201", socket.AF_INET6, "::ffff:192.0.2.1"),
        ("2001:DB8:0:0::1", socket.AF_INET6, "2001:db8::1"),
        ("asterisk", socket.AF_INET6, "asterisk"),
    ],
)
def test_an_address_has_one_spelling(host: str, family: int, seen: str) -> None:
    assert as_seen(host, family) == seen


DATAGRAMS = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda type, sequence, timestamp, payload, padding: bytes(
                RtpPacket(type, sequence, timestamp, 99, payload, padding_bytes=padding)
            ),
            st.sampled_from([0, 8, 9, 10, 13, 19, 72, 101, 127]),
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.binary(max_size=400),
            st.integers(0, 20),
        ),
    ),
    max_size=30,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(DATAGRAMS)
@pytest.mark.parametrize("wire_format", ["ulaw", "slin"])
def test_whatever_the_peer_sends_each_tick_is_a_frame(
    ports: RtpPorts, wire_format: str, datagrams: list[bytes]
) -> None:
    transport = RtpTransport(ports, wire_format=wire_format)
    asterisk, ticks = Asterisk(transport), Ticks(transport)
    transport.expect(*asterisk.address)
    for datagram in datagrams:
        asterisk.send_bytes(datagram)
        ticks.tick()
    for _ in range(20):
        ticks.tick()
    line = transport.line_quality()
    counted = line.received + (line.malformed or 0) + (line.rtcp or 0)
    assert counted >= len(datagrams)  # a packet of the wrong size is both
    asyncio.run(transport.close())
    asterisk.socket.close()
