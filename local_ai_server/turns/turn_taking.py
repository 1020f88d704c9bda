"""When a speaker's turn begins and ends, by the sound's own clock. Pure.

`voice_core` decides: its voice activity tells speech from pauses, and its end of turn how long a pause has to be, where
that is not a fixed length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from local_ai_server.turns.speech_judge import WINDOW_MS
from voice_core.end_of_turn import EndOfTurn, WaitLimits
from voice_core.voice_activity import AgentSound, VoiceActivity, VoiceChange

_OFFSET_BELOW: Final = 0.15
"""Speech ends at a probability so much below the one at which it begins, as the network's authors do it."""
_LEAST_PROBABILITY: Final = 0.05
_OVER_AGENT: Final = 0.65
_OFFSET_MS: Final = 90.0
_WORDS_AFTER_MS: Final = 200.0
"""Of silence, before the words so far are asked for."""
_AGENT: Final = AgentSound(loudest_dbfs=-math.inf, caller_dbfs=0.0)
"""More is asked of speech over the agent; no level is: who connects takes the agent's echo out himself."""


@dataclass(frozen=True, slots=True)
class TurnRules:
    """What ends a turn: `silence_ms` of silence, or, where `limits` are given, as much as the words so far call for."""

    threshold: float = 0.5
    """The probability at which speech begins."""
    silence_ms: float = 500.0
    limits: WaitLimits | None = None


@dataclass(frozen=True, slots=True)
class TurnBegan:
    at_ms: int
    """Where the speech begins; all times are milliseconds of the stream."""


@dataclass(frozen=True, slots=True)
class WordsWanted:
    """What has been said so far decides how long to wait: tell it by `words`."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class TurnEnded:
    at_ms: int
    """The end of the last window with voice."""


Change = TurnBegan | WordsWanted | TurnEnded


class TurnTaking:
    """One stream's. Fed with each window's probability of speech."""

    def __init__(self, rules: TurnRules) -> None:
        self._rules = rules
        self._activity = VoiceActivity(
            onset_probability=rules.threshold,
            offset_probability=max(rules.threshold - _OFFSET_BELOW, _LEAST_PROBABILITY),
            onset_probability_over_agent=max(rules.threshold, _OVER_AGENT),
            offset_ms=min(_OFFSET_MS, rules.silence_ms),
            window_ms=WINDOW_MS,
        )
        self._end = EndOfTurn(rules.limits) if rules.limits else None
        self._n_windows = 0
        self._open = False
        self._asked = False

    @property
    def in_turn(self) -> bool:
        """A turn has begun and not ended."""
        return self._open

    @property
    def now_ms(self) -> float:
        """So much of the stream has been judged."""
        return self._n_windows * WINDOW_MS

    def window(self, probability: float, *, agent_audible: bool = False) -> list[Change]:
        """The next window; what it changes."""
        self._n_windows += 1
        now = self.now_ms / 1000
        paused_ms = self._activity.pause_ms(now)
        change = self._activity.window(probability, now, _AGENT if agent_audible and not self._open else None)
        if change is VoiceChange.ONSET:
            return self._began(paused_ms)
        if not self._open or self._activity.speaking:
            return []
        return self._paused(now)

    def words(self, text: str) -> None:
        """What has been said so far, as `WordsWanted` asked; too late, it changes nothing."""
        if self._end is not None and self._asked:
            self._end.transcript(text)

    def end(self) -> int:
        """The turn ends here, whatever is heard: where its last voice was, in milliseconds; 0 before any."""
        self._open = self._asked = False
        self._activity.reset()
        return round(1000 * max(0.0, self._activity.voiced_until))

    def _began(self, paused_ms: float) -> list[Change]:
        if self._end is not None:
            if self._open:
                self._end.went_on_after(paused_ms)
            self._end.begin()
        self._asked = False
        if self._open:
            return []
        self._open = True
        return [TurnBegan(round(1000 * self._activity.started_at))]

    def _paused(self, now: float) -> list[Change]:
        silent_ms = self._activity.pause_ms(now)
        if silent_ms >= (self._end.wait_ms if self._end is not None else self._rules.silence_ms):
            return [TurnEnded(self.end())]
        if self._end is not None and not self._asked and silent_ms >= _WORDS_AFTER_MS:
            self._asked = True
            return [WordsWanted(round(1000 * self._activity.voiced_until))]
        return []
