"""What a conversation decides, as values. `Call` carries them out; the conversation itself does no I/O.

Turn and revision are those of `ai_engine.providers.provider`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ai_engine.conversation.key_input import Keys, KeysEnd
from voice_core.history import Message


@dataclass(frozen=True, slots=True)
class SendAudio:
    """Caller audio (PCM16 at the transport's rate) that the gate let through, for the utterance `turn`."""

    turn: int
    audio: bytes


@dataclass(frozen=True, slots=True)
class Transcribe:
    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class Speculate:
    turn: int
    revision: int
    history: tuple[Message, ...]
    text: str = ""
    """The caller's words when they did not come as sound (keypad): there is no audio to decode."""


@dataclass(frozen=True, slots=True)
class Adopt:
    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class Discard:
    """The caller goes on: throw the work of `revision` away and keep the utterance's audio.

    Also comes after `Adopt`, when the caller goes on before anything of the answer was heard.
    """

    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class Forget:
    turn: int


@dataclass(frozen=True, slots=True)
class Say:
    """Speak `text` as it is. `rendered_only`: from the pre-rendered store, because the provider is gone."""

    turn: int
    revision: int
    text: str
    rendered_only: bool = False


@dataclass(frozen=True, slots=True)
class Interrupt:
    turn: int
    heard: str


@dataclass(frozen=True, slots=True)
class RunTool:
    """A tool call of an adopted answer; those of speculations wait for their adoption or go with them."""

    turn: int
    revision: int
    tool_call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeysTyped:
    """A `KeyRequest` has ended; `keys` where it ended with some."""

    request_id: str
    how: KeysEnd
    keys: Keys | None = None


MessageEnd = Literal["silence", "key", "length", "hung_up", "stopped"]
"""What ended a message; `stopped`: something else took the floor."""


@dataclass(frozen=True, slots=True)
class MessageTaken:
    """A `MessageRequest` has ended."""

    request_id: str
    end: MessageEnd
    kept: bool
    """Its sound is; False: nothing was said that is worth keeping."""
    text: str = ""
    """What was understood of it."""
    whole: bool = True
    """False: not all of it could be transcribed."""
    spoken_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HangUp:
    reason: str


@dataclass(frozen=True, slots=True)
class FallBack:
    """Hand the caller to the dialplan's fallback (the provider is gone for good)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """Send the caller on to an extension of the dialplan; without `dialplan_context` in the one it came from."""

    extension: str
    dialplan_context: str = ""
    reason: str = ""


Ending = HangUp | FallBack | Transfer
"""What ends our part of the call."""


@dataclass(frozen=True, slots=True)
class CarryOut:
    """What a tool put off until the words after it were heard; the call goes on. The call knows what it is."""

    tool_call_id: str


@dataclass(frozen=True, slots=True)
class CallerTurn:
    """For transcript, logs and history of calls: a caller's turn was completed."""

    turn: int
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class AgentTurn:
    """An agent's turn ended: what was heard of it, whether it was interrupted, and its timeline.

    `timeline` maps stage names (`speech_end`, `end_of_turn`, `stt_done`, `llm_first_token`, `first_phrase`,
    `tts_first_audio`, `first_packet`, `heard_end`) to monotonic seconds; `source` is where the answer came from
    (`known:<id>`, `near:<id>`, `llm`, `tool:<name>`, `set:<id>`, `said` for greetings and the like).
    """

    turn: int
    text: str
    interrupted: bool
    source: str
    timeline: dict[str, float]


@dataclass(frozen=True, slots=True)
class Announce:
    """For the live display and metrics.

    State changes (`listening`, `hearing`, `thinking`, `speaking`, `paused`, `message`, `held`, `ended`), and what
    happened in between (`barge_in`, `resumed`, `kept`, `took_back`, `failed`, `set_phrase`); `detail` says more.
    """

    state: str
    at: float
    detail: str = ""


Decision = (
    SendAudio
    | Transcribe
    | Speculate
    | Adopt
    | Discard
    | Forget
    | Say
    | Interrupt
    | RunTool
    | KeysTyped
    | MessageTaken
    | HangUp
    | FallBack
    | Transfer
    | CarryOut
    | CallerTurn
    | AgentTurn
    | Announce
)
