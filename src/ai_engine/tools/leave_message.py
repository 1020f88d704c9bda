"""`leave_message`: the caller speaks a message after a tone; it is recorded, written down, kept and delivered.

What the caller hears of it, and what the model is told, is what really became of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ai_engine.messages.wish import MessageOutcome, MessageWish
from ai_engine.providers.components.options import Options, read_options
from ai_engine.tools.message_sentences import message_sentence
from ai_engine.tools.telephony_sentences import sentence
from ai_engine.tools.tool import Later, LeavesMessages, ToolCallScope, ToolFailed, ToolResult, ToolSpec

if TYPE_CHECKING:
    from ai_engine.tools.registry import ToolServices

_DESCRIPTION: Final = (
    "Lets the caller leave a voice message for the office. Use it when he wants to leave one. He is told to speak "
    "after the tone; say nothing about that yourself."
)
_SAID: Final = (
    "I'd like to leave a message.",
    "Can you take a message?",
    "Please ask them to call me back.",
    "Can somebody call me back?",
)
_NOT_SAID: Final = (
    "Did you get my message?",
    "Somebody left me a message.",
    "I am returning your call.",
    "Somebody called me.",
    "I will call you back later.",
    "You need not call me back any more.",
)
_PARAMETERS: Final = {"type": "object", "properties": {}, "additionalProperties": False}
_SHOWN_CHARS: Final = 1500
"""Of the message, to the model."""


class LeaveMessageOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    deliver_to: tuple[str, ...] = ()
    """Names of tools of kind `email` (the recording is attached) and `http` (a webhook). It is kept in the folder of
    the settings' `messages` in any case."""
    prompt: str = ""
    """Said before; this sentence and those below: empty for one in the context's language."""
    once_more: str = ""
    """Said instead, once, to a caller of whom nothing was heard."""
    kept: str = ""
    """Said when the message is kept."""
    nothing: str = ""
    """Said when there is none."""
    failed: str = ""
    """Said when it could not be recorded."""
    tone: bool = True
    """A tone tells when to begin."""
    review: bool = False
    """True: the caller may record his message again."""
    hang_up: bool = False
    """True: the call ends when the message is kept; `kept` is then empty for a farewell."""
    silence_s: float = Field(default=4.0, ge=1, le=30)
    """A pause that ends the message, as `#` does at once."""
    first_words_s: float = Field(default=8.0, ge=2, le=60)
    """So long it is waited for the first word."""
    max_s: float = Field(default=120.0, ge=5, le=600)
    """The greatest length."""
    min_s: float = Field(default=2.0, ge=0, le=30)
    """Less speech of a caller who hangs up is no message."""

    @model_validator(mode="after")
    def _consistent(self) -> LeaveMessageOptions:
        if self.min_s >= self.max_s:
            raise ValueError("`min_s` is not less than `max_s`: no message would be kept")
        return self


class LeaveMessage:
    timeout_s = 5.0

    def __init__(self, name: str, options: LeaveMessageOptions) -> None:
        self.spec = ToolSpec(name, _DESCRIPTION, _PARAMETERS, said=_SAID, not_said=_NOT_SAID)
        self.deliver_to = options.deliver_to
        self._options = options

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        if call.messages is None:
            raise ToolFailed("nothing was recorded: messages cannot be kept in this call")
        return ToolResult(
            "The caller is being asked to speak a message; there is none yet.",
            say="",
            then=Later(partial(self._take, call.messages, call.language), "the message"),
        )

    async def _take(self, messages: LeavesMessages, language: str) -> str:
        outcome = await messages.take(self._wish(language))
        options = self._options
        if outcome.end in ("hung_up", "stopped"):
            pass  # nobody is there to hear it, or somebody else has the floor
        elif outcome.kept and options.hang_up:
            farewell = options.kept or sentence("farewell", language)
            messages.say(farewell, hang_up=True)
        elif outcome.kept:
            messages.say(options.kept or message_sentence("kept", language))
        elif outcome.failed:
            messages.say(options.failed or message_sentence("failed", language))
        else:
            messages.say(options.nothing or message_sentence("nothing", language))
        return _told(outcome)

    def _wish(self, language: str) -> MessageWish:
        options = self._options
        return MessageWish(
            prompt=options.prompt or message_sentence("prompt", language),
            once_more=options.once_more or message_sentence("once_more", language),
            deliver_to=options.deliver_to,
            tone=options.tone,
            silence_s=options.silence_s,
            first_words_s=options.first_words_s,
            max_s=options.max_s,
            min_s=options.min_s,
            review=message_sentence("review", language) if options.review else "",
        )


def _told(outcome: MessageOutcome) -> str:
    """For the model: what there is, and nothing more."""
    if outcome.failed:
        return "There is no message: what the caller said could not be recorded, for a technical reason."
    if not outcome.kept:
        return "There is no message: the caller left none."
    words = " ".join(outcome.transcript.split())[:_SHOWN_CHARS]
    said = f"It says: {words}" if words else "Its words could not be understood."
    if not outcome.recorded:
        return f"The caller left a message, but its recording is not complete. It will be passed on. {said}"
    return f"The caller left a message of {outcome.seconds:.0f} seconds, which is kept and will be passed on. {said}"


def make(name: str, options: Options, _services: ToolServices) -> LeaveMessage:
    return LeaveMessage(name, read_options(LeaveMessageOptions, options, f"tools.{name}"))
