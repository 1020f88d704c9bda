"""Samples of one direction of a call, placed on the monotonic clock.

Audio is looked at every few milliseconds, so each look bounds when samples went by: after the look before, not after
this one. A busy event loop makes a look late; the looks that follow then narrow down when it really was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tools.call.wav import RATE_HZ, Pcm

FRAME_S = 0.020
"""What one RTP packet of this caller holds."""

CAUGHT_UP_S = 0.005

QUIET_RMS = 100.0
"""-50 dBFS: nobody misses 20 ms of this."""


def _rms(samples: Pcm) -> float:
    return math.sqrt(float(np.square(samples, dtype=np.float64).mean())) if len(samples) else 0.0


@dataclass(slots=True)
class Stretch:
    """Samples that follow each other without a gap."""

    begin_s: float
    earliest_s: float
    """It cannot have begun before: nothing was there at that look."""
    chunks: list[Pcm] = field(default_factory=list)
    samples: int = 0
    catching_up: bool = False

    @property
    def end_s(self) -> float:
        return self.begin_s + self.samples / RATE_HZ


@dataclass(frozen=True, slots=True)
class Position:
    """A sample of a track. Its time may still move by some milliseconds while the stretch is young."""

    stretch: Stretch
    offset: int

    @property
    def at_s(self) -> float:
        return self.stretch.begin_s + self.offset / RATE_HZ


class Track:
    """What went by in one direction and when: stretches of samples without a gap, in order, never overlapping."""

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []

    def place(self, samples: Pcm, *, now_s: float, last_look_s: float, tolerance_s: float) -> Position:
        """Add what was found at `now_s` and was not there at `last_look_s`; return where its first sample lies.

        The last frame has only just come, those before it one frame apart (or as a burst since the last look). The
        samples follow the stretch before without a gap when they are at most `tolerance_s` late: packets jitter,
        sound does not. Else the time between is silence.

        Samples held up and then delivered at once would stay late for ever after: like a telephone, the track
        that finds itself more than `tolerance_s` behind catches up by leaving out quiet ones. Nothing is ever placed
        before it came.
        """
        at_latest_s = min(now_s, now_s - len(samples) / RATE_HZ + FRAME_S)
        begin_s = max(last_look_s, at_latest_s)
        if not self._stretches or begin_s > self._stretches[-1].end_s + tolerance_s:
            earliest_s = max(last_look_s, self._stretches[-1].end_s) if self._stretches else last_look_s
            self._stretches.append(Stretch(begin_s, earliest_s))
        stretch = self._stretches[-1]
        if stretch.end_s > at_latest_s:
            stretch.begin_s = max(stretch.earliest_s, stretch.begin_s - (stretch.end_s - at_latest_s))
            behind_s = stretch.end_s - at_latest_s
            stretch.catching_up = behind_s > (CAUGHT_UP_S if stretch.catching_up else tolerance_s)
            if stretch.catching_up and _rms(samples) < QUIET_RMS:
                samples = samples[round(behind_s * RATE_HZ) :]
        position = Position(stretch, stretch.samples)
        stretch.chunks.append(samples)
        stretch.samples += len(samples)
        return position

    def render(self, begin_s: float, end_s: float) -> Pcm:
        """The samples between two times, zero where there were none."""
        out = np.zeros(max(0, round((end_s - begin_s) * RATE_HZ)), np.int16)
        for stretch in self._stretches:
            if stretch.end_s <= begin_s or stretch.begin_s >= end_s:
                continue
            samples = np.concatenate(stretch.chunks)
            offset = round((stretch.begin_s - begin_s) * RATE_HZ)
            samples = samples[max(0, -offset) :]
            offset = max(0, offset)
            count = min(len(samples), len(out) - offset)
            out[offset : offset + count] = samples[:count]
        return out
