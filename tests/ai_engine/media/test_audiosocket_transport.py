"""The AudioSocket transport on real sockets, with a peer that behaves, and with one that does not."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from audiosocket_peer import Peer, connected_pair, until
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.media.audiosocket import (
    DTMF,
    ERROR,
    HANG_UP,
    SLIN,
    SLIN16,
    UUID,
    AudioSocketParser,
    Message,
    message,
)
from ai_engine.media.audiosocket_transport import AudioSocketTransport
from ai_engine.media.lines import MediaError
from ai_engine.media.transport import FrameKind

TONE = (8000 * np.sin(2 * np.pi * 400 * np.arange(160) / 8000)).astype("<i2").tobytes()
SILENCE = bytes(320)


class Ticks:
    """Calls the transport as the pacer would; the clock is the numbers it is told."""

    def __init__(self, transport: AudioSocketTransport) -> None:
        self.transport, self.now = transport, 100.0

    def tick(self) -> tuple[bytes, FrameKind]:
        self.now += 0.020
        frame = self.transport.receive(self.now)
        self.transport.transmit(self.now)
        assert len(frame.pcm) == self.transport.pcm_rate_hz // 25
        return frame.pcm, frame.kind


@pytest.fixture
def transport() -> Iterator[AudioSocketTransport]:
    transport = AudioSocketTransport("slin")
    yield transport
    asyncio.run(transport.close())


@pytest.fixture
def asterisk(transport: AudioSocketTransport) -> Iterator[Peer]:
    asterisk = Peer(transport)
    yield asterisk
    asterisk.socket.close()


@pytest.mark.parametrize(("name", "kind", "rate_hz"), [("slin", SLIN, 8000), ("slin16", SLIN16, 16000)])
def test_each_format_both_ways(name: str, kind: int, rate_hz: int) -> None:
    transport = AudioSocketTransport(name)
    asterisk, ticks = Peer(transport), Ticks(transport)
    assert transport.pcm_rate_hz == transport.format.sample_rate_hz == rate_hz
    spoken = TONE * (rate_hz // 8000)
    asterisk.send(spoken, kind)
    assert ticks.tick() == (spoken, FrameKind.SPEECH)
    asterisk.received()
    transport.play(1, spoken, "beep", ticks.now)
    ticks.tick()
    assert asterisk.received() == [Message(kind, spoken)]
    asyncio.run(transport.close())
    asterisk.socket.close()


def test_one_message_goes_out_each_tick_silence_included(transport: AudioSocketTransport, asterisk: Peer) -> None:
    ticks = Ticks(transport)
    for n in range(10):
        if n == 5:
            transport.play(1, TONE * 2, "beep", ticks.now)
            transport.played.end_turn(1, ticks.now)
        ticks.tick()
        (one,) = asterisk.received()
        assert one == Message(SLIN, TONE if n in (5, 6) else SILENCE)


def test_transmit_tells_what_of_the_agent_went_out(transport: AudioSocketTransport) -> None:
    transport.play(1, TONE * 2, "beep", 0.0)
    assert transport.transmit(0.02) is None  # nothing attached: it waits
    asterisk = Peer(transport)
    assert [transport.transmit(now) for now in (0.04, 0.06, 0.08)] == [TONE, TONE, None]
    asterisk.socket.close()


def test_pause_resume_and_flush_reach_the_wire(transport: AudioSocketTransport, asterisk: Peer) -> None:
    ticks = Ticks(transport)
    transport.play(1, TONE * 100, "one long word", ticks.now)
    for _ in range(3):
        ticks.tick()
    transport.pause(ticks.now)
    ticks.tick()  # fades
    asterisk.received()
    ticks.tick()
    assert asterisk.received() == [Message(SLIN, SILENCE)]
    transport.resume(ticks.now)
    ticks.tick()
    ticks.tick()
    assert asterisk.received()[-1] == Message(SLIN, TONE)
    transport.flush(ticks.now)
    ticks.tick()
    ticks.tick()
    assert asterisk.received()[-1] == Message(SLIN, SILENCE)
    ticks.now += 1.0
    assert transport.played.heard_ms(1, ticks.now) == 60  # going back to the word's beginning does not count twice


def test_nothing_that_comes_is_silence(transport: AudioSocketTransport, asterisk: Peer) -> None:
    ticks = Ticks(transport)
    assert {ticks.tick() for _ in range(5)} == {(SILENCE, FrameKind.SILENCE)}
    assert len(asterisk.received()) == 5


def test_a_message_that_is_late_is_concealed(transport: AudioSocketTransport, asterisk: Peer) -> None:
    ticks = Ticks(transport)
    kinds = []
    for n in range(10):
        if n != 5:
            asterisk.send(TONE)
        if n == 6:
            asterisk.send(TONE)
        kinds.append(ticks.tick())
    assert [kind for _, kind in kinds] == [FrameKind.SPEECH] * 5 + [FrameKind.CONCEALED] + [FrameKind.SPEECH] * 4
    assert np.abs(np.frombuffer(kinds[5][0], np.int16)).max() > 4000
    assert transport.line_quality().concealed == 1


def test_a_late_tick_leaves_no_delay_behind(transport: AudioSocketTransport, asterisk: Peer) -> None:
    ticks = Ticks(transport)
    for _ in range(150):  # three seconds in which nobody ticked
        asterisk.send(SILENCE)
    for _ in range(20):
        asterisk.send(SILENCE)
        ticks.tick()
    asterisk.send(TONE)
    heard = [ticks.tick()[0] for _ in range(3)]
    assert TONE in heard
    assert transport.line_quality().known().get("late", 0) >= 140


def test_a_digit_is_counted_and_never_heard(transport: AudioSocketTransport, asterisk: Peer) -> None:
    ticks = Ticks(transport)
    asterisk.send(b"5", DTMF)
    assert ticks.tick() == (SILENCE, FrameKind.SILENCE)
    quality = transport.line_quality()
    assert (quality.events, quality.received, quality.malformed) == (1, 0, 0)


def test_sound_of_another_kind_and_a_second_uuid_are_not_heard(transport: AudioSocketTransport, asterisk: Peer) -> None:
    ticks = Ticks(transport)
    asterisk.send(TONE * 2, SLIN16)
    asterisk.send(bytes(16), UUID)
    assert ticks.tick() == (SILENCE, FrameKind.SILENCE)
    assert transport.line_quality().unexpected == 2


def test_an_asterisk_that_knows_slin_alone_is_told_of() -> None:
    transport = AudioSocketTransport("slin16")
    asterisk, ticks = Peer(transport), Ticks(transport)
    with pytest.raises(MediaError, match=r"kind 0x10 where slin16 is 0x12.*set media.format to slin"):
        for _ in range(60):
            asterisk.send(TONE, SLIN)
            ticks.tick()
    asyncio.run(transport.close())
    asterisk.socket.close()


# --- a peer that does not behave --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Misbehaviour:
    sends: bytes
    closes: bool = False
    heard: bytes = SILENCE
    error: str | None = None
    """None: the connection goes on, or ends as it does when a channel is hung up."""
    malformed: int = 0
    name: str = field(default="", compare=False)


@pytest.mark.parametrize(
    "peer",
    [
        Misbehaviour(message(SLIN, TONE), heard=TONE, closes=True, name="closes after a message"),
        Misbehaviour(message(SLIN, TONE)[:100], closes=True, name="closes in the middle of a message"),
        Misbehaviour(b"\x10", name="half a header"),
        Misbehaviour(b"\x10\x01", closes=True, name="half a header and closes"),
        Misbehaviour(message(HANG_UP), name="hangs up"),
        Misbehaviour(message(SLIN), name="a message of nothing"),
        Misbehaviour(message(SLIN, b"\x01\x00"), name="a message of one sample"),
        Misbehaviour(b"\x10\x01\x41" + TONE, error="half a sample", malformed=1, name="half a sample"),
        Misbehaviour(b"GET /media HTTP/1.1\r\n\r\n", error="lost step: 0x47", malformed=1, name="speaks HTTP"),
        Misbehaviour(message(ERROR, b"\x01"), error="AudioSocket error 01", name="reports an error"),
        Misbehaviour(message(ERROR), error="error without a number", name="reports an error without a number"),
        Misbehaviour(message(SLIN) * 1000, error="more than 500", name="floods with empty messages"),
    ],
    ids=lambda peer: peer.name,
)
def test_a_peer_that_misbehaves(transport: AudioSocketTransport, asterisk: Peer, peer: Misbehaviour) -> None:
    ticks = Ticks(transport)
    asterisk.send_bytes(peer.sends)
    if peer.closes:
        asterisk.close()
    if peer.error is None:
        assert ticks.tick()[0] == peer.heard
        for _ in range(50):
            ticks.tick()
    else:
        with pytest.raises(MediaError, match=peer.error):
            ticks.tick()
        for action in (transport.receive, transport.transmit):  # and it stays failed
            with pytest.raises(MediaError, match=peer.error):
                action(ticks.now)
    assert transport.line_quality().malformed == peer.malformed


@pytest.mark.parametrize("how", ["closes", "hangs up", "resets"])
def test_a_connection_that_ended_is_silence_and_in_the_end_a_failure(
    transport: AudioSocketTransport, asterisk: Peer, how: str
) -> None:
    """Asterisk says on ARI that the channel is gone; two seconds are enough to hear it."""
    ticks = Ticks(transport)
    ticks.tick()
    if how == "hangs up":
        asterisk.send(b"", HANG_UP)
    else:
        asterisk.close(reset=how == "resets")
    for _ in range(95):
        assert ticks.tick()[1] is FrameKind.SILENCE
    with pytest.raises(MediaError, match="yet its channel has not ended"):
        for _ in range(15):
            ticks.tick()


def test_a_flood_of_sound_neither_blocks_nor_stays(transport: AudioSocketTransport, asterisk: Peer) -> None:
    ticks = Ticks(transport)
    for _ in range(20):
        asterisk.send_bytes(message(SLIN, TONE) * 40)
        ticks.tick()
    quality = transport.line_quality()
    assert quality.received == 800
    assert quality.late is not None
    assert quality.late >= 800 - 20 - 11  # handed out, and what may wait


class Reluctant:
    """A socket that takes what it is told to: bytes per `send`, or an error's number (negative)."""

    def __init__(self, takes: list[int]) -> None:
        self.takes = takes
        self.taken = b""
        self.timeouts = 0

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def setsockopt(self, *args: int) -> None: ...

    def recv(self, size: int) -> bytes:
        raise BlockingIOError

    def send(self, data: bytes) -> int:
        size = self.takes.pop(0) if self.takes else len(data)
        if size < 0:
            raise OSError(-size, "as told")
        if size == 0:
            raise BlockingIOError
        self.taken += data[:size]
        return min(size, len(data))

    def shutdown(self, how: int) -> None: ...

    def close(self) -> None: ...


