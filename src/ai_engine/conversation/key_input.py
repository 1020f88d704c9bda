"""Keys that a caller presses, as values: what was typed, what of it may be shown, and what somebody waits for.

Secret keys stand in nothing that is kept or shown: not in history, prompts, transcripts, live events or logs (the
`repr` of every value here hides them, too). Only who asked for them with a `KeyRequest`, or takes them with
`Conversation.take_secret_keys`, gets them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from voice_core.set_phrases import Mentions

END_KEY: Final = "#"
_LOOKED_BACK_CHARACTERS: Final = 400
"""The agent's words come phrase by phrase, and a wording may begin in one and end in the next."""


@dataclass(frozen=True, slots=True)
class Keys:
    """One complete input, as it was typed: `4711`, or `4711#` where the caller ended it himself."""

    typed: str = field(repr=False)
    secret: bool = False

    @property
    def digits(self) -> str:
        """Without the key that ends an input."""
        return self.typed.removesuffix(END_KEY)

    @property
    def shown(self) -> str:
        """What models, transcripts and logs see."""
        if not self.secret:
            return self.typed
        count = len(self.digits)
        return f"**** ({count} {'digit' if count == 1 else 'digits'})"

    def __str__(self) -> str:
        return self.shown


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How a persona takes keys."""

    wait_s: float | None = None
    """Pause after the last key that ends an input; None: the conversation's `keypad_wait_s`."""
    max_keys: int = 0
    """So many end an input without a pause. 0: any number."""
    secret: bool = False
    """All keys of its calls are."""
    secret_after: tuple[str, ...] = ()
    """Patterns (`voice_core.set_phrases`): keys typed once the agent has said one of these are secret."""


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """Somebody (a tool) wants the caller's next input; it is no turn of the conversation."""

    id: str
    max_keys: int = 0
    """0: any number, until `#` or a pause."""
    first_key_s: float = 10.0
    """So long it is waited for the first key; the agent's own speaking does not count."""
    wait_s: float | None = None
    """Pause after the last key; None: as the persona's rules say."""
    secret: bool = False
    """Also where nothing else makes them so."""


KeysEnd = Literal["complete", "none", "spoke", "set_phrase", "replaced", "call_over"]
"""How a request ended: with keys; with none in time; the caller spoke instead, or typed a set phrase's key; another
request took its place; the call ended."""


class SecretQuestions:
    """Whether the next keys are secret because of what the agent said.

    From a question that says one of the patterns until the caller, having typed something, says something. So also a
    second attempt is covered ("that was too short, please try again"), and a caller who asks back before he types.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.asked = False
        self._mentioned = Mentions(patterns) if patterns else None
        self._said = ""
        self._typed = False

    def agent_said(self, text: str) -> None:
        """The next words of the agent, as they are handed over to be played."""
        if self._mentioned is None or not text:
            return
        self._said = f"{self._said} {text}"[-_LOOKED_BACK_CHARACTERS:]
        if self._mentioned(self._said):
            self.asked, self._typed, self._said = True, False, ""

    def typed(self) -> None:
        """An input is complete."""
        self._typed = True

    def caller_spoke(self) -> None:
        """A turn of words."""
        if self._typed:
            self.asked = False
