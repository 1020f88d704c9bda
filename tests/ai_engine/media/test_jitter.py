"""The jitter buffer: scenarios in pjsip's mini language with limits, then minutes of simulated network.

P put the next packet · G get a frame, and 20 ms pass · L a packet is lost · D the last packet once more · O an old one
S 20 ms of silence: the timestamp goes on, the sequence does not · K keep the next packet back · B bring it
J the sender jumps to other numbers · R a new source · F 20 ms pass in which nobody gets (we froze) · C comfort noise
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_engine.media.jitter import JitterBuffer
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.transport import FrameKind

MARK = {FrameKind.SPEECH: "s", FrameKind.CONCEALED: "c", FrameKind.SILENCE: "_"}


class Sender:
    """Numbers packets; the payload of each frame tells its position, so that what comes out can be told."""

    def __init__(self, sequence: int = 65000, timestamp: int = 0xFFFFFFFF - 8000) -> None:
        self.sequence, self.timestamp, self.ssrc, self.frame = sequence, timestamp, 1, 0

    def next(self, samples: int = 160, payload_type: int = 0) -> RtpPacket:
        self.frame += 1
        packet = RtpPacket(payload_type, self.sequence, self.timestamp, self.ssrc, bytes([self.frame % 251]) * samples)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + samples) & 0xFFFFFFFF
        return packet


class Run:
    """One scenario on virtual time. Packets arrive in the middle between two ticks."""

    def __init__(self, scenario: str, *, quiet: bool = False) -> None:
        self.buffer = JitterBuffer(is_quiet=lambda payload: quiet)
        self.sender, self.now = Sender(), 100.0
        self.kinds, self.frames = "", list[int]()
        sent: list[RtpPacket] = []
        kept: list[RtpPacket] = []
        for step in scenario.replace(" ", ""):
            arrived = self.now - 0.010
            match step:
                case "P":
                    sent.append(self.sender.next())
                    self.buffer.put(sent[-1], arrived)
                case "D":
                    self.buffer.put(sent[-1], arrived)
                case "O":
                    self.buffer.put(sent[-8], arrived)
                case "L":
                    self.sender.next()
                case "K":
                    kept.append(self.sender.next())
                case "B":
                    self.buffer.put(kept.pop(0), arrived)
                case "S":
                    self.sender.timestamp = (self.sender.timestamp + 160) & 0xFFFFFFFF
                case "C":
                    self.buffer.skip(self.sender.next(payload_type=13), arrived)
                case "J":
                    self.sender.sequence = (self.sender.sequence + 20000) & 0xFFFF
                    self.sender.timestamp = (self.sender.timestamp + 0x50000000) & 0xFFFFFFFF
                case "R":
                    self.sender = Sender(random.Random(1).randrange(65536), 7)
                    self.sender.ssrc, self.sender.frame = 2, 100
                case "F":
                    self.now += 0.020
                case "G":
                    payload, kind = self.buffer.get(self.now)
                    assert (payload is not None) == (kind is FrameKind.SPEECH)
                    self.kinds += MARK[kind]
                    if payload is not None:
                        assert len(payload) == 160
                        self.frames.append(payload[0])
                    self.now += 0.020


@dataclass(frozen=True)
class Limits:
    """What a scenario may cost at most; counts are exact."""

    frames: str
    """The kinds of the last frames, or of all: s speech, c concealed, _ silence."""
    delay_ms: float = 25
    lost: int = 0
    late: int = 0
    duplicates: int = 0
    restarts: int = 0


STEADY = "PG" * 20
SCENARIOS = {
    "a steady stream comes out at once": (STEADY, Limits("s" * 20)),
    "the sequence number and the timestamp wrap": ("PG" * 700, Limits("s" * 700)),
    "nothing yet is silence": ("GGG" + STEADY, Limits("___" + "s" * 20)),
    "one lost packet is concealed": (STEADY + "LGPGPG", Limits("scss", lost=1)),
    "three lost packets are concealed": (STEADY + "LGLGLGPGPG", Limits("scccss", lost=3)),
    "a long loss falls silent": (STEADY + "LG" * 6 + "PGPG", Limits("sccc___ss", lost=6)),
    "a gap in timestamps alone is silence": (STEADY + "PPSSPP" + "GGGGG", Limits("ss_ss", delay_ms=110)),
    "an unannounced gap is concealed, then silent": (STEADY + "SG" * 6 + "PGPG", Limits("sccc___ss")),
    "comfort noise is silence, not loss": (STEADY + "CGSGSGPG", Limits("s___s")),
    "duplicates are suppressed": (STEADY + "PDGPDDG", Limits("ss", duplicates=3)),
    "an old packet is a duplicate": (STEADY + "OPGOPG", Limits("ss", duplicates=2)),
    "packets in one tick are put in order": (STEADY + "KPGBPG", Limits("scs", lost=0, late=1)),
    "a bunch is played in order": ("PPPP" + "G" * 4 + "PG" * 4, Limits("s", delay_ms=110)),
    "a new source starts anew": (STEADY + "R" + STEADY, Limits("s" * 20, restarts=1)),
    "a sender that jumps starts anew": (STEADY + "J" + STEADY, Limits("s" * 15, restarts=1, late=2)),
    "a sender that stops its clock while silent": (STEADY + "G" * 50 + "PG" * 20, Limits("s" * 12, restarts=1, late=5)),
    "a sender that falls behind in bursts": (
        STEADY + ("KG" * 20 + "KB" * 10 + "G" * 10) + "KKBBGG" * 25,
        Limits("s" * 20, restarts=1, delay_ms=75),
    ),
    "our own freeze of 2 s leaves no delay": (STEADY + "PF" * 100 + "PG" * 50, Limits("s" * 50)),
    "a network's freeze of 2 s leaves no delay": (
        STEADY + "KG" * 100 + "B" * 100 + "PG" * 50,
        Limits("s" * 40, delay_ms=75),
    ),
}


@pytest.mark.parametrize(("scenario", "limits"), SCENARIOS.values(), ids=SCENARIOS.keys())
def test_scenario(scenario: str, limits: Limits) -> None:
    run = Run(scenario)
    stats = run.buffer.stats
    assert run.kinds.endswith(limits.frames), run.kinds
    assert run.buffer.delay_ms(run.now) <= limits.delay_ms + 20  # now is a tick after the last get
    if limits.late >= 0 and "freeze" not in scenario:
        counted = (run.buffer.lost, stats.duplicates, stats.restarts)
        assert counted == (limits.lost, limits.duplicates, limits.restarts)
    assert run.frames == sorted(run.frames) or "R" in scenario or len(run.frames) > 250


@given(st.text("PPPPPGGGGGLDOKBSCF", max_size=300))
def test_any_scenario_keeps_the_order(scenario: str) -> None:
    kept = 0
    steps = ""
    for step in scenario:  # nothing is brought that was not kept
        kept += (step == "K") - (step == "B")
        if kept < 0:
            kept = 0
            continue
        steps += step
    run = Run("P" * 8 + steps + "G")
    assert run.buffer.stats.restarts > 0 or all(a < b for a, b in zip(run.frames, run.frames[1:], strict=False))
    assert run.buffer.delay_ms(run.now) <= 425


@dataclass(frozen=True)
class Network:
    """What a stream of packets goes through, and what it may cost."""

    minutes: float = 2
    packet_ms: int = 20
    skew_ppm: float = 0
    jitter_ms: float = 0
    loss: float = 0
    speech_share: float = 0.6
    """Of each 5 s; the rest is quiet but sent."""
    most_delay_ms: float = 30
    most_late: float = 0
    most_dropped: int = 0


NETWORKS = {
    "quiet line": Network(),
    "sender 200 ppm fast": Network(minutes=10, skew_ppm=200, most_dropped=8),
    "sender 200 ppm slow": Network(minutes=10, skew_ppm=-200, most_delay_ms=31),
    "10 ms of jitter": Network(jitter_ms=10, most_delay_ms=50, most_late=0.01, most_dropped=30),
    "40 ms of jitter": Network(jitter_ms=40, most_delay_ms=90, most_late=0.01, most_dropped=60),
    "5 % loss": Network(loss=0.05),
    "packets of 10 ms": Network(packet_ms=10, most_delay_ms=45, most_late=0.001, most_dropped=2),
    "packets of 30 ms": Network(packet_ms=30, most_delay_ms=45, most_late=0.001, most_dropped=2),
    "packets of 40 ms": Network(packet_ms=40, most_delay_ms=45, most_late=0.001, most_dropped=2),
    "never quiet, 200 ppm fast": Network(minutes=10, skew_ppm=200, speech_share=1, most_dropped=8),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_network(network: Network) -> None:
    rng = random.Random(7)
    quiet_now = False
    buffer = JitterBuffer(is_quiet=lambda payload: quiet_now)
    sender = Sender()
    packet_s = network.packet_ms / 1000
    n_packets = int(network.minutes * 60 / packet_s)
    arriving: list[tuple[float, RtpPacket]] = []
    for n in range(n_packets):
        packet = sender.next(network.packet_ms * 8)
        if rng.random() >= network.loss:
            sent_s = 10.0 + n * packet_s * (1 - network.skew_ppm / 1e6)
            arriving.append((sent_s + 0.003 + rng.uniform(0, network.jitter_ms / 1000), packet))
    arriving.sort(key=lambda item: item[0])
    arriving.reverse()
    now, end, delays = 10.0111, 10.0 + n_packets * packet_s * (1 - network.skew_ppm / 1e6), list[float]()
    speech = 0
    while now < end:
        while arriving and arriving[-1][0] <= now:
            arrived, packet = arriving.pop()
            buffer.put(packet, arrived)
        quiet_now = (now % 5) / 5 > network.speech_share
        payload, _ = buffer.get(now)
        speech += payload is not None
        delays.append(buffer.delay_ms(now + 0.020) - 20)
        now += 0.020
    stats = buffer.stats
    frames = network.minutes * 60 * 50
    assert speech >= frames * (1 - network.loss * 1.2 - 0.01) - 3
    assert sum(d > network.most_delay_ms for d in delays) <= len(delays) * 0.02, sorted(delays)[-20:]
    assert stats.late <= n_packets * network.most_late
    assert stats.dropped <= network.most_dropped
    assert abs(buffer.lost - n_packets * network.loss) <= n_packets * network.loss * 0.2
    assert stats.restarts == 0


@settings(max_examples=50)
@given(st.lists(st.integers(40, 700), min_size=1, max_size=40))
def test_packets_of_any_length_come_out_whole(lengths: list[int]) -> None:
    buffer = JitterBuffer()
    timestamp, sound = 3, b""
    for sequence, length in enumerate(lengths):
        payload = bytes((len(sound) + i) % 251 for i in range(length))
        buffer.put(RtpPacket(0, sequence, timestamp, 9, payload), 5.0 + timestamp / 8000)
        timestamp, sound = timestamp + length, sound + payload
    out, now = b"", 5.03
    for _ in range(len(sound) // 160):
        payload, kind = buffer.get(now)
        assert kind is FrameKind.SPEECH
        out += bytes(payload or b"")
        now += 0.020
    assert sound.startswith(out)
    assert len(out) == len(sound) // 160 * 160


def test_samples_of_two_bytes_are_never_halved() -> None:
    buffer = JitterBuffer(bytes_per_sample=2)
    for n in range(4):
        buffer.put(RtpPacket(10, n, n * 240, 1, bytes([n, 100 + n]) * 240), 1.0)
    frame, _ = buffer.get(1.01)
    second, _ = buffer.get(1.03)
    assert frame == bytes([0, 100]) * 160
    assert second == bytes([0, 100]) * 80 + bytes([1, 101]) * 80
