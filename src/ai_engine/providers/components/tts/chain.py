"""Several voices in place of one; a phrase that breaks off is gone on with by the next, about where it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Final

from ai_engine.providers.components.chain import Chain
from ai_engine.providers.components.component import Adoptable, ComponentFailed, Output, TextToSpeech
from voice_wire.audio import AudioFormat

_CHARACTERS_A_SECOND: Final = 14.0
"""Of speech at an ordinary pace, in the languages that are written with letters."""
_ALL_AGAIN_S: Final = 0.4
"""Less than this was heard: it is no use to join anything to it."""


class ChainedTextToSpeech:
    """One call's."""

    def __init__(self, chain: Chain[TextToSpeech]) -> None:
        self._chain = chain

    @property
    def voice(self) -> str:
        """That of the one who will be asked: what was rendered in another's is not mixed with it."""
        return self._chain.likely.component.voice

    async def start(self) -> None:
        await self._chain.start()

    async def stop(self) -> None:
        await self._chain.stop()

    @asynccontextmanager
    async def speak(self, text: str, *, audio_format: AudioFormat, speculative: bool) -> AsyncIterator[Output[bytes]]:
        phrase = _Phrase(self._chain, text, audio_format, speculative=speculative)
        async with aclosing(phrase.sound()) as sound:
            yield _Sound(phrase, sound)


class _Phrase:
    def __init__(self, chain: Chain[TextToSpeech], text: str, audio_format: AudioFormat, *, speculative: bool) -> None:
        self._chain = chain
        self._text = text
        self._format = audio_format
        self._speculative = speculative
        self._running: Adoptable | None = None

    def adopt(self) -> None:
        self._speculative = False
        if self._running is not None:
            self._running.adopt()

    async def sound(self) -> AsyncGenerator[bytes, None]:
        text = self._text
        for member, patience_s in self._chain.to_ask():
            n_bytes = 0
            try:
                async with aclosing(self._of(member.component, text, patience_s)) as pieces:
                    async for piece in pieces:
                        n_bytes += len(piece)
                        yield piece
            except (ComponentFailed, TimeoutError) as error:
                self._chain.failed(member, error)
                if patience_s is None:
                    raise
                text = rest_of(text, n_bytes / self._format.bytes_per_second)
                if not text:
                    return
            except (GeneratorExit, asyncio.CancelledError):
                self._chain.left(member, worked=n_bytes > 0)
                raise
            else:
                self._chain.succeeded(member)
                return

    async def _of(self, voice: TextToSpeech, text: str, patience_s: float | None) -> AsyncGenerator[bytes, None]:
        async with AsyncExitStack() as stack:
            speculative = self._speculative
            async with asyncio.timeout(patience_s):  # a request may have to wait for a connection
                output = await stack.enter_async_context(
                    voice.speak(text, audio_format=self._format, speculative=speculative)
                )
            if speculative and not self._speculative:
                output.adopt()  # it was adopted while the request was on its way out
            self._running = output
            try:
                pieces = aiter(output)
                while True:
                    async with asyncio.timeout(patience_s):
                        piece = await anext(pieces, None)
                    if piece is None:
                        return
                    yield piece
            finally:
                self._running = None


class _Sound:
    def __init__(self, phrase: _Phrase, sound: AsyncGenerator[bytes, None]) -> None:
        self._phrase = phrase
        self._sound = sound

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._sound)

    def adopt(self) -> None:
        self._phrase.adopt()


def rest_of(text: str, spoken_s: float) -> str:
    """What of `text` is still to be said after `spoken_s` seconds of it, by whole words; all of it after hardly any."""
    if spoken_s < _ALL_AGAIN_S:
        return text
    spoken = spoken_s * _CHARACTERS_A_SECOND
    words = text.split()
    length = 0
    for number, word in enumerate(words):
        length += len(word) + 1
        if length > spoken:
            return " ".join(words[number:])
    return ""
