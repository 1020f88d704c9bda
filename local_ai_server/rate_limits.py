"""How much one connection may ask for: rolling windows. Pure: the time is an argument.

A window admits `limit` events in any `window_s` seconds. What is refused does not count, so that a client that waits
as long as it was told to is served. A limit of 0 admits everything.
"""

from __future__ import annotations

from collections import deque


class RollingWindow:
    """At most `limit` events in any `window_s` seconds."""

    def __init__(self, limit: int, *, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._admitted: deque[float] = deque()
        """When; the oldest first, `limit` of them at most."""

    def retry_after_s(self, now: float) -> float:
        """How long until one more event would be admitted; 0 when it would be now."""
        if not self._limit:
            return 0.0
        while self._admitted and now - self._admitted[0] >= self._window_s:
            self._admitted.popleft()
        if len(self._admitted) < self._limit:
            return 0.0
        return self._window_s - (now - self._admitted[0])

    def count(self, now: float) -> None:
        """One event took place."""
        if self._limit:
            self._admitted.append(now)


class RateLimited(Exception):
    """One event more than `limit` in `window_s`."""

    def __init__(self, what: str, *, limit: int, window_s: float, retry_after_s: float) -> None:
        super().__init__(f"more than {limit} {what} in {window_s:g} s; try again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class RateLimits:
    """One connection's: of all messages, and apart of those that cancel work and of those that make a new prompt.

    Binary audio counts nowhere: a call sends fifty frames a second, and its bytes are bounded elsewhere.
    """

    def __init__(self, *, messages: int, cancels: int, prompt_updates: int, window_s: float) -> None:
        self._window_s = window_s
        self._limits = {"messages": messages, "cancels": cancels, "prompt updates": prompt_updates}
        self._windows = {what: RollingWindow(limit, window_s=window_s) for what, limit in self._limits.items()}

    def admit(self, now: float, *, cancels: bool = False, updates_prompt: bool = False) -> None:
        """Counts one message. Raises `RateLimited`; then it counts nowhere."""
        concerned = ["messages"] + ["cancels"] * cancels + ["prompt updates"] * updates_prompt
        for what in concerned:
            wait_s = self._windows[what].retry_after_s(now)
            if wait_s > 0:
                raise RateLimited(what, limit=self._limits[what], window_s=self._window_s, retry_after_s=wait_s)
        for what in concerned:
            self._windows[what].count(now)
