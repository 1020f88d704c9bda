"""Phrases turned into sound in their order, the next one synthesised while this one is delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final

from ai_engine.providers.components.component import Adoptable, TextToSpeech
from spoken_forms.spoken_form import spoken_form
from voice_wire.audio import AudioFormat

LOOKAHEAD: Final = 2
"""Phrases in synthesis at once: the one being delivered and the next. More would be thrown away at an interruption."""


class _Phrase:
    def __init__(self, text: str, spoken: str) -> None:
        self.text = text
        """As it is written: what goes with the audio."""
        self.spoken = spoken
        """As the voice is given it."""
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()


class Speech:
    """An async context: `say` each phrase; leaving it normally waits until all has been delivered.

    Left by an exception or cancellation it ends the synthesis at once. A failing TTS cancels the body and comes out
    as an `ExceptionGroup` with a `ComponentFailed`.
    `deliver(chunk, text)` gets the audio; `text` is the phrase with its first chunk, else empty.
    """

    def __init__(
        self,
        tts: TextToSpeech,
        audio_format: AudioFormat,
        deliver: Callable[[bytes, str], None],
        *,
        speculative: Callable[[], bool],
        running: set[Adoptable],
        language: str = "",
        rendered: Callable[[str], bytes | None] = lambda _text: None,
    ) -> None:
        """`running` holds the synthesis under way, for whoever adopts the answer. `language` is the text's.

        `rendered` knows phrases by heart, by their spoken forms.
        """
        self._tts = tts
        self._format = audio_format
        self._deliver = deliver
        self._speculative = speculative
        self._group = asyncio.TaskGroup()
        self._free = asyncio.Semaphore(LOOKAHEAD)
        self._order: asyncio.Queue[_Phrase | None] = asyncio.Queue()
        self._running = running
        self._language = language
        self._rendered = rendered

    async def __aenter__(self) -> Speech:
        await self._group.__aenter__()
        self._group.create_task(self._deliver_in_order())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._order.put_nowait(None)
        await self._group.__aexit__(kind, error, trace)

    async def say(self, text: str) -> None:
        """Begin to synthesise a phrase, waiting while `LOOKAHEAD` are under way.

        The TTS gets its spoken form ("half" for 1/2); what goes with the audio is `text`.
        """
        await self._free.acquire()
        phrase = _Phrase(text, spoken_form(text, self._language))
        self._order.put_nowait(phrase)
        if (audio := self._rendered(phrase.spoken)) is not None:
            phrase.chunks.put_nowait(audio)
            phrase.chunks.put_nowait(None)
        else:
            self._group.create_task(self._synthesise(phrase))

    async def _synthesise(self, phrase: _Phrase) -> None:
        speculative = self._speculative()
        async with self._tts.speak(phrase.spoken, audio_format=self._format, speculative=speculative) as output:
            if speculative and not self._speculative():
                output.adopt()  # it was adopted while the request was on its way out
            self._running.add(output)
            try:
                async for chunk in output:
                    phrase.chunks.put_nowait(chunk)
            finally:
                self._running.discard(output)
        phrase.chunks.put_nowait(None)

    async def _deliver_in_order(self) -> None:
        while (phrase := await self._order.get()) is not None:
            text = phrase.text
            while (chunk := await phrase.chunks.get()) is not None:
                self._deliver(chunk, text)
                text = ""
            self._free.release()
