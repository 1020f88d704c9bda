"""A version-2 client's audio on its way to utterances: base64 or raw, in any size, in order.

A message may hold minutes. It is taken in slices between which every other session has its turn; what comes meanwhile
waits behind it.
"""

from __future__ import annotations

import asyncio
import binascii
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from local_ai_server.turns.judged_splitter import JudgedSplitter
from local_ai_server.turns.speech_judge import SpeechJudges, rate_to_judge
from local_ai_server.utterances import UtteranceSplitter
from voice_wire.audio import Pcm
from voice_wire.messages import Mode, ProtocolError

SLICE_BYTES: Final = 96 * 1024
"""Three seconds of 16 kHz; a millisecond of work. A multiple of four characters and of whole samples."""
_MAX_WAITING_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Heard:
    """Audio and what the message said of it; text is base64."""

    data: bytes | str
    rate_hz: int
    mode: Mode
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was said between two silences."""

    pcm: Pcm
    rate_hz: int
    mode: Mode
    request_id: str | None
    n_told: int = 0
    """So many of its samples have been told as it was spoken."""


class IncomingAudio:
    """Owns the splitter, what waits for it, and the timer that ends an utterance nobody continues."""

    def __init__(
        self,
        *,
        max_utterance_s: float,
        silence_ms: float,
        on_speech: Callable[[Pcm, Heard, bool], None],
        on_utterance: Callable[[Utterance], None],
        on_error: Callable[[ProtocolError], None],
        judges: SpeechJudges | None = None,
    ) -> None:
        """`judges` tell speech from other sounds; without them, and where they have no network, the level does.

        `on_speech` is told more of an utterance that has not ended, and whether it is the first of it.

        `on_error` is told what is found wrong after `receive` has returned.
        """
        self._max_utterance_s = max_utterance_s
        self._silence_ms = silence_ms
        self._on_speech = on_speech
        self._on_utterance = on_utterance
        self._on_error = on_error
        self._judges = judges
        self._splitter: UtteranceSplitter | JudgedSplitter | None = None
        self._n_told = 0
        self._idle: asyncio.TimerHandle | None = None
        self._waiting: deque[Heard | None] = deque()
        """None: what comes behind it begins anew."""
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None

    def receive(self, heard: Heard) -> None:
        """Takes audio in, now or behind what is at work. Raises `ProtocolError` for what is no audio."""
        _check_length(heard)
        if self._task is None and self._judges is None and len(heard.data) <= SLICE_BYTES:
            self._feed(_samples(heard.data, heard.request_id), heard)
            return
        if self._waiting_bytes + len(heard.data) > _MAX_WAITING_BYTES:
            raise ProtocolError(
                "message_too_large",
                f"{self._waiting_bytes} bytes of audio wait to be taken in; send it as it is spoken",
                request_id=heard.request_id,
            )
        self._waiting.append(heard)
        self._waiting_bytes += len(heard.data)
        if self._task is None:
            self._task = asyncio.create_task(self._take_in(), name="audio")

    def restart(self, silence_ms: float) -> None:
        """What was heard so far belongs to no utterance; the next ends after `silence_ms`."""
        self._silence_ms = silence_ms
        if self._task is None or self._judges is None:
            self._drop_splitter()
        else:
            self._waiting.append(None)

    async def close(self) -> None:
        """Forgets all audio."""
        self._waiting.clear()
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._drop_splitter()

    async def _take_in(self) -> None:
        try:
            while self._waiting:
                heard = self._waiting.popleft()
                if heard is None:
                    self._drop_splitter()
                    continue
                self._waiting_bytes -= len(heard.data)
                try:
                    pieces = []
                    for at in range(0, len(heard.data), SLICE_BYTES):
                        pieces.append(_samples(heard.data[at : at + SLICE_BYTES], heard.request_id))
                        await asyncio.sleep(0)
                except ProtocolError as error:
                    self._on_error(error)
                    continue
                for piece in pieces:
                    if self._judges is not None:
                        await self._judge(piece, heard, self._judges)
                    else:
                        self._feed(piece, heard)
                    await asyncio.sleep(0)
        finally:
            self._task = None

    def _feed(self, pcm: Pcm, heard: Heard) -> None:
        splitter = self._splitter
        if not isinstance(splitter, UtteranceSplitter) or splitter.rate_hz != heard.rate_hz:
            self._drop_splitter()
            splitter = self._splitter = UtteranceSplitter(
                heard.rate_hz, silence_ms=self._silence_ms, max_s=self._max_utterance_s
            )
        self._take(splitter, splitter.feed(pcm), heard)

    async def _judge(self, pcm: Pcm, heard: Heard, judges: SpeechJudges) -> None:
        splitter = self._splitter
        if not isinstance(splitter, JudgedSplitter) or splitter.rate_hz != heard.rate_hz:
            self._drop_splitter()
            judge = await judges.network(rate_to_judge(heard.rate_hz))
            if judge is None:
                self._judges = None
                self._feed(pcm, heard)
                return
            splitter = self._splitter = JudgedSplitter(
                heard.rate_hz, judge, silence_ms=self._silence_ms, max_s=self._max_utterance_s
            )
        self._stop_timer()
        utterances = await splitter.feed(pcm)
        if splitter is self._splitter:  # else it was restarted meanwhile
            self._take(splitter, utterances, heard)

    def _take(self, splitter: UtteranceSplitter | JudgedSplitter, utterances: list[Pcm], heard: Heard) -> None:
        for utterance in utterances:
            self._ended(utterance, heard)
        if splitter.holds_speech:
            begins, since = not self._n_told, self._n_told
            self._n_told = splitter.n_held
            self._on_speech(splitter.held_since(since), heard, begins)
        self._stop_timer()
        # A client that sends an utterance and then nothing has ended it as well.
        self._idle = asyncio.get_running_loop().call_later(self._silence_ms / 1000, self._idled, splitter, heard)

    def _idled(self, splitter: UtteranceSplitter | JudgedSplitter, heard: Heard) -> None:
        self._idle = None
        if splitter.holds_speech or heard.request_id is not None:
            self._ended(splitter.flush(), heard)

    def _drop_splitter(self) -> None:
        if isinstance(self._splitter, JudgedSplitter):
            self._splitter.close()
        self._splitter = None
        self._n_told = 0

    def _ended(self, utterance: Pcm, heard: Heard) -> None:
        n_told, self._n_told = self._n_told, 0
        self._on_utterance(Utterance(utterance, heard.rate_hz, heard.mode, heard.request_id, n_told))

    def _stop_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


def _check_length(heard: Heard) -> None:
    """Whole samples, as far as the length tells."""
    data = heard.data
    if isinstance(data, bytes):
        if len(data) % 2:
            raise ProtocolError("invalid_message", "binary audio is PCM16: an even number of bytes")
        return
    if len(data) % 4 or "=" in data[:-2]:
        raise ProtocolError("invalid_message", "audio: data is not base64", request_id=heard.request_id)
    if (len(data) // 4 * 3 - data.count("=", -2)) % 2:
        raise ProtocolError(
            "invalid_message", "audio: data is PCM16: an even number of bytes", request_id=heard.request_id
        )


def _samples(data: bytes | str, request_id: str | None) -> Pcm:
    if isinstance(data, str):
        try:
            data = binascii.a2b_base64(data, strict_mode=True)
        except ValueError:  # binascii.Error, or characters beyond ASCII
            raise ProtocolError("invalid_message", "audio: data is not base64", request_id=request_id) from None
    return np.frombuffer(data, "<i2").astype(np.int16)
