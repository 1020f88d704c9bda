"""What was said in a call: the caller's turns, of the agent's only what the caller heard, and what tools did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["system", "user", "assistant", "tool"]
NO_RESULT_YET: Final = "(It has begun and not ended yet.)"
_AGENT: Final = 1 << 30
"""Within a turn: after the caller's words (0) and whatever tools did."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool that the agent called."""

    call_id: str
    """Unlike any other of the call; letters and digits."""
    name: str
    arguments: str
    """As JSON."""


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a conversation, as language models take it."""

    role: Role
    content: str
    tool: ToolUse | None = None
    """With the role `assistant` what was called, `content` being empty; with `tool` whose result `content` is."""


class History:
    """The conversation so far, in the order of its turns; in a turn the caller, then tools, then what the agent said.

    A caller's words enter when their turn is adopted and leave when it is given back.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[int, int], Message] = {}
        self._uses: dict[str, tuple[int, int]] = {}
        """Where each tool's result stands, by the id of its call."""
        self._snapshot: tuple[Message, ...] | None = ()

    def caller(self, turn: int, text: str) -> None:
        """The caller's words of `turn`; said again, they replace what was there. Empty text is no message."""
        self._put((turn, 0), "user", text)

    def agent(self, turn: int, heard: str) -> None:
        """What was heard of the agent's answer to `turn`. Empty text is no message."""
        self._put((turn, _AGENT), "assistant", heard)

    def tool_called(self, turn: int, use: ToolUse) -> None:
        """A tool has begun, in the agent's answer to `turn`."""
        at = 1 + 2 * sum(1 for key in self._uses.values() if key[0] == turn)
        self._lines[turn, at] = Message("assistant", "", use)
        self._lines[turn, at + 1] = Message("tool", NO_RESULT_YET, use)
        self._uses[use.call_id] = (turn, at + 1)
        self._snapshot = None

    def tool_result(self, call_id: str, text: str) -> None:
        """What came of it, whenever that is known; told again, it replaces what was there."""
        key = self._uses.get(call_id)
        if key is not None:
            self._lines[key] = Message("tool", text, self._lines[key].tool)
            self._snapshot = None

    def tool_note(self, call_id: str, note: str) -> None:
        """Something more about a result that is there."""
        key = self._uses.get(call_id)
        if key is not None:
            self.tool_result(call_id, f"{self._lines[key].content} {note}")

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