def attached(takes: list[int]) -> tuple[AudioSocketTransport, Reluctant]:
    transport, peer = AudioSocketTransport("slin"), Reluctant(takes)
    transport.attach(peer)  # type: ignore[arg-type]
    return transport, peer


@given(st.lists(st.integers(0, 400), max_size=90))
def test_partial_writes_never_tear_a_message(takes: list[int]) -> None:
    transport, peer = attached(list(takes))
    transport.play(1, TONE * 200, "", 0.0)
    for n in range(200):
        transport.transmit(n * 0.020)
    messages = AudioSocketParser().feed(peer.taken)
    quality = transport.line_quality()
    assert messages
    assert all(one == Message(SLIN, TONE) for one in messages[:-1])
    assert len(messages) == quality.sent
    assert quality.sent + (quality.send_errors or 0) == 200


def test_a_peer_that_does_not_read_gets_frames_left_out_and_then_the_transport_fails() -> None:
    transport = AudioSocketTransport("slin")
    asterisk = Peer(transport, receive_buffer=4096)
    sent = 0
    with pytest.raises(MediaError, match="has not read its AudioSocket connection for two seconds"):
        for n in range(5000):
            transport.transmit(n * 0.020)
            sent = n
    quality = transport.line_quality()
    assert (quality.send_errors or 0) >= 100
    assert sent < 1000  # what kernels keep of it: some seconds at the most
    with pytest.raises(MediaError):
        transport.receive(200.0)
    asyncio.run(transport.close())
    asterisk.socket.close()


