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
    WARN = "warn"
    """Say that the call will soon have reached its greatest length."""
    TIME_UP = "time_up"
    """Say farewell and hang up: the call has reached its greatest length."""


class SilencePolicy:
    """Quiet is when neither side speaks and no answer is being made. Zero switches a limit off."""

    def __init__(
        self,
        *,
        ask_after_s: float = 8.0,
        ask_times: int = 1,
        give_up_after_s: float = 20.0,
        max_call_s: float = 1800.0,
        warn_before_s: float = 0.0,
    ) -> None:
        """Asks after each `ask_after_s` of quiet, `ask_times` at the most. Warns `warn_before_s` before the end."""
        self._ask_after_s = ask_after_s
        self._ask_times = ask_times
        self._give_up_after_s = give_up_after_s
        self._max_call_s = max_call_s
        self._warn_at_s = max_call_s - warn_before_s if max_call_s and warn_before_s else 0.0
        self._quiet_s = 0.0
        self._call_s = 0.0
        self._asked = 0
        self._given_up = False
        self._time_up = False
        self._last: float | None = None

    @property
    def quiet_s(self) -> float:
        """Quiet since the caller was last heard; the agent's own speech in between is not counted."""
        return self._quiet_s

    def caller_heard(self) -> None:
        """The caller has said something: he is there."""
        self._quiet_s = 0.0
        self._asked = 0

    def call_off(self) -> None:
        """The caller made himself heard over the farewell: `GIVE_UP` may come again."""
        self._given_up = False

    def tick(self, now: float, *, quiet: bool, on_hold: bool = False) -> SilenceVerdict | None:
        """Time passed. Each verdict comes once, `ASK` as often as it may; after the farewells there is none."""
        passed_s = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        if on_hold or self._given_up or self._time_up:
            return None
        self._call_s += passed_s
        if self._max_call_s and self._call_s >= self._max_call_s:
            self._time_up = True
            return SilenceVerdict.TIME_UP
        if not quiet:
            return None
        self._quiet_s += passed_s
        if self._give_up_after_s and self._quiet_s >= self._give_up_after_s:
            self._given_up = True
            return SilenceVerdict.GIVE_UP
        if self._warn_at_s and self._call_s >= self._warn_at_s:
            self._warn_at_s = 0.0
            return SilenceVerdict.WARN
        may_ask = self._ask_after_s and self._asked < self._ask_times
        if may_ask and self._quiet_s >= self._ask_after_s * (self._asked + 1):
            self._asked += 1
            return SilenceVerdict.ASK
        return None


class FillerPolicy:
    """One phrase when an answer lets itself be waited for: never two in one wait, and seldom in two turns running."""

    def __init__(self, *, after_s: float = 2.5, again_after_s: float = 6.0) -> None:
        """`again_after_s` holds in the turn after one that had a filler. Zero for `after_s`: no filler."""
        self._after_s = after_s
        self._again_after_s = max(after_s, again_after_s)
        self._turn = 0
        self._used = False
        self._used_before = False
        self._waited_s = 0.0
        self._last: float | None = None

    def tick(self, now: float, *, waiting_for: int | None, caller_speaking: bool, on_hold: bool = False) -> bool:
        """Time passed; True when the filler is to be said now.

        `waiting_for`: the turn that was adopted and whose answer does not sound yet. A turn that was given back and
        adopted again is the same turn: its wait begins anew, but a filler already spent stays spent.
        """
        passed_s = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        if on_hold:
            return False
        if waiting_for is None:
            self._waited_s = 0.0
            return False
        if waiting_for != self._turn:
            self._turn = waiting_for
            self._used_before, self._used = self._used, False
            self._waited_s = passed_s = 0.0
        if self._used or not self._after_s:
            return False
        self._waited_s += passed_s
        if caller_speaking or self._waited_s < (self._again_after_s if self._used_before else self._after_s):
            return False
        self._used = True
        return True
