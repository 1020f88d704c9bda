"""What a version-2 client says: told word by word where the engine streams, else utterance by utterance."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final

from local_ai_server.incoming_audio import Utterance
from local_ai_server.live_speech import LiveSpeech, streams
from local_ai_server.speech_stream import AudioBudget, SpeechStream
from local_ai_server.switchboard import Switchboard
from voice_wire.audio import AudioFormat, Pcm

_UTTERANCES: Final = 4
"""So many of the longest may be held at once: one is spoken while others wait to be decoded."""

OnText = Callable[[str, str], None]
"""(what is heard so far, the engine)."""


class Version2Speech:
    """The utterance that is being spoken, and those handed out to be decoded. Owns the tasks that feed them."""

    def __init__(self, switchboard: Switchboard, *, max_utterance_s: float, on_text: OnText) -> None:
        self._switchboard = switchboard
        self._max_utterance_s = max_utterance_s
        self._on_text = on_text
        longest = AudioFormat("linear16", 48_000).bytes_for_ms(1000 * max_utterance_s)
        self._budget = AudioBudget(_UTTERANCES * longest)
        self._ids = itertools.count(1)
        self._live: LiveSpeech | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def goes_on(self, pcm: Pcm, rate_hz: int, *, begins: bool) -> None:
        """More of an utterance that has not ended; `begins`: its first piece."""
        if begins:
            self.forget()
            self._live = self._begin(rate_hz)
        if self._live is not None:
            self._live.append(pcm.astype("<i2").tobytes())

    def ended(self, utterance: Utterance) -> SpeechStream:
        """All of the utterance, to be decoded; whoever takes it releases it."""
        live, self._live = self._live, None
        if live is None or not utterance.n_told:
            if live is not None:
                live.release()
            stream = self._stream(utterance.rate_hz)
            stream.append(utterance.pcm.astype("<i2").tobytes())
            return stream
        live.append(utterance.pcm[utterance.n_told :].astype("<i2").tobytes())
        live.end()
        return live

    def forget(self) -> None:
        """What is being spoken is no utterance."""
        if self._live is not None:
            self._live.release()
            self._live = None

    async def close(self) -> None:
        """Ends all work."""
        self.forget()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, rate_hz: int) -> LiveSpeech | None:
        service = self._switchboard.find("stt")
        if service is None or not streams(service):
            return None
        audio_format = AudioFormat("linear16", rate_hz)
        return LiveSpeech(
            next(self._ids),
            audio_format,
            service=service,
            max_bytes=audio_format.bytes_for_ms(1000 * self._max_utterance_s),
            budget=self._budget,
            find_service=lambda: self._switchboard.service("stt"),
            spawn=self._spawn,
            on_text=self._on_text,
        )

    def _stream(self, rate_hz: int) -> SpeechStream:
        audio_format = AudioFormat("linear16", rate_hz)
        return SpeechStream(
            next(self._ids),
            audio_format,
            max_bytes=audio_format.bytes_for_ms(1000 * self._max_utterance_s),
            budget=self._budget,
            find_service=lambda: self._switchboard.service("stt"),
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="hear")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
