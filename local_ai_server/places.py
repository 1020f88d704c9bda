"""Who may hold a connection: so many sessions, and a few more clients that have yet to say who they are.

Whoever has not authenticated takes no session's place. When their own few are taken the one that has been silent for
longest goes: an honest client says who it is within milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from local_ai_server.errors import ServeError

MAX_UNKNOWN: Final = 32
"""Connections that have not authenticated."""


class Places:
    """The server's connections, known and unknown."""

    def __init__(self, max_sessions: int, *, max_unknown: int | None = None) -> None:
        self._max_sessions = max_sessions
        self._max_unknown = MAX_UNKNOWN if max_unknown is None else max_unknown
        self._known: set[object] = set()
        self._unknown: dict[object, Callable[[], None]] = {}

    @property
    def sessions(self) -> int:
        return len(self._known)

    def wait(self, who: object, turn_away: Callable[[], None]) -> None:
        """`who` has not said yet who it is. `turn_away` is called when its place goes to another."""
        while len(self._unknown) >= self._max_unknown:
            oldest = next(iter(self._unknown))
            self._unknown.pop(oldest)()
        self._unknown[who] = turn_away

    def admit(self, who: object) -> ServeError | None:
        """Makes `who` a session; the reason when all places are taken."""
        self._unknown.pop(who, None)
        if len(self._known) < self._max_sessions:
            self._known.add(who)
            return None
        return ServeError(
            "server_at_capacity",
            f"{self._max_sessions} sessions are open, which is the limit (LOCAL_WS_MAX_SESSIONS)",
            retryable=True,
            active=len(self._known),
            max=self._max_sessions,
            available=0,
            at_capacity=True,
        )

    def leave(self, who: object) -> None:
        """The connection has ended. Idempotent."""
        self._known.discard(who)
        self._unknown.pop(who, None)
