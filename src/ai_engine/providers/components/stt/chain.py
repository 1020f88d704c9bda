"""Several speech-to-texts in place of one; a turn that one could not decode is given to the next, whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ai_engine.config_file import ConfigError
from ai_engine.providers.components.chain import Chain, Member
from ai_engine.providers.components.component import (
    ComponentFailed,
    OnPartial,
    SpeechToText,
    SttTraits,
    Transcript,
    Utterance,
)
from voice_wire.audio import AudioFormat

MAX_UTTERANCE_S: Final = 60


class ChainedSpeechToText:
    """One call's."""

    def __init__(self, chain: Chain[SpeechToText]) -> None:
        """Raises `ConfigError` where the members do not take the same sound."""
        formats = {member.component.input_format for member in chain.members}
        if len(formats) > 1:
            raise ConfigError("speech to text: all of a chain must take the same format of sound")
        self._chain = chain
        self._serving = chain.likely
        self._listeners: list[Callable[[SttTraits], None]] = []

    @property
    def input_format(self) -> AudioFormat:
        return self._serving.component.input_format

    @property
    def traits(self) -> SttTraits:
        return self._serving.component.traits

    def on_change(self, listener: Callable[[SttTraits], None]) -> None:
        self._listeners.append(listener)
        for member in self._chain.members:

            def tell(traits: SttTraits, member: Member[SpeechToText] = member) -> None:
                if member is self._serving:
                    listener(traits)

            member.component.on_change(tell)

    async def start(self) -> None:
        await self._chain.start()

    async def stop(self) -> None:
        await self._chain.stop()

    def stream(self, turn: int, on_partial: OnPartial) -> ChainedUtterance:
        self.serves(self._chain.likely)
        return ChainedUtterance(self, self._chain, turn, on_partial)

    def serves(self, member: Member[SpeechToText]) -> None:
        """`member` hears from now on: whoever gates by the backend is told."""
        if member is not self._serving:
            self._serving = member
            for listener in self._listeners:
                listener(member.component.traits)


class ChainedUtterance:
    """The sound of one turn, kept for whoever has to hear it."""

    def __init__(
        self, owner: ChainedSpeechToText, chain: Chain[SpeechToText], turn: int, on_partial: OnPartial
    ) -> None:
        self._owner = owner
        self._chain = chain
        self._turn = turn
        self._on_partial = on_partial
        self._audio = bytearray()
        self._max_bytes = owner.input_format.bytes_for_ms(MAX_UTTERANCE_S * 1000)
        self._decoding: object | None = None
        self._adopted = False
        self._at: Member[SpeechToText] = chain.likely
        self._utterance: Utterance = self._at.component.stream(turn, on_partial)

    def send(self, audio: bytes) -> None:
        self._audio += audio[: self._max_bytes - len(self._audio)]
        self._utterance.send(audio)

    async def decode(self, *, speculative: bool) -> Transcript:
        decoding = self._decoding = object()
        try:
            return await self._decode(speculative=speculative)
        finally:
            if self._decoding is decoding:
                self._decoding, self._adopted = None, False

    async def _decode(self, *, speculative: bool) -> Transcript:
        for member, patience_s in self._chain.to_ask():
            if member is not self._at:
                self._move_to(member)
            try:
                async with asyncio.timeout(patience_s):
                    transcript = await self._utterance.decode(speculative=speculative and not self._adopted)
            except (ComponentFailed, TimeoutError) as error:
                self._chain.failed(member, error)
                if patience_s is None:
                    raise
            except asyncio.CancelledError:
                self._chain.left(member, worked=False)
                raise
            else:
                self._chain.succeeded(member)
                return transcript
        raise AssertionError("a chain asks at least one")

    def adopt(self) -> None:
        self._adopted = True  # whoever is asked next is to know it, too
        self._utterance.adopt()

    def drop(self) -> None:
        self._audio.clear()
        self._utterance.drop()

    def _move_to(self, member: Member[SpeechToText]) -> None:
        self._utterance.drop()
        self._at, self._utterance = member, member.component.stream(self._turn, self._on_partial)
        self._utterance.send(bytes(self._audio))
        self._owner.serves(member)
