"""G.722: sound above 4 kHz both ways, over RTP as RFC 3551 has it, and what a lost frame leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from rtp_arrivals import Peer

from ai_engine.media.g722 import G722Codec
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.rtp_transport import RtpTransport
from ai_engine.media.transport import FrameKind

FRAME = 320
RATE_HZ = 16000
HIGH_HZ = 6000


def tone(hz: float, n_frames: int, amplitude: float = 8000) -> np.ndarray:  # type: ignore[type-arg]
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(n_frames * FRAME) / RATE_HZ)).astype(np.int16)


def frames(pcm: np.ndarray) -> list[bytes]:  # type: ignore[type-arg]
    return [pcm[start : start + FRAME].tobytes() for start in range(0, pcm.size, FRAME)]


def share_at(pcm: np.ndarray, hz: float) -> float:  # type: ignore[type-arg]
    """How much of the power lies within 100 Hz of `hz`."""
    power = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size))) ** 2
    near = np.abs(np.fft.rfftfreq(pcm.size, 1 / RATE_HZ) - hz) < 100
    return float(power[near].sum() / power.sum())


def rms(pcm: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(np.sqrt(np.mean(pcm.astype(float) ** 2)))


@pytest.mark.parametrize("hz", [300, 1000, 3500, 5000, HIGH_HZ, 6800])
def test_a_tone_comes_back_as_it_was(hz: int) -> None:
    codec = G722Codec()
    sound = tone(hz, 25)
    coded = [codec.encode(frame) for frame in frames(sound)]
    assert {len(payload) for payload in coded} == {160}
    heard = np.concatenate([codec.decode(payload) for payload in coded])
    assert share_at(heard[FRAME * 5 :], hz) > 0.99
    assert rms(heard[FRAME * 5 :]) == pytest.approx(rms(sound), rel=0.1)


def test_payloads_may_be_cut_anywhere() -> None:
    coded = b"".join(map(G722Codec().encode, frames(tone(1000, 5))))
    whole, parts = G722Codec(), G722Codec()
    pieces = [parts.decode(memoryview(coded)[start : start + 80]) for start in range(0, len(coded), 80)]
    assert np.array_equal(np.concatenate(pieces), whole.decode(coded))


def test_to_peek_changes_nothing_and_is_as_loud_as_what_comes() -> None:
    codec = G722Codec()
    coded = [codec.encode(frame) for frame in frames(tone(1000, 20))]
    peeking, other = G722Codec(), G722Codec()
    for payload in coded[:-1]:
        peeking.decode(payload)
        other.decode(payload)
    peeked = peeking.peek(coded[-1])
    heard = other.decode(coded[-1])
    assert rms(peeked) == pytest.approx(rms(heard), rel=0.5)
    assert np.array_equal(peeking.decode(coded[-1]), heard)


def test_a_lost_frame_is_forgotten_soon() -> None:
    sound = frames(tone(700, 30))
    codec = G722Codec()
    coded = [codec.encode(frame) for frame in sound]
    whole, gap = G722Codec(), G722Codec()
    for number, payload in enumerate(coded):
        heard = whole.decode(payload)
        if number != 15:
            after_gap = gap.decode(payload)
    error = np.abs(after_gap.astype(int) - heard).max()
    assert error < 800, "14 frames after the loss both decoders say the same"


@pytest.fixture
def transport() -> Iterator[RtpTransport]:
    transport = RtpTransport(RtpPorts(43000, 43998, host="127.0.0.1", drain_s=0), wire_format="g722")
    yield transport
    asyncio.run(transport.close())


class Line(Peer):
    """Asterisk's end, and the pacer's ticks on virtual time."""

    def __init__(self, transport: RtpTransport) -> None:
        super().__init__(transport)
        self.transport = transport
        transport.expect(*self.address)
        self.codec = G722Codec()
        self.sent = 0
        self.now = 100.0

    def send(self, pcm: bytes) -> None:
        payload = self.codec.encode(pcm)
        packet = RtpPacket(9, 7 + self.sent, 1000 + 160 * self.sent, 99, payload)
        self.send_bytes(bytes(packet))
        self.skip()

    def skip(self) -> None:
        self.sent += 1

    def tick(self) -> tuple[np.ndarray, FrameKind]:  # type: ignore[type-arg]
        self.now += 0.020
        frame = self.transport.receive(self.now)
        self.transport.transmit(self.now)
        assert len(frame.pcm) == 2 * FRAME
        return np.frombuffer(frame.pcm, np.int16), frame.kind

    def received(self) -> list[RtpPacket]:
        return [RtpPacket.parse(datagram) for datagram in self.received_bytes()]


@pytest.fixture
def line(transport: RtpTransport) -> Iterator[Line]:
    line = Line(transport)
    yield line
    line.close()


def test_what_the_caller_says_above_4_khz_is_heard(line: Line) -> None:
    heard = []
    for frame in frames(tone(HIGH_HZ, 50)):
        line.send(frame)
        pcm, kind = line.tick()
        if kind is FrameKind.SPEECH:
            heard.append(pcm)
    assert line.transport.pcm_rate_hz == RATE_HZ
    assert len(heard) >= 40
    assert share_at(np.concatenate(heard)[FRAME * 5 :], HIGH_HZ) > 0.98


def test_what_the_agent_says_above_4_khz_goes_out_and_the_clock_ticks_at_8_khz(line: Line) -> None:
    line.transport.play(1, tone(HIGH_HZ, 25).tobytes(), "beep", line.now)
    for _ in range(25):
        line.tick()
    packets = line.received()
    assert len(packets) == 25
    assert {packet.payload_type for packet in packets} == {9}
    assert {len(packet.payload) for packet in packets} == {160}
    steps = np.diff([packet.timestamp for packet in packets]) % 2**32
    assert set(steps.tolist()) == {160}
    decoder = G722Codec()
    heard = np.concatenate([decoder.decode(packet.payload) for packet in packets])
    assert share_at(heard[FRAME * 3 :], HIGH_HZ) > 0.98


def test_silence_goes_out_as_silence(line: Line) -> None:
    for _ in range(10):
        line.tick()
    decoder = G722Codec()
    heard = np.concatenate([decoder.decode(packet.payload) for packet in line.received()])
    assert np.abs(heard).max() < 10


def test_a_lost_packet_is_made_up_at_16_khz(line: Line) -> None:
    kinds, loudest = [], []
    for number, frame in enumerate(frames(tone(700, 40))):
        if number == 20:
            line.skip()
        else:
            line.send(frame)
        pcm, kind = line.tick()
        kinds.append(kind)
        loudest.append(int(np.abs(pcm).max()))
    assert kinds.count(FrameKind.CONCEALED) == 1
    made_up = kinds.index(FrameKind.CONCEALED)
    assert loudest[made_up] > 5000
    assert max(loudest) < 12000, "no crack where the sound goes on"
