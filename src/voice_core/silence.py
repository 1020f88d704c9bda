"""What happens when nobody says anything, and when the answer is slow.

Both policies count time that passed in `tick`, not time since a stamp: what is on hold is simply not counted.
"""

from __future__ import annotations

from enum import Enum


class SilenceVerdict(Enum):
    ASK = "ask"
    """Ask whether the caller is still there."""
    GIVE_UP = "give_up"
    """Say farewell and hang up: the caller has been silent too long."""
    TIME_UP = "time_up"
    """Say farewell and hang up: the call has reached its greatest length."""


class SilencePolicy:
    """Quiet is when neither side speaks and no answer is being made. Zero switches a limit off."""

    def __init__(self, *, ask_after_s: float = 8.0, give_up_after_s: float = 20.0, max_call_s: float = 1800.0) -> None:
        self._ask_after_s = ask_after_s
        self._give_up_after_s = give_up_after_s
        self._max_call_s = max_call_s
        self._quiet_s = 0.0
        self._call_s = 0.0
        self._asked = False
        self._over = False
        self._last: float | None = None

    @property
    def quiet_s(self) -> float:
        """Quiet since the caller was last heard; the agent's own speech in between is not counted."""
        return self._quiet_s

    def caller_heard(self) -> None:
        self._quiet_s = 0.0
        self._asked = False

    def tick(self, now: float, *, quiet: bool, on_hold: bool = False) -> SilenceVerdict | None:
        """Time passed. Each verdict comes once; after the last two there is none."""
        passed_s = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        if on_hold or self._over:
            return None
        self._call_s += passed_s
        if self._max_call_s and self._call_s >= self._max_call_s:
            self._over = True
            return SilenceVerdict.TIME_UP
        if not quiet:
            return None
        self._quiet_s += passed_s
        if self._give_up_after_s and self._quiet_s >= self._give_up_after_s:
            self._over = True
            return SilenceVerdict.GIVE_UP
        if self._ask_after_s and not self._asked and self._quiet_s >= self._ask_after_s:
            self._asked = True
            return SilenceVerdict.ASK
        return None


class FillerPolicy:
    """One phrase when an answer lets itself be waited for; never two before the agent has answered."""

    def __init__(self, *, after_s: float = 2.5) -> None:
        """Zero: no filler."""
        self._after_s = after_s
        self._waited_s = 0.0
        self._used = False
        self._last: float | None = None

    def answered(self) -> None:
        """The agent's answer sounds, or there will be none: the next wait may have a filler again."""
        self._used = False
        self._waited_s = 0.0

    def restart(self) -> None:
        """The wait begins anew (the turn was given back); a filler already spent stays spent."""
        self._waited_s = 0.0

    def tick(self, now: float, *, waiting: bool, caller_speaking: bool, on_hold: bool = False) -> bool:
        """Time passed; True when the filler is to be said now. `waiting`: a turn was adopted, nothing sounds."""
        passed_s = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        if not waiting:
            self._waited_s = 0.0
            return False
        if on_hold or self._used or not self._after_s:
            return False
        self._waited_s += passed_s
        if self._waited_s < self._after_s or caller_speaking:
            return False
        self._used = True
        return True
