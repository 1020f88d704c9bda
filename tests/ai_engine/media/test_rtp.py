"""RTP packets: the wire format of RFC 3550, and that nothing but `RtpError` comes out of a bad datagram."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.media.rtp import RtpError, RtpPacket, is_rtcp, write_header

packets = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=400),
    marker=st.booleans(),
    csrcs=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extension=st.none() | st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=64).map(lambda b: b[: len(b) // 4 * 4])),
    padding_bytes=st.integers(0, 255),
)


@given(packets)
def test_a_packet_survives_the_wire(packet: RtpPacket) -> None:
    assert RtpPacket.parse(bytes(packet)) == packet


@given(st.binary(max_size=200))
def test_any_datagram_is_a_packet_or_an_rtp_error(datagram: bytes) -> None:
    try:
        packet = RtpPacket.parse(datagram)
    except RtpError:
        return
    assert len(bytes(packet)) == len(datagram)


@given(packets, st.data())
def test_a_damaged_packet_is_a_packet_or_an_rtp_error(packet: RtpPacket, data: st.DataObject) -> None:
    wire = bytearray(bytes(packet))
    for _ in range(3):
        wire[data.draw(st.integers(0, min(20, len(wire) - 1)))] = data.draw(st.integers(0, 255))
    try:
        RtpPacket.parse(bytes(wire[: data.draw(st.integers(0, len(wire)))]))
    except RtpError:
        pass


def test_header_by_the_letter() -> None:
    packet = RtpPacket.parse(bytes.fromhex("80800001000000a0deadbeef") + b"\xff" * 160)
    assert (packet.payload_type, packet.marker, packet.sequence) == (0, True, 1)
    assert (packet.timestamp, packet.ssrc, len(packet.payload)) == (160, 0xDEADBEEF, 160)


def test_csrcs_extension_and_padding_are_not_audio() -> None:
    wire = (
        bytes.fromhex("b2080001000000a0deadbeef")
        + bytes.fromhex("0000000100000002")
        + bytes.fromhex("bede0001aabbccdd")
        + b"audio"
        + b"\x00\x00\x03"
    )
    packet = RtpPacket.parse(wire)
    assert packet.csrcs == (1, 2)
    assert packet.extension == (0xBEDE, b"\xaa\xbb\xcc\xdd")
    assert bytes(packet.payload) == b"audio"
    assert packet.padding_bytes == 3


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        ("", "too few"),
        ("80000001000000a0deadbe", "too few"),
        ("40000001000000a0deadbeef", "version is 1"),
        ("82000001000000a0deadbeef00000001", "CSRCs"),
        ("90000001000000a0deadbeefbede", "cut off"),
        ("90000001000000a0deadbeefbede0002aabbccdd", "2 words"),
        ("a0000001000000a0deadbeef", "padding"),
        ("a0000001000000a0deadbeefff00", "padding of 0"),
        ("a0000001000000a0deadbeefff03", "padding of 3"),
    ],
)
def test_what_is_wrong_with_a_datagram_is_said(wire: str, says: str) -> None:
    with pytest.raises(RtpError, match=says):
        RtpPacket.parse(bytes.fromhex(wire))


@pytest.mark.parametrize(
    "packet",
    [
        RtpPacket(128, 0, 0, 0),
        RtpPacket(0, 65536, 0, 0),
        RtpPacket(0, 0, -1, 0),
        RtpPacket(0, 0, 0, 0, csrcs=(0,) * 16),
        RtpPacket(0, 0, 0, 0, extension=(1, b"abc")),
        RtpPacket(0, 0, 0, 0, padding_bytes=256),
    ],
)
def test_what_no_packet_can_carry_is_refused(packet: RtpPacket) -> None:
    with pytest.raises(RtpError):
        bytes(packet)


def test_payload_is_not_copied() -> None:
    datagram = bytes(RtpPacket(0, 1, 2, 3, b"\xff" * 160))
    payload = RtpPacket.parse(datagram).payload
    assert isinstance(payload, memoryview)
    assert payload.obj is datagram


def test_a_header_is_written_in_place() -> None:
    buffer = bytearray(172)
    write_header(buffer, 8, 65535, 0xFFFFFFFF, 7, marker=True)
    assert RtpPacket.parse(bytes(buffer)) == RtpPacket(8, 65535, 0xFFFFFFFF, 7, bytes(160), marker=True)


@pytest.mark.parametrize(("second", "rtcp"), [(200, True), (204, True), (0, False), (0x80, False), (72, False)])
def test_rtcp_on_the_same_port_is_recognised(second: int, rtcp: bool) -> None:
    assert is_rtcp(bytes([0x80, second, 0, 6])) is rtcp
    assert not is_rtcp(b"\x80")
