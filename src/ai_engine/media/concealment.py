"""Sound in place of lost packets: the last pitch period again and again, fading to silence.

The method of ITU-T G.711 Appendix I, shortened: no delay, and a straight fade over 60 ms instead of growing periods.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from voice_wire.audio import Pcm

FADE_MS: Final = 60
_LOWEST_PITCH_HZ: Final = 66
_HIGHEST_PITCH_HZ: Final = 400
_TEMPLATE_MS: Final = 10
_RETURN_MS: Final = 4
"""Overlap of what was made up with the first real sound after it."""

_Samples = npt.NDArray[np.float32]


class Concealment:
    """For one stream of frames of equal length, each at least 20 ms. Every frame goes through it."""

    def __init__(self, *, rate_hz: int = 8000, frame_ms: int = 20) -> None:
        self._frame_samples = rate_hz * frame_ms // 1000
        self._shortest_lag = rate_hz // _HIGHEST_PITCH_HZ
        self._longest_lag = rate_hz // _LOWEST_PITCH_HZ
        self._template_samples = rate_hz * _TEMPLATE_MS // 1000
        self._fade_samples = rate_hz * FADE_MS // 1000
        self._return_samples = rate_hz * _RETURN_MS // 1000
        self._silence: Pcm = np.zeros(self._frame_samples, np.int16)
        self._before = self._last = self._silence
        self._period: _Samples | None = None
        self._made_up = 0  # samples since the last real one

    def heard(self, pcm: Pcm) -> Pcm:
        """Take a real frame; returns it, its beginning blended with what was made up before it, if anything was."""
        if self._period is not None:
            n = self._return_samples
            real_share = np.arange(1, n + 1, dtype=np.float32) / (n + 1)
            blend = pcm[:n] * real_share + self._go_on(n) * (1 - real_share)
            pcm = np.concatenate((np.rint(blend).astype(np.int16), pcm[n:]))
            self._period = None
            self._made_up = 0
        self._before, self._last = self._last, pcm
        return pcm

    def fell_silent(self) -> None:
        """The caller sent nothing on purpose: nothing of before it is repeated."""
        self._before = self._last = self._silence
        self._period = None
        self._made_up = 0

    def conceal(self) -> Pcm | None:
        """A frame for a lost one; None once all has faded."""
        if self._made_up >= self._fade_samples:
            return None
        if self._period is None:
            self._period = self._last_period()
        frame: Pcm = np.rint(self._go_on(self._frame_samples)).astype(np.int16)
        self._made_up += self._frame_samples
        return frame

    def _go_on(self, n_samples: int) -> _Samples:
        assert self._period is not None
        position = self._made_up + np.arange(n_samples)
        gain = np.clip(1 - position / self._fade_samples, 0, 1).astype(np.float32)
        samples: _Samples = self._period[position % self._period.size] * gain
        return samples

    def _last_period(self) -> _Samples:
        """The last pitch period, its end blended into what came before its beginning, so that it repeats smoothly."""
        history = np.concatenate((self._before, self._last)).astype(np.float32)
        n = self._template_samples
        template = history[-n:]
        searched = history[-n - self._longest_lag : -self._shortest_lag]
        products = np.correlate(searched, template)
        energy = np.convolve(searched * searched, np.ones(n, np.float32), "valid")
        lag = self._longest_lag - int(np.argmax(products / np.sqrt(energy + 1.0)))
        period = history[-lag:].copy()
        n_blend = lag // 4
        earlier_share = np.arange(1, n_blend + 1, dtype=np.float32) / (n_blend + 1)
        earlier = history[-lag - n_blend : -lag]
        period[-n_blend:] = period[-n_blend:] * (1 - earlier_share) + earlier * earlier_share
        return period
