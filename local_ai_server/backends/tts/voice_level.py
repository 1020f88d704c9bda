"""One gain for a voice, learned from what it says first.

A gain of its own for each phrase would make "Yes." as loud as a shout; so a voice's gain moves only until enough of it
has been heard.
"""

from __future__ import annotations

from typing import Final

from local_ai_server.backends.tts.phrase_audio import TARGET_ACTIVE_DBFS, Samples, active_level_dbfs

_LEARNED_AFTER_S: Final = 4.0
_AUDIBLE_DBFS: Final = -70.0
_MOST_GAIN: Final = 16.0
"""24 dB: what is quieter than that is no speech that should be raised."""


class VoiceLevel:
    """`hear` each phrase before it is levelled by `gain`."""

    def __init__(self) -> None:
        self._energy = 0.0
        self._heard_s = 0.0

    def hear(self, samples: Samples, rate_hz: int) -> None:
        """Learns from a phrase, trimmed or not; nothing more once some seconds are known."""
        level_dbfs = active_level_dbfs(samples, rate_hz)
        if self._heard_s < _LEARNED_AFTER_S and level_dbfs > _AUDIBLE_DBFS:
            seconds = samples.size / rate_hz
            self._energy += seconds * 10 ** (level_dbfs / 10)
            self._heard_s += seconds

    @property
    def gain(self) -> float:
        """What brings the voice to the common level; 1 before anything was heard."""
        if not self._heard_s:
            return 1.0
        rms = (self._energy / self._heard_s) ** 0.5
        return float(min(_MOST_GAIN, 10 ** (TARGET_ACTIVE_DBFS / 20) / rms))
