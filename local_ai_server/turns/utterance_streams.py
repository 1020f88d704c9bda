"""What a client says whose turns the server decides: told word by word where the engine streams, else utterance by
utterance."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final

from local_ai_server.live_speech import LiveSpeech, streams
from local_ai_server.speech_stream import AudioBudget, SpeechStream
from local_ai_server.switchboard import Switchboard
from voice_wire.audio import AudioFormat, Pcm

_UTTERANCES: Final = 4
"""So many of the longest may be held at once: one is spoken while others wait to be decoded."""

OnText = Callable[[str, str], None]
"""(what is heard so far, the engine)."""


class UtteranceStreams:
    """The utterance that is being spoken, and those handed out to be decoded. Owns the tasks that feed them."""

    def __init__(self, switchboard: Switchboard, *, max_utterance_s: float, on_text: OnText | None = None) -> None:
        self.language: str | None = None
        """Of what is begun from now on; None: as the engine finds or was told."""
        self._switchboard = switchboard
        self._max_utterance_s = max_utterance_s
        self.live_text = ""
        """What is heard so far of the utterance that is being spoken."""
        self._on_text = on_text
        longest = AudioFormat("linear16", 48_000).bytes_for_ms(1000 * max_utterance_s)
        self._budget = AudioBudget(_UTTERANCES * longest)
        self._ids = itertools.count(1)
        self._live: LiveSpeech | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def live(self) -> bool:
        """A streaming engine hears what is being spoken."""
        return self._live is not None

    def goes_on(self, pcm: Pcm, rate_hz: int, *, begins: bool) -> None:
        """More of an utterance that has not ended; `begins`: its first piece."""
        if begins:
            self.forget()
            self.live_text = ""
            self._live = self._begin(rate_hz)
        if self._live is not None:
            self._live.append(pcm.astype("<i2").tobytes())

    def ended(self, pcm: Pcm, rate_hz: int, *, n_told: int = 0) -> SpeechStream:
        """All of the utterance, to be decoded; whoever takes it releases it. `n_told` of its samples went on before."""
        live, self._live = self._live, None
        if live is None or not n_told:
            if live is not None:
                live.release()
            return self.recorded(pcm, rate_hz)
        live.append(pcm[n_told:].astype("<i2").tobytes())
        live.end()
        return live

    def recorded(self, pcm: Pcm, rate_hz: int) -> SpeechStream:
        """Sound that is complete, to be decoded; whoever takes it releases it."""
        stream = self._stream(rate_hz)
        stream.append(pcm.astype("<i2").tobytes())
        return stream

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
            on_text=self._take_text,
            language=self.language,
        )

    def _stream(self, rate_hz: int) -> SpeechStream:
        audio_format = AudioFormat("linear16", rate_hz)
        return SpeechStream(
            next(self._ids),
            audio_format,
            max_bytes=audio_format.bytes_for_ms(1000 * self._max_utterance_s),
            budget=self._budget,
            find_service=lambda: self._switchboard.service("stt"),
            language=self.language,
        )

    def _take_text(self, text: str, backend: str) -> None:
        self.live_text = text
        if self._on_text is not None:
            self._on_text(text, backend)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="hear")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
