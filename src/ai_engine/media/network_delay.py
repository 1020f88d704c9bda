"""How late packets come: the least transit of the last seconds, and the delay behind it that most of them stay below.

The *transit* of a packet is its arrival time minus its timestamp, both in seconds: the unknown offset between the two
clocks plus the network's delay. The least one seen lately stands for "no delay". The quantile over the maxima of short
intervals, with forgetting, is the idea of WebRTC's NetEq delay manager: a freeze of the network is one entry, however
many packets it held up, while jitter that keeps coming back is one entry after another.
"""

from __future__ import annotations

from typing import Final

_BUCKET_S: Final = 0.0025
"""Resolution of the measured delay."""
_LEAST_TARGET_S: Final = 0.005
"""Any scheduler is late by this much now and then; a frame lost costs more than the delay."""
_INTERVAL_S: Final = 0.25
_QUANTILE: Final = 0.95
_FORGET: Final = 0.98
"""Per interval: the histogram remembers about 12 s."""
_PRIOR: Final = 20.0
"""Intervals without delay that a stream is credited with: one bad one early in a call is not yet a bad network."""
_WINDOW_S: Final = 2.0
"""The least transit is that of one to two windows, so that it follows clock skew and new routes."""


class NetworkDelay:
    """Measured on one stream from its first packet on. Times are monotonic seconds."""

    __slots__ = (
        "_before_s",
        "_histogram",
        "_interval_ends_s",
        "_last_transit_s",
        "_now_s",
        "_window_ends_s",
        "_worst_s",
        "jitter_s",
        "least_transit_s",
        "target_s",
    )

    def __init__(self, transit_s: float, arrived_s: float, *, max_delay_s: float, jitter_s: float = 0.0) -> None:
        self.least_transit_s = transit_s
        self.target_s = _LEAST_TARGET_S
        """95 % of the intervals had no packet later than this behind the least transit."""
        self.jitter_s = jitter_s
        """Interarrival jitter, RFC 3550 section 6.4.1."""
        self._last_transit_s = transit_s
        self._before_s = self._now_s = transit_s  # least transit of the window before and of this one
        self._window_ends_s = arrived_s + _WINDOW_S
        self._interval_ends_s = arrived_s + _INTERVAL_S
        self._worst_s = 0.0
        self._histogram = [0.0] * (int(max_delay_s / _BUCKET_S) + 1)
        self._histogram[0] = _PRIOR

    def measure(self, transit_s: float, arrived_s: float, early_s: float) -> None:
        """Take one packet into account; it is needed `early_s` before its own time."""
        self.jitter_s += (abs(transit_s - self._last_transit_s) - self.jitter_s) / 16
        self._last_transit_s = transit_s
        if arrived_s >= self._window_ends_s:
            self._window_ends_s = arrived_s + _WINDOW_S
            self._before_s, self._now_s = self._now_s, transit_s
            self.least_transit_s = min(self._before_s, transit_s)
        elif transit_s < self._now_s:
            self._now_s = transit_s
            self.least_transit_s = min(self._before_s, transit_s)
        if arrived_s >= self._interval_ends_s:
            self._interval_ends_s = arrived_s + _INTERVAL_S
            self._retarget()
        self._worst_s = max(self._worst_s, transit_s + early_s - self.least_transit_s)

    def _retarget(self) -> None:
        histogram = [weight * _FORGET for weight in self._histogram]
        histogram[min(int(self._worst_s / _BUCKET_S), len(histogram) - 1)] += 1
        self._histogram = histogram
        self._worst_s = 0.0
        below, enough = 0.0, sum(histogram) * _QUANTILE
        for bucket, weight in enumerate(histogram):
            below += weight
            if below >= enough:
                self.target_s = max(_LEAST_TARGET_S, (bucket + 1) * _BUCKET_S)
                return