@given(st.lists(st.integers(0, 400), max_size=90))
def test_what_the_kernel_does_not_take_is_said_later_and_is_not_heard(takes: list[int]) -> None:
    transport, peer = attached(list(takes))
    said = b"".join(bytes([number]) * 320 for number in range(1, 101))
    transport.play(1, said, "", 0.0)
    transport.played.end_turn(1, 0.0)
    for n in range(200):
        transport.transmit(n * 0.020)
        left = len(peer.taken) // 323  # and a message that is under way
        assert transport.played.heard_ms(1, n * 0.020 + 1) <= 20 * (left + 1)
    frames = [one.payload for one in AudioSocketParser().feed(peer.taken)]
    assert b"".join(frames[:100]) == said
    assert set(frames[100:]) <= {SILENCE}


def test_a_peer_that_reads_again_in_time_hears_on() -> None:
    transport = AudioSocketTransport("slin")
    asterisk = Peer(transport, receive_buffer=4096)
    now = 0.0
    while not transport.line_quality().send_errors:
        transport.transmit(now := now + 0.020)
    for _ in range(10):
        transport.transmit(now := now + 0.020)
    messages = asterisk.received_now()

    def another_goes_out() -> bool:
        sent = transport.line_quality().sent
        transport.transmit(now)
        messages.extend(asterisk.received_now())
        return transport.line_quality().sent > sent

    until(another_goes_out)

    def all_came() -> bool:
        messages.extend(asterisk.received_now())
        return len(messages) == transport.line_quality().sent

    until(all_came)
    assert {one.payload for one in messages} == {SILENCE}
    asyncio.run(transport.close())
    asterisk.socket.close()


