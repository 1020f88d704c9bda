"""Kokoro on another server. Its audio is passed on as it comes, a request that nobody wants any more is hung up.

All connections live on one event loop in a thread of its own: there a request is a task, which can be cancelled
whatever it waits for.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Generator, Iterator, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from local_ai_server.backends.tts.errors import TtsError, TtsMisconfigured
from local_ai_server.backends.tts.kokoro_voices import language_tag
from local_ai_server.backends.tts.pcm_stream import StreamTrim
from local_ai_server.backends.tts.phrase_audio import Samples, set_level
from local_ai_server.backends.tts.speaking import Sound, SpeakingModel, checked_speed, clean
from local_ai_server.backends.tts.voice_level import VoiceLevel
from model_worker.model import Answer, Cancelled
from openai_wire.pcm import PcmDecoder
from openai_wire.setting_names import SettingNames
from openai_wire.speech import SpeechClient
from spoken_forms.spoken_form import spoken_form
from voice_wire.audio import AudioFormat, StreamingResampler, encode

_NAMES: Final = SettingNames(
    url="KOKORO_API_BASE_URL", key="KOKORO_API_KEY", model="KOKORO_API_MODEL", timeout="KOKORO_API_TIMEOUT", context=""
)
_T = TypeVar("_T")
_CANCEL_POLL_S: Final = 0.02
"""How late a cancel may be seen while the server is silent."""
_SHORTEST_CHUNK_MS: Final = 40.0
"""Smaller pieces are put together: each chunk costs a message on the way to the caller."""


class KokoroHttp(SpeakingModel):
    """The voices of a server; several texts at once."""

    def load(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        model: str = "kokoro",
        voice: str,
        speed: float = 1.0,
        silence_s: float = 10.0,
    ) -> None:
        """Asks the server for its voices. Raises `TtsError` that says what was tried and what mends it."""
        self._voice = voice
        self.speed = speed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        self._thread.start()
        self._client = SpeechClient(base_url, api_key or "", model=model, silence_s=silence_s, names=_NAMES)
        self._listed: list[str] = []
        try:
            self._listed = self._wait(self._client.voices())
            if self._listed and voice not in self._listed:
                raise TtsMisconfigured(
                    f"{base_url} has no voice {voice!r}; set KOKORO_VOICE to one of: {', '.join(self._listed[:80])}"
                )
        except TtsError:
            self.unload()
            raise

    def unload(self) -> None:
        """Closes all connections."""

        async def close() -> None:
            speaking = asyncio.all_tasks() - {asyncio.current_task()}
            for task in speaking:
                task.cancel()
            await asyncio.gather(*speaking, return_exceptions=True)
            await self._client.close()
            await asyncio.sleep(0)  # a transport closes in the loop's next turn

        self._wait(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def voices(self) -> Sequence[str]:
        return tuple(self._listed)

    @property
    def default_voice(self) -> str:
        return self._voice

    def check_voice(self, voice: str | None) -> str:
        """Where the server keeps no list it decides by itself."""
        return voice if voice is not None and not self._listed else super().check_voice(voice)

    def _sounds(self, text: str, voice: str, speed: float, cancelled: Cancelled) -> Iterator[Sound]:
        raise NotImplementedError  # `speak` passes the server's stream on

    def language(self, voice: str) -> str:
        return language_tag(voice)

    def speak(
        self,
        body: bytes,
        cancelled: Cancelled,
        *,
        text: str,
        encoding: str = "mulaw",
        sample_rate_hz: int = 8000,
        voice: str | None = None,
        speed: float | None = None,
    ) -> Generator[Answer, None, Answer]:
        """As `SpeakingModel.speak`, a chunk as soon as the server has sent it."""
        audio_format = AudioFormat.from_fields({"encoding": encoding, "sample_rate_hz": sample_rate_hz})
        voice = self.check_voice(voice)
        speed = checked_speed(self.speed if speed is None else speed)
        total_ms = 0.0
        said = spoken_form(clean(text), self.language(voice))
        for pcm in self._levelled(said, voice, speed, audio_format.sample_rate_hz, cancelled):
            audio = encode(pcm, audio_format.encoding)
            audio_ms = 1000 * audio_format.duration_s(len(audio))
            total_ms += audio_ms
            yield {"audio_ms": audio_ms}, audio
        return {"audio_ms": total_ms}, b""

    def _levelled(
        self, text: str, voice: str, speed: float, to_hz: int, cancelled: Cancelled
    ) -> Iterator[np.ndarray[Any, np.dtype[np.int16]]]:
        """Trimmed, at the common level and the rate asked for."""
        level = self._levels.setdefault(voice, VoiceLevel())
        gain = level.gain  # learned from earlier texts: inside of one it stays as it is
        spoken: list[Samples] = []
        trim: StreamTrim | None = None
        resampler = StreamingResampler(to_hz, to_hz)
        rate_hz = to_hz
        pieces: Iterator[tuple[int, Samples] | None] = self._stream(text, voice, speed, cancelled) if text else iter(())
        for piece in _with_end(pieces):
            if piece is None:
                if trim is None or cancelled.is_set():
                    break
                samples = trim.finish()
            else:
                rate_hz, arrived = piece
                if trim is None:
                    trim, resampler = StreamTrim(rate_hz, text), StreamingResampler(rate_hz, to_hz)
                samples = trim.feed(arrived)
            spoken.append(samples)
            pcm = resampler.feed(np.rint(set_level(samples, gain) * 32767).astype(np.int16))
            if piece is None:
                pcm = np.concatenate((pcm, resampler.flush()))
            if pcm.size:
                yield pcm
        if spoken:
            level.hear(np.concatenate(spoken), rate_hz)

    def _stream(self, text: str, voice: str, speed: float, cancelled: Cancelled) -> Iterator[tuple[int, Samples]]:
        """(rate in Hz, samples) as they come. However it is left, the connection is free or being closed."""
        arrived: queue.SimpleQueue[tuple[int, Samples] | None] = queue.SimpleQueue()

        async def run() -> None:
            try:
                async with self._client.speech(text, voice, speed) as (rate_hz, chunks):
                    decoder = PcmDecoder(rate_hz)
                    held: list[Samples] = []
                    async for data in chunks:
                        held.append(decoder.feed(data))
                        if sum(piece.size for piece in held) >= decoder.rate_hz * _SHORTEST_CHUNK_MS / 1000:
                            arrived.put((decoder.rate_hz, np.concatenate(held)))
                            held = []
                    if held:
                        arrived.put((decoder.rate_hz, np.concatenate(held)))
            finally:
                arrived.put(None)

        speaking = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            while not cancelled.is_set():
                try:
                    piece = arrived.get(timeout=_CANCEL_POLL_S)
                except queue.Empty:
                    continue
                if piece is None:
                    speaking.result()
                    return
                yield piece
        finally:
            speaking.cancel()

    def _wait(self, doing: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result()


def _with_end(pieces: Iterator[tuple[int, Samples] | None]) -> Iterator[tuple[int, Samples] | None]:
    yield from pieces
    yield None
