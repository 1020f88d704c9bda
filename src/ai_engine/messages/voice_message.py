"""A message that a caller has left, and who takes such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from ai_engine.tools.call_hooks import CallFacts

MESSAGE_VARIABLES: Final = frozenset(
    {"message", "message_whole", "message_seconds", "message_file", "message_left_at", "message_sound"}
)
"""What a message adds to a call's own variables; `message_sound`, the file in base64, only where it is named."""


@dataclass(frozen=True, slots=True)
class VoiceMessage:
    """One message, complete."""

    call: CallFacts
    left_at: datetime
    """When its recording began."""
    seconds: float
    """Of the recording."""
    file: str
    """Below the folder of messages."""
    transcript: str
    """As far as it was understood."""
    whole: bool
    """Its end was waited for and all of it was transcribed."""
    number: int = 1
    """Which of the call."""

    @property
    def id(self) -> str:
        """The same however often it is delivered."""
        return f"{self.call.call_id}.message{self.number}"

    def values(self) -> dict[str, Any]:
        """By the names that templates know them by, without the sound."""
        return {
            **self.call.values(),
            "message": self.transcript,
            "message_whole": self.whole,
            "message_seconds": round(self.seconds, 1),
            "message_file": self.file,
            "message_left_at": self.left_at.isoformat(timespec="seconds"),
        }

    def content(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {
            "call": self.call.content(),
            "left_at": self.left_at.isoformat(),
            "seconds": self.seconds,
            "file": self.file,
            "transcript": self.transcript,
            "whole": self.whole,
            "number": self.number,
        }

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> VoiceMessage:
        """Of what `content` made. Raises `KeyError`, `TypeError` and `ValueError`."""
        rest = {name: value for name, value in content.items() if name not in ("call", "left_at")}
        return cls(CallFacts(**content["call"]), datetime.fromisoformat(content["left_at"]), **rest)


@runtime_checkable
class TakesMessages(Protocol):
    """A tool that messages can be delivered by."""

    async def deliver_message(self, message: VoiceMessage, sound: Path) -> None:
        """`sound` is the WAV file, which may be gone. Raises `DeliveryFailed`; may come again for the same message."""
