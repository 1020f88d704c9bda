"""The interface between a call and whatever answers it.

A provider is made for one call by its factory (`registry.py`), is driven by that call's conversation and tells it
what happened through one ordered stream of events. The engine reads capabilities; it never asks for a name.

Turns and revisions. The conversation numbers turns 1, 2, 3 …; whatever the caller says and the agent's answer to it
share a number, and so does anything the agent says unasked (the greeting is a turn of its own). A *revision* counts
the attempts to answer one turn: a short pause starts revision 1 speculatively; if the caller goes on, it is discarded
and the next pause starts revision 2. Every event carries both, and the conversation drops stale ones in one place.

All methods but `start` and `stop` return at once: they queue work whose outcome arrives as events. They are called on
the control loop only. Times are seconds of `time.monotonic`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ai_engine.tools.tool import ToolSpec
from voice_core.history import Message
from voice_wire.audio import MULAW_8K, AudioFormat

Stage = Literal["stt_done", "llm_first_token", "first_phrase", "tts_first_audio"]
"""Points on a turn's timeline inside the provider; the conversation adds end of turn and first packet."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the call must know of a provider; may change when a backend is switched (`BackendChanged`)."""

    owns_turn_taking: bool
    """True for full-duplex agents that decide themselves when the caller has finished."""
    input_format: AudioFormat
    """What `send_audio` takes."""
    needs_gating: bool
    """Caller audio must be withheld from the STT while the agent is heard. True until the backend says otherwise."""
    streams_transcripts: bool = False
    """Partial transcripts arrive while the caller speaks."""


@dataclass(frozen=True, slots=True)
class CallInfo:
    """What a provider may know of its call. Nothing here is shared between calls."""

    call_id: str
    context: str
    system_prompt: str
    """With its template variables already filled in."""
    language: str
    voice: str | None
    output_format: AudioFormat
    """What the call's transport plays; a provider delivers it directly where it can."""
    variables: Mapping[str, str] = field(default_factory=dict)
    tools: Sequence[ToolSpec] = ()
    """What the model may ask for (`ToolCall`); empty where the context allows no tools."""


# --- events, provider → conversation --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentAudio:
    """Sound of the agent's answer, in order. `text` is what this audio speaks; empty: it goes on with the last text."""

    turn: int
    revision: int
    audio: bytes
    format: AudioFormat = MULAW_8K
    """What a chunk that does not say is."""
    text: str = ""


@dataclass(frozen=True, slots=True)
class AgentAudioDone:
    """All audio of the answer has been delivered. It has *not* been heard yet: that the playout knows."""

    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class CallerSpeech:
    """What the STT made of the caller's words. `final` on a revision that was adopted, or by a streaming backend."""

    turn: int
    revision: int
    text: str
    final: bool
    stt_backend: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class WordsRead:
    """Comes between `CallerSpeech` and the answer's sound, where the provider can tell whether the caller may go on."""

    turn: int
    revision: int
    settled: bool
    """A ready answer fits the words, and more of them would not change it. False: they may, or the end is missing."""


@dataclass(frozen=True, slots=True)
class AgentText:
    """A piece of the answer's text as it is made (for transcripts shown live; history follows the playout)."""

    turn: int
    revision: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    turn: int
    revision: int
    tool_call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StageReached:
    """A point of the turn's timeline was reached `at` (monotonic seconds)."""

    turn: int
    revision: int
    stage: Stage
    at: float
    detail: str = ""
    """For `first_phrase`: where the answer came from: `known:<id>`, `near:<id>` or `llm`."""


@dataclass(frozen=True, slots=True)
class BackendChanged:
    """Learned at start or when a backend is switched; `stt_backend` decides the gate's policy."""

    stt_backend: str
    needs_gating: bool


@dataclass(frozen=True, slots=True)
class ProviderFailed:
    """Turn 0: the provider as a whole. `component` is one of stt, llm, tts, connection."""

    turn: int
    revision: int
    component: str
    message: str
    retryable: bool


ProviderEvent = (
    AgentAudio
    | AgentAudioDone
    | CallerSpeech
    | WordsRead
    | AgentText
    | ToolCall
    | StageReached
    | BackendChanged
    | ProviderFailed
)


class Provider(Protocol):
    """One call's voice agent."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def start(self, call: CallInfo) -> None:
        """Get ready for `call` (connect, prime the prompt cache). Raises `ProviderError` with reason and remedy."""

    def events(self) -> AsyncIterator[ProviderEvent]:
        """The one stream of events, ordered; ends after `stop`."""

    def send_audio(self, turn: int, audio: bytes) -> None:
        """Caller audio in `capabilities.input_format` that belongs to `turn`; a new number begins a new utterance."""

    def transcribe(self, turn: int, revision: int) -> None:
        """Decode what was sent for `turn` so far, free to throw away → `CallerSpeech(final=False)`."""

    def speculate(self, turn: int, revision: int, history: Sequence[Message], text: str = "") -> None:
        """Decode what was sent for `turn` and prepare the answer, free to throw away: no tool runs, nothing is kept.

        `text` are the caller's words where they did not come as sound (keypad): nothing is decoded then.
        """

    def adopt(self, turn: int, revision: int) -> None:
        """The caller has finished: the work of `revision` is now the answer and goes before speculation."""

    def discard(self, turn: int, revision: int) -> None:
        """Throw the work of `revision` away; the utterance's audio stays, because the caller goes on."""

    def forget(self, turn: int) -> None:
        """The utterance was none (a cough): drop its audio and all work for it."""

    def say(self, turn: int, revision: int, text: str) -> None:
        """Speak `text` as it is (greeting, question, farewell)."""

    def interrupt(self, turn: int, heard: str) -> None:
        """The caller took the floor: stop the answer to `turn`, of which `heard` was heard."""

    def tool_result(self, tool_call_id: str, result: Mapping[str, Any]) -> None:
        """What came of a `ToolCall`: `text` for the model; `say`, where it is not None, for the caller as it is.

        `ends`: the call ends, or goes elsewhere, once what is said now was heard. A result of an answer that was
        interrupted meanwhile may come and is passed over: the history of the next turn holds it.
        """

    async def stop(self) -> None:
        """Give everything back: connections, tasks, work in flight. Idempotent."""


class ProviderError(Exception):
    """A provider cannot do what was asked; the message says why and what mends it."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
