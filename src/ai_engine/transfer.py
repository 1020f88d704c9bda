"""An attended transfer as a state machine: what happens goes in, what is to be done comes out. No I/O, no clock.

The caller waits with music while a colleague's telephone rings; who answers is briefed in private and takes the call
or does not; then both are joined, or the caller is the agent's again. Every party may be gone at any moment, two of
them at once too, and whatever was asked of Asterisk may fail or never be answered.

    new → ringing → briefing → joining → done
              ↘         ↓  ↘        ↘
               ↘        ↓   parting  ↘         the caller has gone: the colleague is told
                `→ returning → done            the agent has him again

Whoever carries the effects out does so in their order, one after another, and reports what came of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Happened(Enum):
    """What the machine is told."""

    ANSWERED = "answered"
    """Somebody took the call; that may be a voice mailbox."""
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    UNREACHABLE = "unreachable"
    """Not registered, no such number, no way there; also where ringing it could not even be asked for."""
    CALLEE_GONE = "callee_gone"
    """The colleague hung up after answering."""
    ACCEPTED = "accepted"
    DECLINED = "declined"
    NO_DECISION = "no_decision"
    """The colleague, or the mailbox, said nothing that would decide it."""
    BRIEFING_FAILED = "briefing_failed"
    PARTED = "parted"
    """The colleague has been told that the caller is gone, or cannot be told."""
    CALLER_LEFT = "caller_left"
    """The caller's channel is the dialplan's now, on its way to the colleague."""
    CALLER_GONE = "caller_gone"
    """The caller hung up."""
    JOINED = "joined"
    """Both channels were given to the dialplan: they talk."""
    HOLD_FAILED = "hold_failed"
    JOIN_FAILED = "join_failed"
    RETURNED = "returned"
    RETURN_FAILED = "return_failed"
    STOPPING = "stopping"
    """The engine stops, or the call must end."""
    ASTERISK_LOST = "asterisk_lost"
    """From now on nothing is heard of either leg, and something may have been missed."""


class Effect(Enum):
    """What is to be done."""

    HOLD_CALLER = "hold_caller"
    """Out of the call's bridge, and music."""
    RING = "ring"
    BRIEF = "brief"
    TELL_CALLEE = "tell_callee"
    """That the caller has hung up; then `PARTED`."""
    JOIN = "join"
    """End the briefing, end the music, and give the caller to the dialplan, which bridges both."""
    HANG_UP_CALLEE = "hang_up_callee"
    RETURN_CALLER = "return_caller"
    """End the music and back into the call's bridge."""


class Result(Enum):
    """How it ended."""

    TRANSFERRED = "transferred"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    UNREACHABLE = "unreachable"
    DECLINED = "declined"
    CALLEE_LEFT = "callee_left"
    CALLER_LEFT = "caller_left"
    CANCELLED = "cancelled"
    FAILED = "failed"


class State(Enum):
    NEW = "new"
    RINGING = "ringing"
    BRIEFING = "briefing"
    PARTING = "parting"
    JOINING = "joining"
    RETURNING = "returning"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Limits:
    """So long the machine waits, in seconds, before it goes on without."""

    ring_s: float = 25.0
    briefing_s: float = 60.0
    """From the answer to the decision."""
    parting_s: float = 10.0
    join_s: float = 5.0
    return_s: float = 10.0


_UNANSWERED: Final = {
    Happened.BUSY: Result.BUSY,
    Happened.NO_ANSWER: Result.NO_ANSWER,
    Happened.UNREACHABLE: Result.UNREACHABLE,
    Happened.CALLEE_GONE: Result.NO_ANSWER,
    Happened.HOLD_FAILED: Result.FAILED,
}
_UNDECIDED: Final = {
    Happened.DECLINED: Result.DECLINED,
    Happened.NO_DECISION: Result.NO_ANSWER,
    Happened.CALLEE_GONE: Result.CALLEE_LEFT,
    Happened.BRIEFING_FAILED: Result.FAILED,
    Happened.UNREACHABLE: Result.CALLEE_LEFT,
    Happened.BUSY: Result.CALLEE_LEFT,
    Happened.NO_ANSWER: Result.CALLEE_LEFT,
}
_BROKEN_OFF: Final = {Happened.STOPPING: Result.CANCELLED, Happened.ASTERISK_LOST: Result.FAILED}
_CALLEE_ENDS: Final = frozenset({Happened.CALLEE_GONE, Happened.BUSY, Happened.NO_ANSWER, Happened.UNREACHABLE})


