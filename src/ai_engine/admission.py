"""Which calls an engine takes, and what becomes of the others: a pure decision, so that nobody is left silent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

WhenFull = Literal["dialplan", "message", "busy"]


class Treatment(Enum):
    """What becomes of a caller who is not taken."""

    DIALPLAN = "dialplan"
    """On to the dialplan's fallback."""
    MESSAGE = "message"
    """Answered, told so, and hung up."""
    BUSY = "busy"
    """The busy signal, unanswered."""


class Reason(Enum):
    """Why a call is not taken."""

    STOPPING = "stopping"
    STARTING = "starting"
    FULL = "full"
    """`calls.max_concurrent` is reached."""
    NO_PORT = "no_port"
    """All media ports are in use."""


@dataclass(frozen=True, slots=True)
class Load:
    """The engine at this moment."""

    started: bool
    stopping: bool
    calls: int
    messages: int
    """Callers who are being told that there is no room."""
    ports_left: int | None
    """Media ports that are not in use; None where calls need none."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits of `calls` in the settings."""

    max_calls: int
    when_full: WhenFull
    max_messages: int

    def refusal(self, load: Load) -> Reason | None:
        """Why one more call cannot be taken; None when it can."""
        if load.stopping:
            return Reason.STOPPING
        if not load.started:
            return Reason.STARTING
        if load.calls >= self.max_calls:
            return Reason.FULL
        if load.ports_left is not None and load.ports_left <= 0:
            return Reason.NO_PORT
        return None

    def treatment(self, reason: Reason, load: Load, *, answered: bool, cut_off: bool) -> Treatment:
        """What becomes of a caller refused for `reason`. `cut_off`: he had been talking with an engine that died.

        An answered call cannot get the busy signal any more, and nobody who was in the middle of a talk is turned away:
        they go on to the dialplan.
        """
        if reason in {Reason.STOPPING, Reason.STARTING} or cut_off:
            return Treatment.DIALPLAN
        if self.when_full == "busy" and not answered:
            return Treatment.BUSY
        port = load.ports_left is None or load.ports_left > 0
        if self.when_full == "message" and port and load.messages < self.max_messages:
            return Treatment.MESSAGE
        return Treatment.DIALPLAN

    def room(self, load: Load) -> int:
        """How many more calls would be taken."""
        if load.stopping or not load.started:
            return 0
        left = self.max_calls - load.calls
        return max(0, left if load.ports_left is None else min(left, load.ports_left))
