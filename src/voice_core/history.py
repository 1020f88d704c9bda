"""What was said in a call: the caller's turns, and of the agent's only what the caller heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a conversation, as language models take it."""

    role: Role
    content: str


class History:
    """The conversation so far, in the order of its turns; within a turn the caller speaks before the agent.

    A caller's words enter when their turn is adopted and leave when it is given back.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[int, int], Message] = {}
        self._snapshot: tuple[Message, ...] | None = ()

    def caller(self, turn: int, text: str) -> None:
        """The caller's words of `turn`; said again, they replace what was there. Empty text is no message."""
        self._put((turn, 0), "user", text)

    def agent(self, turn: int, heard: str) -> None:
        """What was heard of the agent's answer to `turn`. Empty text is no message."""
        self._put((turn, 1), "assistant", heard)

    def withdraw(self, turn: int) -> None:
        """The caller's turn was not over after all."""
        if self._lines.pop((turn, 0), None) is not None:
            self._snapshot = None

    def messages(self) -> tuple[Message, ...]:
        """A snapshot, shared until something changes."""
        if self._snapshot is None:
            self._snapshot = tuple(self._lines[key] for key in sorted(self._lines))
        return self._snapshot

    def _put(self, key: tuple[int, int], role: Role, text: str) -> None:
        text = text.strip()
        self._snapshot = None
        if text:
            self._lines[key] = Message(role, text)
        else:
            self._lines.pop(key, None)
