"""The last sentence of a call, and what follows when it has been heard."""

from __future__ import annotations

from collections.abc import Callable

from ai_engine.conversation.decisions import Decision, Ending


class Closing:
    """Emits the decision that ends the call, once: when the farewell was heard, cannot be said, or does not come."""

    def __init__(
        self, *, deadline_s: float, on_called_off: Callable[[], None], emit: Callable[[Decision], None]
    ) -> None:
        """`deadline_s`: so long the farewell may be silent, before it and within it. Its sound is not counted."""
        self._deadline_s = deadline_s
        self._on_called_off = on_called_off
        self._emit = emit
        self._decision: Ending | None = None
        self._revocable = False
        self._finished = False
        self._silent_s = 0.0
        self._last = 0.0

    @property
    def begun(self) -> bool:
        """The call is being closed, or is closed already."""
        return self._decision is not None

    @property
    def revocable(self) -> bool:
        """A caller who says something now keeps the call."""
        return self.begun and self._revocable and not self._finished

    def begin(self, decision: Ending, now: float, *, revocable: bool = False) -> None:
        """`decision` follows the farewell that is said now."""
        self._decision = decision
        self._revocable = revocable
        self._silent_s, self._last = 0.0, now

    def insist(self) -> None:
        """There is another reason to end the call: nothing the caller says changes that."""
        self._revocable = False

    def call_off(self) -> None:
        """The caller is there: the call goes on, should it have been about to end."""
        if self.begun:
            self._decision = None
            self._on_called_off()

    def tick(self, now: float, *, sounding: bool, on_hold: bool = False) -> bool:
        """Time passed; True when the farewell is given up."""
        passed_s = max(0.0, now - self._last)
        self._last = now
        if not (sounding or on_hold):
            self._silent_s += passed_s
        return self._silent_s >= self._deadline_s

    def finish(self) -> None:
        """Nothing more is to be heard."""
        if self._decision is not None and not self._finished:
            self._finished = True
            self._emit(self._decision)
