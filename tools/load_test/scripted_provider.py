"""An answer without models: `kind: scripted`, registered by `scripted_engine` alone.

It hears the same words in every turn, thinks for `think_s` once the turn is over and speaks for `answer_s`: what a
provider costs is left out, what the engine does for a call is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from ai_engine.contexts import Context
from ai_engine.conversation.rendered import Progress
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.event_stream import EventStream
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    CallerSpeech,
    CallInfo,
    Capabilities,
    ProviderEvent,
)
from ai_engine.providers.services import Services
from voice_core.history import Message
from voice_wire.audio import PCM_8K, AudioFormat, convert

_PIECE_S = 0.5
"""Length of the pieces in which an answer comes."""


class ScriptedOptions(BaseModel):
    """What every turn is like."""

    model_config = ConfigDict(extra="forbid")

    words: str = "And then I said that it was so."
    think_s: float = 0.8
    answer_s: float = 2.0
    line_s: float = 1.0
    """Of the greeting and whatever else is said as it is."""


class ScriptedProvider:
    """Implements `Provider`."""

    def __init__(self, options: ScriptedOptions, piece: bytes, audio_format: AudioFormat) -> None:
        """`piece` is half a second of sound in `audio_format`."""
        self._options = options
        self._piece = piece
        self._format = audio_format
        self._stream = EventStream()
        self._answers: dict[int, asyncio.Task[None]] = {}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(owns_turn_taking=False, input_format=PCM_8K, needs_gating=False)

    async def start(self, call: CallInfo) -> None:
        """Nothing to connect to."""

    def events(self) -> AsyncIterator[ProviderEvent]:
        return self._stream.read()

    def send_audio(self, turn: int, audio: bytes) -> None:
        """Not listened to."""

    def transcribe(self, turn: int, revision: int) -> None:
        self._stream.put(CallerSpeech(turn, revision, self._options.words, final=False))

    def speculate(self, turn: int, revision: int, history: Sequence[Message], text: str = "") -> None:
        self._stream.put(CallerSpeech(turn, revision, text or self._options.words, final=False))

    def adopt(self, turn: int, revision: int) -> None:
        self._begin(
            turn, self._speak(turn, revision, "This is what I say to that.", self._options.answer_s, thinks=True)
        )

    def discard(self, turn: int, revision: int) -> None:
        self._end(turn)

    def forget(self, turn: int) -> None:
        self._end(turn)

    def say(self, turn: int, revision: int, text: str) -> None:
        self._begin(turn, self._speak(turn, revision, text, self._options.line_s, thinks=False))

    def interrupt(self, turn: int, heard: str) -> None:
        self._end(turn)

    def tool_result(self, tool_call_id: str, result: Mapping[str, Any]) -> None:
        """Calls no tools."""

    async def stop(self) -> None:
        self._stream.close()
        answers = list(self._answers.values())
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        self._answers.clear()

    async def _speak(self, turn: int, revision: int, text: str, seconds: float, *, thinks: bool) -> None:
        if thinks:
            await asyncio.sleep(self._options.think_s)
        for number in range(max(1, round(seconds / _PIECE_S))):
            self._stream.put(AgentAudio(turn, revision, self._piece, self._format, "" if number else text))
        self._stream.put(AgentAudioDone(turn, revision))

    def _begin(self, turn: int, answer: Coroutine[Any, Any, None]) -> None:
        self._end(turn)
        self._answers[turn] = asyncio.create_task(answer, name=f"scripted-answer-{turn}")

    def _end(self, turn: int) -> None:
        if (answer := self._answers.pop(turn, None)) is not None:
            answer.cancel()


class ScriptedFactory:
    """Implements `ProviderFactory`."""

    def __init__(self, options: ScriptedOptions) -> None:
        self._options = options
        self._pieces: dict[AudioFormat, bytes] = {}

    def create(self, call: CallInfo, context: Context, *, no_information: str) -> ScriptedProvider:
        return ScriptedProvider(self._options, self._piece(call.output_format), call.output_format)

    async def prepare(
        self, name: str, context: Context, audio_format: AudioFormat, progress: Progress | None = None
    ) -> None:
        """Nothing to render: every line is the same sound."""

    def rendered_line(self, name: str, text: str, audio_format: AudioFormat) -> bytes | None:
        return self._piece(audio_format)

    def _piece(self, audio_format: AudioFormat) -> bytes:
        if audio_format not in self._pieces:
            self._pieces[audio_format] = convert(_tone(), PCM_8K, audio_format)
        return self._pieces[audio_format]


def make_scripted(options: Options, services: Services) -> ScriptedFactory:
    """Raises `ConfigError`."""
    return ScriptedFactory(read_options(ScriptedOptions, options, "providers.scripted.options"))


def _tone() -> bytes:
    """Half a second of PCM16 at 8 kHz that is no pure tone and not loud."""
    t = np.arange(round(8000 * _PIECE_S)) / 8000
    sound = 3000 * np.sin(2 * np.pi * 180 * t) * (1 + np.sin(2 * np.pi * 4 * t)) / 2
    return bytes(sound.astype("<i2").tobytes())
