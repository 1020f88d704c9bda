"""The last sentence of a call, and what follows when it has been heard."""

from __future__ import annotations

import math
from collections.abc import Callable

from ai_engine.conversation.decisions import Decision, FallBack, HangUp


class Closing:
    """Emits the decision that ends the call, once: when the farewell was heard, cannot be said, or takes too long."""

    def __init__(self, *, deadline_s: float, emit: Callable[[Decision], None]) -> None:
        self._deadline_s = deadline_s
        self._emit = emit
        self._decision: HangUp | FallBack | None = None
        self._deadline = math.inf

    @property
    def begun(self) -> bool:
        """The call is being closed, or is closed already."""
        return self._decision is not None

    def begin(self, decision: HangUp | FallBack, now: float) -> None:
        """`decision` follows the farewell that is said now."""
        self._decision = decision
        self._deadline = now + self._deadline_s

    def overdue(self, now: float) -> bool:
        """The farewell has kept the line for long enough."""
        return now >= self._deadline

    def finish(self) -> None:
        """Nothing more is to be heard."""
        if self._decision is not None and self._deadline < math.inf:
            self._deadline = math.inf
            self._emit(self._decision)
