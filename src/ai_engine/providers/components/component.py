"""What a speech-to-text, a language model and a text-to-speech must do to take part in a pipeline.

A component is made for one call, lives on the control loop and never blocks it. Work that a pause in the caller's
speech set off is *speculative*: it gives way to work somebody waits for, until `adopt` says that it is the real one.

Leaving the context of `reply` or `speak`, by whatever way, ends the work at the other side too, at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from ai_engine.tools.tool import ToolSpec
from voice_core.history import Message
from voice_wire.audio import AudioFormat
from voice_wire.messages import Sampling

ComponentName = Literal["stt", "llm", "tts", "connection"]
Item_co = TypeVar("Item_co", covariant=True)


class ComponentFailed(Exception):
    """A component could not do what was asked; the message says why and, where known, what mends it.

    `retryable`: the same request may succeed if it is made again now (a lost connection, a restarting worker).
    `refused`: it was this one request that could not be met (too long, not allowed); others may well be.
    """

    def __init__(
        self, component: ComponentName, message: str, *, retryable: bool = False, refused: bool = False
    ) -> None:
        super().__init__(message)
        self.component: ComponentName = component
        self.retryable = retryable
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Transcript:
    """What the STT heard; `text` is empty when there was no speech."""

    text: str
    stt_backend: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class SttTraits:
    """What is known of the speech-to-text that serves now; a hot switch may change it."""

    backend: str
    needs_gating: bool


@dataclass(frozen=True, slots=True)
class ToolWanted:
    """A model asks for a tool. It may have made up both."""

    name: str
    arguments: str
    """As JSON, or what the model took for it."""


class Adoptable(Protocol):
    """Work that may have begun as speculation."""

    def adopt(self) -> None:
        """Somebody waits for it now."""


class Output(Adoptable, Protocol[Item_co]):
    """A stream of results. Iterating raises `ComponentFailed`."""

    def __aiter__(self) -> AsyncIterator[Item_co]: ...


class Utterance(Adoptable, Protocol):
    """The audio of one of the caller's turns, and its decoding."""

    def send(self, audio: bytes) -> None:
        """More audio, in the component's `input_format`. What is beyond the longest utterance is left out."""

    async def decode(self, *, speculative: bool) -> Transcript:
        """Decode all that was sent so far; more may be sent and decoded later. Raises `ComponentFailed`."""

    def drop(self) -> None:
        """Forget the audio. Nothing may be called after it. Idempotent."""


class Component(Protocol):
    async def start(self) -> None:
        """Connect. Raises `ComponentFailed`."""

    async def stop(self) -> None:
        """Give everything back. Idempotent."""


OnPartial = Callable[[str, str], None]
"""(what is heard so far, the backend)."""


class SpeechToText(Component, Protocol):
    @property
    def input_format(self) -> AudioFormat: ...

    @property
    def traits(self) -> SttTraits: ...

    def on_change(self, listener: Callable[[SttTraits], None]) -> None:
        """`listener` is called whenever another backend serves, and once the first one is known."""

    def stream(self, turn: int, on_partial: OnPartial) -> Utterance:
        """Begin an utterance. `on_partial` is told what is heard so far, where the backend streams."""


class LanguageModel(Component, Protocol):
    def reply(
        self, messages: Sequence[Message], *, sampling: Sampling, speculative: bool, tools: Sequence[ToolSpec] = ()
    ) -> AbstractAsyncContextManager[Output[str | ToolWanted]]:
        """The model's answer in pieces as it is made. The whole call is one session to the model's prompt cache.

        Where `tools` are offered, what the model wants of them comes last, after any text.
        """

    async def warm(self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()) -> None:
        """Prime the prompt cache with what the next `reply` will begin with. Cancelling ends it."""


class TextToSpeech(Component, Protocol):
    @property
    def voice(self) -> str:
        """Names what speaks: sound that was rendered under another name sounds different."""

    def speak(
        self, text: str, *, audio_format: AudioFormat, speculative: bool
    ) -> AbstractAsyncContextManager[Output[bytes]]:
        """One phrase as audio of that format, in pieces of whole samples as it is made."""
