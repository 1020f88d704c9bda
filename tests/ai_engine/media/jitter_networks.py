"""Networks: minutes of talk through a bad line and a jitter buffer, and what that costs in delay and sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np
import yaml
from jitter_steps import FILE, FRAME_S, UNIT_SAMPLES, Sender, units_in

from ai_engine.media.jitter import JitterBuffer
from ai_engine.media.rtp import RtpPacket
from tools.call.impairment import Impairer, Impairment

NO_UNIT = 0xFFFFFFFF
"""Silence that the buffer put in (mu-law)."""


@dataclass(frozen=True)
class Limits:
    """What a network may cost at most. Shares are 0 … 1."""

    delay_ms: float = 30
    """From the sender to the frame handed out, beyond the network's least: what 95 % of the sound stays below."""
    end_delay_ms: float | None = None
    """The same, the mean over the last 5 s; None: as `delay_ms`."""
    discarded: float = 0
    """Packets that came and were thrown away, and frames left out, of all."""
    added_loss: float = 0
    """Speech that came and was not handed out, of all speech."""
    restarts: int = 0
    """Exactly."""


@dataclass(frozen=True)
class Network:
    """Minutes of a talk: of each 5 s, `talk` is speech and the rest is quiet."""

    name: str
    minutes: float = 2
    packet_ms: int = 20
    skew_ppm: float = 0
    """By so much the sender's clock is fast."""
    talk: float = 0.6
    dtx: bool = False
    """The quiet part is not sent: one comfort noise packet (RFC 3389) begins it."""
    new_source_at_s: float | None = None
    freezes: tuple[tuple[float, float], ...] = ()
    """At what second for how many the network holds everything back."""
    outages: tuple[tuple[float, float], ...] = ()
    """At what second for how many it loses everything."""
    line: Impairment = field(default_factory=Impairment)
    limits: Limits = Limits()

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Self:
        line = {f.name: entry.pop(f.name) for f in fields(Impairment) if f.name in entry}
        for name in ("freezes", "outages"):
            entry[name] = tuple((at, seconds) for at, seconds in entry.pop(name, ()))
        return cls(line=Impairment(**line), limits=Limits(**entry.pop("limits", {})), **entry)


@dataclass(frozen=True)
class Cost:
    """What a network did cost, named as in `Limits`."""

    delay_ms: float
    end_delay_ms: float
    discarded: float
    added_loss: float
    restarts: int
    lost: int
    """Packets, as the buffer counts them."""
    truly_lost: int
    in_order: bool

    def faults(self, limits: Limits) -> list[str]:
        found = [
            f"{what} is {getattr(self, what):.4g}, more than {limit:g}"
            for what, limit in (
                ("delay_ms", limits.delay_ms),
                ("end_delay_ms", limits.delay_ms if limits.end_delay_ms is None else limits.end_delay_ms),
                ("discarded", limits.discarded),
                ("added_loss", limits.added_loss),
            )
            if getattr(self, what) > limit
        ]
        if self.restarts != limits.restarts:
            found.append(f"restarts is {self.restarts}, not {limits.restarts}")
        if not limits.restarts and self.lost != self.truly_lost:
            found.append(f"lost is {self.lost}, but {self.truly_lost} packets were")
        if not self.in_order:
            found.append("sound comes out of order or twice")
        return found


class Talk:
    """The sender's side of a network: what is sent, when, and where it belongs."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.came: set[int] = set()
        """Pieces of speech that came through."""
        self.spoken = 0
        self.sent_s: dict[int, float] = {}
        self.lost = 0

    def quiet(self, at_s: float) -> bool:
        return (at_s % 5) / 5 >= self.network.talk

    def arriving(self) -> Iterator[tuple[float, RtpPacket]]:
        """Packets and when they come, unsorted."""
        network, sender = self.network, Sender()
        impairer = Impairer(network.line, seed=7)
        packet_s = network.packet_ms / 1000
        troubles = sorted([(*f, False) for f in network.freezes] + [(*o, True) for o in network.outages])
        was_quiet = restarted = False
        lost_in_a_row = 0
        for n in range(round(network.minutes * 60 / packet_s)):
            at_s = n * packet_s
            sent_s = at_s * (1 - network.skew_ppm / 1e6)
            while troubles and troubles[0][0] <= at_s:
                _, seconds, lost = troubles.pop(0)
                impairer.freeze(sent_s, seconds, lost=lost)
            if network.new_source_at_s is not None and at_s >= network.new_source_at_s and not restarted:
                restarted, sender = True, Sender(9000, 7, 2, sender.unit)
            quiet, samples = self.quiet(at_s), network.packet_ms * 8
            if quiet and network.dtx and was_quiet:
                sender.skip_time(samples)
                continue
            units = range(sender.unit, sender.unit + samples // UNIT_SAMPLES)
            packet = sender.next(samples, 13 if quiet and network.dtx else 0)
            was_quiet = quiet
            if not quiet:
                self.spoken += len(units)
            self.sent_s.update((unit, sent_s + i * 0.010) for i, unit in enumerate(units))
            came = impairer.take(bytes(packet), sent_s)
            if not came:
                lost_in_a_row += 1
                continue
            self.lost += lost_in_a_row  # those at the very end nobody can know
            lost_in_a_row = 0
            if not quiet:
                self.came.update(units)
            for due_s, _ in came:
                yield due_s, packet


def cost_of(network: Network) -> Cost:
    """Carry the talk through a jitter buffer that is read every 20 ms."""
    talk, now = Talk(network), 0.0111
    arriving = sorted(talk.arriving(), key=lambda item: item[0], reverse=True)
    n_packets = len(arriving)
    buffer = JitterBuffer(is_quiet=lambda payload: talk.quiet(units_in(payload)[0] / 100))
    heard: list[int] = []
    delays: list[tuple[float, float]] = []
    end_s = network.minutes * 60 * (1 - network.skew_ppm / 1e6)
    while now < end_s:
        while arriving and arriving[-1][0] <= now:
            arrived_s, packet = arriving.pop()
            (buffer.put if packet.payload_type == 0 else buffer.skip)(packet, arrived_s)
        payload, _ = buffer.get(now)
        if payload is not None:
            for position, unit in enumerate(units_in(payload)):
                if unit == NO_UNIT or heard[-1:] == [unit]:  # a hole of less than a frame was filled
                    continue
                heard.append(unit)
                delays.append((now, now + position * 0.010 - talk.sent_s[unit]))
        now += FRAME_S
    under_way_since_s = end_s - 1.0
    missed = {unit for unit in talk.came.difference(heard) if talk.sent_s[unit] < under_way_since_s}
    for arrived_s, packet in reversed(arriving):
        (buffer.put if packet.payload_type == 0 else buffer.skip)(packet, arrived_s)
    stats, least_s = buffer.stats, network.line.delay_ms / 1000
    return Cost(
        delay_ms=float(np.percentile([delay for _, delay in delays], 95) - least_s) * 1000,
        end_delay_ms=float(np.mean([delay for at_s, delay in delays if at_s > end_s - 5]) - least_s) * 1000,
        discarded=(stats.late + stats.dropped) / n_packets,
        added_loss=len(missed) / max(1, talk.spoken),
        restarts=stats.restarts,
        lost=buffer.lost,
        truly_lost=talk.lost,
        in_order=all(a < b for a, b in pairwise(heard)),
    )


def all_networks() -> list[Network]:
    return [Network.read(entry) for entry in yaml.safe_load(FILE.read_text())["networks"]]
