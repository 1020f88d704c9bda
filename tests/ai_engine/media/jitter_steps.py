"""Steps: scenarios of the jitter buffer in the style of pjsip's tests of its own, one letter for what happens next.

P put the next packet · G get a frame, and 20 ms pass · L a packet is lost · D the last packet once more
O an old one · K keep the next packet back · B bring it · F 20 ms pass in which nobody gets (we froze)
S 20 ms of silence: the timestamp goes on, the sequence does not · C comfort noise · E a packet of a telephone event
H one that Asterisk keeps for itself · J the sender jumps to other numbers · R a new source · 3(PG) is PGPGPG
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import yaml

from ai_engine.media.jitter import JitterBuffer
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.transport import FrameKind

FILE = Path(__file__).parent / "jitter_scenarios.yaml"
MARK = {FrameKind.SPEECH: "s", FrameKind.CONCEALED: "c", FrameKind.SILENCE: "_"}
FRAME_S = 0.020
UNIT_SAMPLES = 80
"""10 ms: each such piece of sound has a number, so that what comes out can be told."""
_REPEATED = re.compile(r"(\d+)\(([^()]*)\)")


def unrolled(steps: str) -> str:
    """`3(PG)` as `PGPGPG`, inner ones first; spaces go."""
    while (once := _REPEATED.sub(lambda found: found[2] * int(found[1]), steps)) != steps:
        steps = once
    return "".join(steps.split())


class Sender:
    """Numbers packets. Both numbers are about to wrap."""

    def __init__(self, sequence: int = 65500, timestamp: int = 0xFFFFFFFF - 8000, ssrc: int = 1, unit: int = 0) -> None:
        self.sequence, self.timestamp, self.ssrc, self.unit = sequence, timestamp, ssrc, unit

    def next(self, samples: int = 160, payload_type: int = 0) -> RtpPacket:
        units = range(self.unit, self.unit + samples // UNIT_SAMPLES)
        payload = b"".join(unit.to_bytes(4, "big") * (UNIT_SAMPLES // 4) for unit in units)
        packet = RtpPacket(payload_type, self.sequence, self.timestamp, self.ssrc, payload)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.skip_time(samples)
        return packet

    def event(self, began: int) -> RtpPacket:
        """Of a key that went down at timestamp `began` (RFC 4733): all packets of it bear that time."""
        packet = RtpPacket(101, self.sequence, began, self.ssrc, bytes((5, 10, 0, 160)))
        self.sequence = (self.sequence + 1) & 0xFFFF
        return packet

    def skip_time(self, samples: int) -> None:
        self.timestamp = (self.timestamp + samples) & 0xFFFFFFFF
        self.unit += samples // UNIT_SAMPLES


def units_in(payload: bytes | memoryview) -> list[int]:
    """The numbers of the pieces that a frame begins with and has in its middle."""
    return [int.from_bytes(payload[at : at + 4], "big") for at in range(0, len(payload), UNIT_SAMPLES)]


@dataclass(frozen=True)
class Steps:
    """One scenario in letters, and what must come of it. Counts are exact, but for `late`, which is a limit."""

    name: str
    steps: str
    kinds: str
    """The last frames: s speech, c concealed, _ silence; repeated like steps."""
    delay_ms: float = 25
    lost: int = 0
    late: int = 0
    duplicates: int = 0
    restarts: int = 0


class StepsRun:
    """Steps on virtual time. Packets arrive in the middle between two ticks."""

    def __init__(self, steps: str) -> None:
        self.buffer = JitterBuffer()
        self.sender, self.now = Sender(), 100.0
        self.kinds, self.units = "", list[int]()
        sent: list[RtpPacket] = []
        kept: list[RtpPacket] = []
        event_began: int | None = None
        for step in unrolled(steps):
            arrived = self.now - 0.010
            if step not in "EHG":
                event_began = None
            elif step in "EH" and event_began is None:
                event_began = self.sender.timestamp
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
                    self.sender.skip_time(160)
                case "C":
                    self.buffer.skip(self.sender.next(payload_type=13), arrived)
                case "E" | "H":
                    assert event_began is not None
                    packet = self.sender.event(event_began)
                    if step == "E":
                        self.buffer.skip(packet, arrived)
                case "J":
                    self.sender.sequence = (self.sender.sequence + 20000) & 0xFFFF
                    self.sender.timestamp = (self.sender.timestamp + 0x50000000) & 0xFFFFFFFF
                case "R":
                    self.sender = Sender(9000, 7, 2, unit=1_000_000)
                case "F":
                    self.now += FRAME_S
                case "G":
                    self._get()
                case _:
                    raise ValueError(f"no step is called {step!r}")

    def _get(self) -> None:
        payload, kind = self.buffer.get(self.now)
        assert (payload is not None) == (kind is FrameKind.SPEECH)
        self.kinds += MARK[kind]
        if payload is not None:
            assert len(payload) == 160
            self.units += units_in(payload)
        self.now += FRAME_S

    def faults(self, limits: Steps) -> list[str]:
        """What is not as it must be; empty when all is."""
        stats, kinds = self.buffer.stats, unrolled(limits.kinds)
        found = []
        if not self.kinds.endswith(kinds):
            found.append(f"frames end in {self.kinds[-len(kinds) - 5 :]}, not in {kinds}")
        exact = {"lost": self.buffer.lost, "duplicates": stats.duplicates, "restarts": stats.restarts}
        for what, count in exact.items():
            if count != getattr(limits, what):
                found.append(f"{what} is {count}, not {getattr(limits, what)}")
        if stats.late > limits.late:
            found.append(f"late is {stats.late}, more than {limits.late}")
        delay_ms = self.buffer.delay_ms(self.now) - FRAME_S * 1000  # now is a tick after the last get
        if delay_ms > limits.delay_ms:
            found.append(f"the delay is {delay_ms:.1f} ms at the end, more than {limits.delay_ms}")
        if any(a >= b for a, b in pairwise(self.units)):
            found.append(f"sound comes out of order: {self.units}")
        return found


def all_steps() -> list[Steps]:
    return [Steps(**entry) for entry in yaml.safe_load(FILE.read_text())["steps"]]
