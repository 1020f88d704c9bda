"""What a tool asks for when a caller is to leave a message, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from ai_engine.conversation.decisions import MessageEnd


@dataclass(frozen=True, slots=True)
class MessageWish:
    """A message, and to whom it goes."""

    prompt: str
    once_more: str
    """Said in its place when nothing was heard."""
    deliver_to: tuple[str, ...] = ()
    """Tools that take messages; it is kept in the folder in any case."""
    tone: bool = True
    silence_s: float = 4.0
    first_words_s: float = 8.0
    max_s: float = 120.0
    min_s: float = 2.0
    review: str = ""
    """Said after it: which keys keep it and record it again. Empty: it is kept."""


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """What came of a wish."""

    end: MessageEnd
    kept: bool
    """There is a message: its sound, its words, or both."""
    failed: bool = False
    """He spoke, and nothing of it could be kept."""
    recorded: bool = False
    """All of its sound is in a file."""
    seconds: float = 0.0
    """Of the file."""
    transcript: str = ""
