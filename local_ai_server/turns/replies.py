"""What the language model answers, in words and in sound, phrase by phrase while it is still writing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_ai_server.request_queue import Place
from local_ai_server.session_settings import SessionSettings
from local_ai_server.switchboard import Switchboard
from voice_core.phrases import PhraseCutter
from voice_wire.audio import AudioFormat

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Voice:
    """How an answer is spoken."""

    format: AudioFormat
    name: str | None = None
    """None: the server's."""
    speed: float = 1.0


@dataclass(slots=True)
class Reply:
    """What came of one answer."""

    usage: dict[str, Any] = field(default_factory=dict)
    """`prompt_tokens`, `cached_tokens`, `completion_tokens`, `finish_reason`, as the model says them; empty before
    it has ended."""
    text: str = ""
    """All that the model has written."""


class Speaker:
    """One session's answers. Leaving a generator early ends the work of its models."""

    def __init__(self, switchboard: Switchboard, session_key: str) -> None:
        self._switchboard = switchboard
        self._key = session_key
        self._settings = SessionSettings("")

    async def write(
        self, reply: Reply, messages: Messages, sampling: Mapping[str, Any], *, place: Place
    ) -> AsyncGenerator[str, None]:
        """The answer's text as it is written. Raises `ServeError`."""
        args = {"messages": [dict(message) for message in messages], "session": self._key, "sampling": dict(sampling)}
        llm = self._switchboard.service("llm")
        async with llm.call("generate", args, place=place) as answers:
            async for header, _ in answers:
                reply.text += header["text"]
                yield header["text"]
            reply.usage = answers.result

    async def phrases(
        self,
        reply: Reply,
        messages: Messages,
        sampling: Mapping[str, Any],
        *,
        place: Place,
        language: str = "en",
        when: Callable[[], Awaitable[None]],
    ) -> AsyncGenerator[str, None]:
        """The answer cut into what is spoken in one breath; the model writes on meanwhile. Raises `ServeError`.

        `when` is awaited before each phrase.
        """
        phrases: asyncio.Queue[str | None] = asyncio.Queue()

        async def write() -> None:
            cutter = PhraseCutter(language=language)
            try:
                async for text in self.write(reply, messages, {"sanitize_output": True, **sampling}, place=place):
                    for phrase in cutter.feed(text):
                        phrases.put_nowait(phrase.text)
                for phrase in cutter.end():
                    phrases.put_nowait(phrase.text)
            finally:
                phrases.put_nowait(None)

        writing = asyncio.create_task(write(), name="write an answer")
        try:
            while (phrase := await phrases.get()) is not None:
                await when()
                yield phrase
            await writing
        finally:
            writing.cancel()
            await asyncio.wait((writing,))

    async def speak(self, text: str, voice: Voice, *, place: Place) -> AsyncGenerator[bytes, None]:
        """The sound of `text`. Raises `ServeError`; invalid_message for a voice that is not here."""
        service = self._switchboard.service("tts")
        args = {
            "text": text,
            "encoding": voice.format.encoding,
            "sample_rate_hz": voice.format.sample_rate_hz,
            **self._settings.speech(service, voice=voice.name),
        }
        if voice.speed != 1.0:
            args["speed"] = voice.speed
        async with service.call("speak", args, place=place) as answers:
            async for _, audio in answers:
                yield audio

    def check_voice(self, name: str | None) -> None:
        """Raises `ServeError` when there is no such voice; says nothing where nothing speaks."""
        service = self._switchboard.find("tts")
        if service is not None:
            self._settings.speech(service, voice=name)
