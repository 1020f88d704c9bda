"""One answer of the agent: words as they come, and their sound phrase by phrase, as the engine has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from local_ai_server.clients.session import Exchange, Session
from local_ai_server.clients.sound import FORMAT
from voice_core.phrases import Phrase, PhraseCutter
from voice_wire.messages import ChatMessage, LlmDelta, LlmRequest, Sampling, TtsAppend, TtsFlush, TtsRequest, Usage


@dataclass(frozen=True, slots=True)
class Answered:
    """What was said, and how soon; milliseconds, None where there was none."""

    text: str
    audio: bytes
    """In `sound.FORMAT`."""
    usage: Usage | None
    first_token_ms: float | None
    """From the request."""
    tts_first_audio_ms: float | None
    """From the first phrase, given to the TTS."""
    first_audio_ms: float | None
    """From the request to the first sound."""


class Answer:
    """`get` it once. `stop` ends it early: what has come until then is the answer."""

    def __init__(
        self,
        session: Session,
        *,
        speaks: bool = True,
        sampling: Sampling | None = None,
        on_text: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._session = session
        self._speaks = speaks
        self._sampling = sampling or Sampling()
        self._on_text = on_text
        self._speech: Exchange | None = None
        self._stopped = False

    async def get(self, messages: Sequence[ChatMessage]) -> Answered:
        """The model's answer to the conversation. Raises `ClientError`."""
        words = await self._session.request(
            lambda name: LlmRequest(request_id=name, messages=tuple(messages), sampling=self._sampling, stream=True)
        )
        cutter = PhraseCutter()
        parts: list[str] = []
        async for answer in words:
            if isinstance(answer, LlmDelta) and not self._stopped:
                parts.append(answer.text)
                self._on_text(answer.text)
                await self._say(cutter.feed(answer.text))
        await self._say(cutter.end())
        audio = await self._hear()
        speech = self._speech
        sounded_at = speech.first_at if speech else None
        return Answered(
            text="".join(parts).strip(),
            audio=audio,
            usage=words.done.usage if words.done else None,
            first_token_ms=words.first_ms,
            tts_first_audio_ms=speech.first_ms if speech else None,
            first_audio_ms=None if sounded_at is None else 1000 * (sounded_at - words.began),
        )

    async def stop(self) -> None:
        """Nothing more of it is said."""
        self._stopped = True
        await self._session.cancel()

    async def _say(self, phrases: Sequence[Phrase]) -> None:
        for phrase in phrases:
            if self._stopped or not self._speaks:
                return
            if self._speech is None:
                self._speech = await self._session.request(lambda name: _first_speech(name, phrase.text))  # noqa: B023
            else:
                await self._session.send(TtsAppend(request_id=self._speech.request_id, text=phrase.text))

    async def _hear(self) -> bytes:
        if self._speech is None:
            return b""
        if not self._stopped:
            await self._session.send(TtsFlush(request_id=self._speech.request_id))
        return await self._speech.audio()


def _first_speech(name: str, text: str) -> TtsRequest:
    fields = {"encoding": FORMAT.encoding, "sample_rate_hz": FORMAT.sample_rate_hz}
    return TtsRequest.model_validate({"request_id": name, "text": text, "stream": True, "incremental": True, **fields})