class AttendedTransfer:
    """One transfer. Times are monotonic seconds; `effects` is taken by the shell, which leaves an empty list."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.effects: list[Effect] = []
        self.state = State.NEW
        self.result: Result | None = None
        """None until it is done; while the caller is on his way back, `reason` tells already."""
        self.reason: Result | None = None
        self.caller_lost = False
        """With `FAILED`: the caller could not be brought back to the agent and hears neither him nor music."""
        self._limits = limits
        self._deadline: float | None = None
        self._callee_gone = False
        self._caller_left = False
        self._join_asked = False

    @property
    def caller_may_leave(self) -> bool:
        """Asterisk was asked to send him to the colleague: without a hang-up, the end of his stay with us is that."""
        returning = self.state is State.RETURNING and self._join_asked
        return returning or self.state is State.JOINING or self.result is Result.TRANSFERRED

    @property
    def done(self) -> bool:
        return self.state is State.DONE

    def begin(self, now: float) -> None:
        """The caller has been told to wait."""
        self._enter(State.RINGING, now, self._limits.ring_s, Effect.HOLD_CALLER, Effect.RING)

    def happened(self, what: Happened, now: float) -> None:
        """One thing happened. What has no meaning in this state (it came late) changes nothing."""
        self._callee_gone = self._callee_gone or what in _CALLEE_ENDS
        match self.state:
            case State.RINGING:
                self._ringing(what, now)
            case State.BRIEFING:
                self._briefing(what, now)
            case State.PARTING:
                if what in _CALLEE_ENDS or what in {Happened.PARTED, *_BROKEN_OFF}:
                    self._finish(Result.CALLER_LEFT)
            case State.JOINING:
                self._joining(what, now)
            case State.RETURNING:
                self._returning(what)

    def tick(self, now: float) -> None:
        """Time has passed."""
        if self._deadline is None or now < self._deadline:
            return
        self._deadline = None
        match self.state:
            case State.RINGING:
                self._return(Result.NO_ANSWER, now)
            case State.BRIEFING:
                self._return(Result.NO_ANSWER, now)
            case State.PARTING:
                self._finish(Result.CALLER_LEFT)
            case State.JOINING:
                if self._caller_left:
                    self._finish(Result.CALLER_LEFT)  # he hung up before the dialplan had joined them
                else:
                    self._return(Result.FAILED, now)
            case State.RETURNING:
                self._lose_caller()

    def _ringing(self, what: Happened, now: float) -> None:
        if what is Happened.ANSWERED:
            self._enter(State.BRIEFING, now, self._limits.briefing_s, Effect.BRIEF)
        elif what is Happened.CALLER_GONE:
            self._finish(Result.CALLER_LEFT)
        elif (reason := _UNANSWERED.get(what) or _BROKEN_OFF.get(what)) is not None:
            self._return(reason, now)

    def _briefing(self, what: Happened, now: float) -> None:
        if what is Happened.ACCEPTED:
            self._join_asked = True
            self._enter(State.JOINING, now, self._limits.join_s, Effect.JOIN)
        elif what is Happened.CALLER_GONE:
            self._enter(State.PARTING, now, self._limits.parting_s, Effect.TELL_CALLEE)
        elif (reason := _UNDECIDED.get(what) or _BROKEN_OFF.get(what)) is not None:
            self._return(reason, now)

    def _joining(self, what: Happened, now: float) -> None:
        if what is Happened.JOINED:
            self._callee_gone = True  # not ours to touch
            self._finish(Result.TRANSFERRED)
        elif what is Happened.CALLER_LEFT:
            self._caller_left = True
        elif what is Happened.CALLER_GONE:
            self._finish(Result.CALLER_LEFT)
        elif what in _CALLEE_ENDS:
            if self._caller_left:
                self._finish(Result.CALLEE_LEFT)  # the dialplan sends the caller back to us, in a call of its own
            else:
                self._return(Result.CALLEE_LEFT, now)
        elif what is Happened.JOIN_FAILED and not self._caller_left:
            self._return(Result.FAILED, now)

    def _returning(self, what: Happened) -> None:
        assert self.reason is not None
        if what is Happened.RETURNED:
            self._finish(self.reason)
        elif what is Happened.CALLER_GONE:
            self._finish(Result.CALLER_LEFT)
        elif what is Happened.CALLER_LEFT:
            self._caller_left = True
            self._finish(self.reason)
        elif what is Happened.RETURN_FAILED:
            self._lose_caller()

    def _return(self, reason: Result, now: float) -> None:
        """The caller first: he hears something at every moment, and the colleague has nothing more to hear."""
        self.reason = reason
        effects = (Effect.RETURN_CALLER,) if self._callee_gone else (Effect.RETURN_CALLER, Effect.HANG_UP_CALLEE)
        self._callee_gone = True
        self._enter(State.RETURNING, now, self._limits.return_s, *effects)

    def _lose_caller(self) -> None:
        self.caller_lost = True
        self._finish(Result.FAILED)

    def _finish(self, result: Result) -> None:
        self.result = self.reason = result
        self.state, self._deadline = State.DONE, None
        if not self._callee_gone:
            self._callee_gone = True
            self.effects.append(Effect.HANG_UP_CALLEE)

    def _enter(self, state: State, now: float, limit_s: float, *effects: Effect) -> None:
        self.state, self._deadline = state, now + limit_s
        self.effects.extend(effects)
