"""From speech probabilities to "the caller began to speak" and "the caller paused".

The probabilities come from a voice-activity network, one per window (32 ms for Silero), a little late. Two thresholds
and a count of windows keep a click from being speech and a soft syllable from being a pause. While the agent can be
heard, more is asked of a window: a higher probability, and a level above what an echo of the agent would have.

The length of a pause is measured by evidence (the end of the last judged window), not by the arrival of results, so
that a late result is not taken for silence; only when no evidence comes at all does the clock stand in for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

_EVIDENCE_LAG_S: Final = 0.5
"""Results later than this are taken for lost. (A caller who sends no packets is told by `silent`, at once.)"""
_EVIDENCE_HOLDS_S: Final = 0.08
"""Two windows and a tick: the longest that the next result takes when nothing is late."""
_STIRRING_S: Final = 0.3
"""A run of windows has become an onset by then, or nothing."""
_ECHO_STEP_DB: Final = 3.0
_ECHO_STEPS_MAX: Final = 3


class VoiceChange(Enum):
    ONSET = "onset"
    OFFSET = "offset"


@dataclass(frozen=True, slots=True)
class AgentSound:
    """What the caller's line may carry of the agent: the level an echo may stem from, and the caller's level now."""

    loudest_dbfs: float
    caller_dbfs: float


class VoiceActivity:
    """Onset and offset with hysteresis. Times are monotonic seconds; a window is named by when it ended."""

    def __init__(
        self,
        *,
        onset_probability: float = 0.5,
        offset_probability: float = 0.35,
        onset_windows: int = 2,
        onset_probability_over_agent: float = 0.65,
        onset_windows_over_agent: int = 3,
        offset_ms: float = 90.0,
        echo_return_loss_db: float = 17.0,
        window_ms: float = 32.0,
    ) -> None:
        self._onset_p = onset_probability
        self._offset_p = offset_probability
        self._onset_windows = onset_windows
        self._onset_p_over_agent = onset_probability_over_agent
        self._onset_windows_over_agent = onset_windows_over_agent
        self._offset_s = offset_ms / 1000
        self._echo_loss_db = echo_return_loss_db
        self._echo_steps = 0
        self._window_s = window_ms / 1000
        self._speaking = False
        self._run = 0
        self._run_started_at = -math.inf
        self._misses = 0
        self._started_at = -math.inf
        self._voiced_until = -math.inf
        self._evidence_at = -math.inf

    @property
    def speaking(self) -> bool:
        """Between onset and offset."""
        return self._speaking

    def stirring(self, now: float) -> bool:
        """Windows with voice have just been seen that may become an onset; the next two will tell."""
        return self._run > 0 and now - self._run_started_at < _STIRRING_S

    @property
    def started_at(self) -> float:
        """When the speech of the last onset began: the beginning of its first voiced window."""
        return self._started_at

    @property
    def voiced_until(self) -> float:
        """The end of the last voiced window."""
        return self._voiced_until

    @property
    def may_be_speech(self) -> float:
        """A window below this probability can have no effect but silence; its level need not be measured."""
        return self._offset_p

    def pause_ms(self, now: float) -> float:
        """How long the caller has been silent, as far as there is evidence; infinite before any speech.

        The last judgement is taken to hold for a little longer than the next one normally takes.
        """
        until = min(now, max(self._evidence_at + _EVIDENCE_HOLDS_S, now - _EVIDENCE_LAG_S))
        return max(0.0, 1000 * (until - self._voiced_until))

    def window(self, probability: float, at: float, agent: AgentSound | None = None) -> VoiceChange | None:
        """One window that ended `at`. `agent` is given while an echo of the agent is possible."""
        self._evidence_at = max(self._evidence_at, at)
        onset_p, onset_windows = self._onset_p, self._onset_windows
        if agent is not None:
            onset_p, onset_windows = self._onset_p_over_agent, self._onset_windows_over_agent
            if agent.caller_dbfs < agent.loudest_dbfs - self._echo_loss_db + self._echo_steps * _ECHO_STEP_DB:
                probability = 0.0
        if self._speaking:
            if probability >= self._offset_p:
                self._voiced_until = max(self._voiced_until, at)
                return None
            return self._offset(at)
        if probability < onset_p:
            # One weak window inside a run is forgiven: the plosive between two vowels.
            self._misses += 1
            if self._misses > 1 or probability < self._offset_p:
                self._run = 0
            return None
        if self._run == 0:
            self._run_started_at = at - self._window_s
        self._run += 1
        self._misses = 0
        if self._run < onset_windows:
            return None
        self._run = 0
        self._speaking = True
        self._started_at = self._run_started_at
        self._voiced_until = max(self._voiced_until, at)
        return VoiceChange.ONSET

    def silent(self, now: float) -> VoiceChange | None:
        """The caller's line carried nothing up to `now` (no packets, comfort noise)."""
        self._evidence_at = max(self._evidence_at, now)
        return self.tick(now)

    def tick(self, now: float) -> VoiceChange | None:
        """Time passed: without evidence the clock ends the speech."""
        if not self._speaking:
            return None
        return self._offset(max(self._evidence_at, now - _EVIDENCE_LAG_S))

    def false_alarm(self) -> None:
        """The last onset over the agent was echo or noise: ask 3 dB more of the next one, up to 9 dB."""
        self._echo_steps = min(self._echo_steps + 1, _ECHO_STEPS_MAX)

    def confirmed(self) -> None:
        """The caller's voice was told from the agent's: back to the configured echo threshold by one step."""
        self._echo_steps = max(self._echo_steps - 1, 0)

    def reset(self) -> None:
        """Forget speech in progress (the caller was put on hold)."""
        self._speaking = False
        self._run = 0
        self._misses = 0

    def _offset(self, evidence_at: float) -> VoiceChange | None:
        if evidence_at - self._voiced_until < self._offset_s:
            return None
        self._speaking = False
        self._run = 0
        return VoiceChange.OFFSET
