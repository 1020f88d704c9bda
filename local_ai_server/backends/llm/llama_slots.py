"""Which session sits on which slot of llama.cpp, where its prompt's prefix is cached."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from local_ai_server.prompts import PromptFitter


@dataclass(slots=True)
class SlotSession:
    """One caller's part of the model: a slot with its prefix cache, and where its prompt was cut."""

    slot: int
    fitter: PromptFitter
    busy: int = 0


class Slots:
    """`parallel` slots of `context_tokens` each. Used from several threads."""

    def __init__(self, *, parallel: int, context_tokens: int) -> None:
        self._parallel = parallel
        self._context_tokens = context_tokens
        self._sessions: OrderedDict[str, SlotSession] = OrderedDict()
        self._assigning = threading.Lock()

    @contextlib.contextmanager
    def session(self, name: str) -> Iterator[SlotSession]:
        """The session's slot: its own if it has one, else a free one, else that of whoever was silent the longest."""
        with self._assigning:
            session = self._sessions.get(name)
            if session is None:
                session = SlotSession(self._slot_for_new(), self._fitter())
                self._sessions[name] = session
            self._sessions.move_to_end(name)
            session.busy += 1
        try:
            yield session
        finally:
            with self._assigning:
                session.busy -= 1

    def forget(self, name: str) -> None:
        """The session has ended; its slot is the next to be given away."""
        with self._assigning:
            found = self._sessions.get(name)
            if found is not None:
                found.fitter = self._fitter()
                self._sessions.move_to_end(name, last=False)

    def _fitter(self) -> PromptFitter:
        return PromptFitter(context_tokens=self._context_tokens)

    def _slot_for_new(self) -> int:
        free = set(range(self._parallel)) - {session.slot for session in self._sessions.values()}
        if free:
            return min(free)
        idle = [name for name, session in self._sessions.items() if not session.busy]
        # All busy: the request waits in llama.cpp for the slot of the one that has been at it the longest.
        evicted = self._sessions.pop(idle[0] if idle else next(iter(self._sessions)))
        return evicted.slot