def test_a_half_open_connection_is_told_of() -> None:
    """The kernel reports it on the socket, once what was sent stays unconfirmed for TCP_USER_TIMEOUT."""
    transport, _ = attached([323, 323, -errno.ETIMEDOUT])
    transport.transmit(0.0)
    transport.transmit(0.02)
    with pytest.raises(MediaError, match="connection is lost"):
        transport.transmit(0.04)


def test_the_kernel_is_asked_to_tell_half_open_connections() -> None:
    transport = AudioSocketTransport("slin")
    ours, peer = connected_pair()
    transport.attach(ours)
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    asyncio.run(transport.close())
    peer.close()


# --- before the call ticks, and after ---------------------------------------------------------------------------------


def test_silence_goes_out_before_the_call_ticks_and_nothing_of_that_time_is_heard(
    transport: AudioSocketTransport, asterisk: Peer
) -> None:
    for n in range(10):
        asterisk.send(TONE)
        assert transport.keep_going(n * 0.020)
        assert asterisk.received() == [Message(SLIN, SILENCE)]
    ticks = Ticks(transport)
    ticks.tick()
    assert not transport.keep_going(ticks.now)
    assert len(asterisk.received()) == 1
    asterisk.send(bytes(320))
    assert ticks.tick()[1] is not FrameKind.SPEECH or not any(ticks.tick()[0])


async def test_close_gives_the_connection_back_and_may_be_called_twice() -> None:
    closed = []
    transport = AudioSocketTransport("slin", on_close=lambda: closed.append(True))
    asterisk = Peer(transport)
    asterisk.send(TONE)
    await transport.close()
    await transport.close()
    assert closed == [True]
    assert asterisk.was_closed()
    frame = transport.receive(1.0)  # a tick that was under way
    assert transport.transmit(1.0) is None
    assert frame.kind is FrameKind.SILENCE
    asterisk.socket.close()


async def test_a_connection_that_comes_after_the_close_or_a_second_one_is_closed() -> None:
    transport = AudioSocketTransport("slin")
    first = Peer(transport)
    second = Peer(transport)
    assert second.was_closed()
    await transport.close()
    third = Peer(transport)
    assert third.was_closed()
    for end in (first, second, third):
        end.socket.close()
