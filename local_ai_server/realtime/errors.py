"""What is wrong with an event of the client's. The session goes on."""

from __future__ import annotations


class EventRefused(Exception):
    """Answered with an `error` event; the message says the fix."""

    def __init__(self, message: str, *, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
