"""What a recording says: where somebody speaks, how long the answer took, how fast the agent fell silent.

Everything works by energy on 8 kHz samples that may have been through G.711; times are seconds from the first sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.call.wav import RATE_HZ, Pcm

LEVEL_FRAME = 40
"""Samples in a frame of `levels`: 5 ms, fine enough for a latency of a few hundred."""

QUIETEST_SPEECH = 100.0
"""RMS (of 32768; -50 dBFS) below which nothing counts as speech: above the noise of G.711 on silence."""

LOUDEST_THRESHOLD = 1000.0
"""RMS (-30 dBFS) above which everything counts, whatever the noise floor seems to be (a tone without a pause)."""

NOISE_FACTOR = 4.0
"""Speech stands 12 dB above the noise floor, which is the 10th percentile of the levels."""


class NothingHeard(ValueError):
    """The recording does not hold what was to be measured; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Voiced:
    """Somebody speaks from `begin_s` to `end_s`."""

    begin_s: float
    end_s: float

    @property
    def duration_ms(self) -> float:
        return (self.end_s - self.begin_s) * 1000


def levels(pcm: Pcm, frame: int = LEVEL_FRAME) -> NDArray[np.float64]:
    """RMS of each whole frame."""
    frames = pcm[: len(pcm) // frame * frame].reshape(-1, frame).astype(np.float64)
    rms: NDArray[np.float64] = np.sqrt((frames * frames).mean(axis=1))
    return rms


def threshold(level: NDArray[np.float64]) -> float:
    """The level above which a frame counts as voiced, from the levels around it."""
    floor = float(np.percentile(level, 10)) if len(level) else 0.0
    return min(max(NOISE_FACTOR * floor, QUIETEST_SPEECH), LOUDEST_THRESHOLD)


def voiced_segments(pcm: Pcm, *, join_ms: float = 250, min_voiced_ms: float = 40) -> list[Voiced]:
    """Where somebody speaks: pauses up to `join_ms` belong to the segment around them, clicks shorter than
    `min_voiced_ms` to none. The ends are exact to a frame of 5 ms."""
    level = levels(pcm)
    frames = np.flatnonzero(level > threshold(level))
    if not len(frames):
        return []
    frame_ms = LEVEL_FRAME * 1000 / RATE_HZ
    breaks = np.flatnonzero(np.diff(frames) * frame_ms > join_ms + frame_ms)
    starts = np.concatenate(([0], breaks + 1))
    ends = np.concatenate((breaks, [len(frames) - 1]))
    return [
        Voiced(float(frames[start]) * frame_ms / 1000, float(frames[end] + 1) * frame_ms / 1000)
        for start, end in zip(starts, ends, strict=True)
        if (end - start + 1) * frame_ms >= min_voiced_ms
    ]


def answer_delay_ms(caller: Pcm, agent: Pcm, *, after_s: float = 0.0, pause_ms: float = 1000) -> float:
    """Last voiced sample of the first question after `after_s` → first voiced sample of the answer to it.

    Pauses up to `pause_ms` belong to the question. An agent still speaking when the question ends does not count:
    what is measured is the first segment that begins afterwards.
    """
    questions = [q for q in voiced_segments(caller, join_ms=pause_ms) if q.begin_s >= after_s]
    if not questions:
        raise NothingHeard(f"the caller says nothing after {after_s:.1f} s")
    end_s = questions[0].end_s
    answers = [a for a in voiced_segments(agent) if a.begin_s > end_s]
    if not answers:
        raise NothingHeard(f"the agent says nothing after the question that ends at {end_s:.2f} s")
    return (answers[0].begin_s - end_s) * 1000


def silence_delay_ms(caller: Pcm, agent: Pcm, *, after_s: float = 0.0, join_ms: float = 250) -> float:
    """Onset of the first caller's speech after `after_s` → the agent, speaking at that moment, is silent."""
    onsets = [c.begin_s for c in voiced_segments(caller, join_ms=1000) if c.begin_s >= after_s]
    if not onsets:
        raise NothingHeard(f"the caller says nothing after {after_s:.1f} s")
    for segment in voiced_segments(agent, join_ms=join_ms):
        if segment.begin_s <= onsets[0] < segment.end_s:
            return (segment.end_s - onsets[0]) * 1000
    raise NothingHeard(f"the agent is not speaking at {onsets[0]:.2f} s, when the caller begins")


def likeness(said: Pcm, heard: Pcm, delay_ms: float) -> float:
    """Correlation, -1 … 1, of what was said with what was heard `delay_ms` later."""
    shift = round(delay_ms * RATE_HZ / 1000)
    said, heard = said[max(0, -shift) :], heard[max(0, shift) :]
    length = min(len(said), len(heard))
    return float(np.corrcoef(said[:length].astype(np.float64), heard[:length].astype(np.float64))[0, 1])


def lag_ms(reference: Pcm, delayed: Pcm, *, limit_ms: float = 1000, earliest_ms: float = -20) -> float:
    """By how much `delayed` comes after `reference`, where their cross-correlation peaks.

    Slightly negative values are looked for too: each side is placed to some milliseconds only.
    """
    size = len(reference) + len(delayed)
    spectrum = np.fft.rfft(delayed.astype(np.float64), size) * np.conj(np.fft.rfft(reference.astype(np.float64), size))
    earliest = int(earliest_ms * RATE_HZ / 1000)
    correlation = np.roll(np.fft.irfft(spectrum, size), -earliest)[: int(limit_ms * RATE_HZ / 1000) - earliest + 1]
    if not correlation.any():
        raise NothingHeard("one of the two sides is silent")
    return float(int(np.argmax(correlation)) + earliest) * 1000 / RATE_HZ


class Ear:
    """Listens to one side of a running call: is somebody speaking, since when, for how long?

    Feed it in order; the threshold follows the last `MEMORY_S` seconds.
    """

    FRAME = 80  # 10 ms
    MEMORY_S = 5.0

    def __init__(self) -> None:
        self._rest: Pcm = np.zeros(0, np.int16)
        self._levels: list[float] = []
        self._voiced: list[tuple[float, float]] = []  # runs of voiced frames, (begin_s, end_s)

    def hear(self, samples: Pcm, begin_s: float) -> None:
        """Take in samples that began at `begin_s` of the caller's clock."""
        begin_s -= len(self._rest) / RATE_HZ
        samples = np.concatenate((self._rest, samples))
        frame_s = self.FRAME / RATE_HZ
        heard = levels(samples, self.FRAME)
        self._rest = samples[len(heard) * self.FRAME :]
        for index, level in enumerate(heard):
            self._levels.append(float(level))
            if level <= threshold(np.array(self._levels[-int(self.MEMORY_S / frame_s) :])):
                continue
            at_s = begin_s + index * frame_s
            if self._voiced and at_s - self._voiced[-1][1] < frame_s / 2:
                self._voiced[-1] = (self._voiced[-1][0], at_s + frame_s)
            else:
                self._voiced.append((at_s, at_s + frame_s))
        del self._levels[: -int(self.MEMORY_S / frame_s)]

    @property
    def last_voiced_s(self) -> float | None:
        """When the last voiced frame ended; None before the first."""
        return self._voiced[-1][1] if self._voiced else None

    def voiced_since(self, since_s: float) -> tuple[float, float | None]:
        """Milliseconds of speech after `since_s`, and when the first of it began."""
        total_s, first_s = 0.0, None
        for begin_s, end_s in reversed(self._voiced):
            if end_s <= since_s:
                break
            first_s = max(begin_s, since_s)
            total_s += end_s - first_s
        return total_s * 1000, first_s
