"""A text as speech, phrase by phrase: the first is sent while the next is made, and calls go before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Send

from local_ai_server.errors import ServeError
from local_ai_server.http_api.ahead import ahead
from local_ai_server.http_api.counting import Counted
from local_ai_server.http_api.disconnect import while_connected
from local_ai_server.http_api.sound_forms import Sound
from local_ai_server.metrics import ServerMetrics
from local_ai_server.service import Place
from local_ai_server.switchboard import Switchboard
from model_worker.spec import Priority
from voice_core.phrases import PhraseCutter

MAX_CHARACTERS: Final = 20_000
"""Some twenty minutes of speech."""
_PHRASE_WORDS: Final = 40
"""A telephone call waits for no longer phrase than this."""


class Synthesis:
    """One text to be said."""

    def __init__(
        self,
        text: str,
        sound: Sound,
        *,
        voice: str | None,
        speed: float | None,
        switchboard: Switchboard,
        metrics: ServerMetrics,
    ) -> None:
        """Raises `ServeError` for a voice that is not there, and where nothing speaks here."""
        self._sound = sound
        self._switchboard = switchboard
        self._metrics = metrics
        self._args = _args(switchboard, sound, voice, speed)
        cutter = PhraseCutter(first_words=_PHRASE_WORDS, max_words=_PHRASE_WORDS)
        self._phrases = [phrase.text for phrase in (*cutter.feed(text), *cutter.end()) if phrase.text.strip()]
        if not self._phrases:
            raise ServeError("invalid_message", "there is nothing to say in the text")

    async def audio(self) -> AsyncGenerator[bytes, None]:
        """Encoded, as it is made. Raises `ServeError`; leaving it ends the work."""
        with Counted(self._metrics, "http_tts") as counted:
            encoder = self._sound.encoder()
            for phrase in self._phrases:
                async with aclosing(ahead(self._say(phrase))) as pieces:
                    async for piece in pieces:
                        encoded = await asyncio.to_thread(encoder.feed, piece)
                        if encoded:
                            counted.first_output()
                            yield encoded
            yield await asyncio.to_thread(encoder.end)

    async def _say(self, phrase: str) -> AsyncGenerator[bytes, None]:
        service = self._switchboard.service("tts")
        async with service.call("speak", {"text": phrase, **self._args}, place=Place(Priority.LIVE)) as answers:
            async for _, audio in answers:
                yield audio


class SoundResponse(StreamingResponse):
    """A stream that has begun. It is closed, and the work behind it ended, when the client leaves or has all."""

    def __init__(self, first: bytes | None, rest: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(_after(first, rest), media_type=media_type, headers={"Cache-Control": "no-store"})
        self._rest = rest

    async def stream_response(self, send: Send) -> None:
        """ASGI's."""
        async with aclosing(self._rest):
            await super().stream_response(send)


async def answer(request: Request, pieces: AsyncGenerator[bytes, None], media_type: str) -> SoundResponse:
    """`pieces` as a response, once the first is there: what goes wrong before is an answer with a status of its own.

    Raises what `pieces` raises, and `ClientGone`.
    """
    try:
        first = await while_connected(request, _next(pieces))
    except BaseException:
        await pieces.aclose()
        raise
    return SoundResponse(first, pieces, media_type)


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)


async def _after(first: bytes | None, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    if first is not None:
        yield first
    async for piece in rest:
        yield piece


def _args(switchboard: Switchboard, sound: Sound, voice: str | None, speed: float | None) -> dict[str, Any]:
    service = switchboard.service("tts")
    args: dict[str, Any] = {"encoding": sound.encoding, "sample_rate_hz": sound.rate_hz}
    voices = service.traits.get("voices", ())
    if voice is not None and voice not in service.former_voices - set(voices):
        if voices and voice not in voices:
            raise ServeError("invalid_message", f"there is no voice {voice!r} here; there are: {', '.join(voices)}")
        args["voice"] = voice
    if speed is not None:
        args["speed"] = speed
    return args
