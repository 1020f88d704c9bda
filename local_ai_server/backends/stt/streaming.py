"""What streaming recognisers have in common: streams by name, audio in any wire format, silence that flushes them.

A recogniser is some 300 ms behind what it was given. A speculative `finish` must have the last word all the same, and
the stream may go on after it: so it is given that much silence, which to the recogniser is a somewhat longer pause.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from local_ai_server.backends.stt.decoding_guards import SILENCE_DBFS, loudest_dbfs
from local_ai_server.backends.stt.voice_gate import VoiceGate, VoiceListener
from model_worker.model import Answer, Cancelled
from voice_wire.audio import AudioFormat, Pcm, StreamingResampler, decode

MAX_STREAMS: Final = 256
"""Streams one worker keeps; beyond it the one that was silent longest is forgotten, and told so when it goes on."""
_PIECE_S: Final = 0.5
"""Between two looks at the cancel token."""
_WARM_S: Final = 1.0


class StreamLost(Exception):
    """Audio was to go on a stream that is not here, or not so far: its owner must send all of it again."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What an utterance says. `confidence` is 0 to 1, None where the engine gives none."""

    text: str
    confidence: float | None = None


class Utterance(Protocol):
    """One utterance inside an engine. `end` or `close` is called once, and nothing after it."""

    def accept(self, pcm: Pcm) -> None:
        """More audio at the model's rate; decodes what it can."""

    def text(self) -> str:
        """What is known so far; cheap."""

    def heard(self) -> Heard:
        """What is known so far, with all that can be said of it."""

    def end(self) -> Heard:
        """No audio follows: all of it."""

    def close(self) -> None:
        """Nobody wants it."""


@dataclass(eq=False, slots=True)
class _Stream:
    utterance: Utterance
    format: AudioFormat
    resampler: StreamingResampler
    voice: VoiceListener | None = None
    n_bytes: int = 0
    loudest_dbfs: float = float("-inf")
    flushed: Heard | None = None
    """What a speculative finish heard; None as soon as audio follows."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_silent(self) -> bool:
        return self.loudest_dbfs < SILENCE_DBFS or (self.voice is not None and not self.voice.heard)

    def take(self, body: bytes, cancelled: Cancelled) -> None:
        """Decodes `body` in pieces until it ends or is cancelled; `n_bytes` says how far it came."""
        step = self.format.bytes_for_ms(1000 * _PIECE_S)
        for at in range(0, len(body), step):
            if cancelled.is_set():
                return
            piece = body[at : at + step]
            pcm = self.resampler.feed(decode(piece, self.format.encoding))
            self.loudest_dbfs = max(self.loudest_dbfs, _level(pcm, self.resampler.to_hz))
            self.flushed = None
            if self.voice is not None:
                self.voice.accept(pcm)
            self.utterance.accept(pcm)
            self.n_bytes += len(piece)

    def pad(self, ms: float) -> None:
        """Silence after what was said."""
        self.utterance.accept(self.resampler.feed(np.zeros(round(self.format.sample_rate_hz * ms / 1000), np.int16)))


class StreamingModel:
    """Base of the models; they give `begin`, `rate_hz` and `flush_ms`, and may run on several threads at once."""

    rate_hz: int = 16_000
    flush_ms: float = 480.0
    """How much silence brings out the last word."""
    voice_gate: VoiceGate | None = None
    """For engines that make words of what is no speech."""

    def __init__(self) -> None:
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, language: str | None) -> Utterance:
        """A new utterance of the engine."""
        raise NotImplementedError

    def canary(self, body: bytes, cancelled: Cancelled) -> Answer:
        """A second of noise through the model: memory is claimed before the first call."""
        noise = np.random.default_rng(0).normal(0, 3000, round(self.rate_hz * _WARM_S)).astype(np.int16)
        utterance = self.begin(None)
        utterance.accept(noise)
        utterance.end()
        return {}, b""

    def feed(
        self,
        body: bytes,
        cancelled: Cancelled,
        *,
        stream: str,
        position: int = 0,
        encoding: str = "linear16",
        sample_rate_hz: int = 16_000,
        language: str | None = None,
    ) -> Answer:
        """{"text": all so far, "position": bytes taken}. `position` is where in the utterance `body` begins, in bytes.

        0 begins a stream that is not known. Bytes that were taken before are skipped; after a gap `StreamLost`.
        """
        found = self._open(stream, position, encoding, sample_rate_hz, language)
        with found.lock:
            found.take(body[max(0, found.n_bytes - position) :], cancelled)
            text = "" if found.is_silent else found.utterance.text()
            return {"text": tidy(text), "position": found.n_bytes}, b""

    def finish(
        self,
        body: bytes,
        cancelled: Cancelled,
        *,
        stream: str,
        position: int = 0,
        encoding: str = "linear16",
        sample_rate_hz: int = 16_000,
        language: str | None = None,
        keep: bool = False,
    ) -> Answer:
        """`feed`'s last piece, then what was said: {"text", "confidence", "audio_ms", "decode_ms", "position"}.

        `keep` leaves the stream open for more.
        """
        began = time.perf_counter()
        found = self._open(stream, position, encoding, sample_rate_hz, language)
        with found.lock:
            found.take(body[max(0, found.n_bytes - position) :], cancelled)
            if cancelled.is_set():
                return {}, b""
            if keep:
                if found.flushed is None:
                    found.pad(self.flush_ms)
                    found.flushed = found.utterance.heard()
                heard = found.flushed
            else:
                with self._lock:
                    self._streams.pop(stream, None)
                found.pad(self.flush_ms)
                heard = found.utterance.end()
            return _result(heard, found, began), b""

    def drop(self, body: bytes, cancelled: Cancelled, *, stream: str) -> Answer:
        """Forgets the stream, if there is one."""
        with self._lock:
            found = self._streams.pop(stream, None)
        if found is not None:
            with found.lock:
                found.utterance.close()
        return {}, b""

    def transcribe(
        self,
        body: bytes,
        cancelled: Cancelled,
        *,
        encoding: str = "linear16",
        sample_rate_hz: int = 16_000,
        language: str | None = None,
    ) -> Answer:
        """A whole utterance at once; what `finish` gives."""
        began = time.perf_counter()
        stream = self._new(encoding, sample_rate_hz, language)
        stream.take(body, cancelled)
        if cancelled.is_set():
            stream.utterance.close()
            return {}, b""
        stream.pad(self.flush_ms)
        return _result(stream.utterance.end(), stream, began), b""

    def _open(self, name: str, position: int, encoding: str, sample_rate_hz: int, language: str | None) -> _Stream:
        with self._lock:
            found = self._streams.get(name)
            if found is not None:
                self._streams.move_to_end(name)
        if found is None:
            if position > 0:
                raise StreamLost(f"stream {name} is not known here")
            found = self._new(encoding, sample_rate_hz, language)  # may take its time: others go on
            self._keep(name, found)
        elif position > found.n_bytes:
            raise StreamLost(f"stream {name} has {found.n_bytes} bytes, and {position} were to be there")
        return found

    def _keep(self, name: str, stream: _Stream) -> None:
        with self._lock:
            self._streams[name] = stream
            forgotten = self._streams.popitem(last=False)[1] if len(self._streams) > MAX_STREAMS else None
        if forgotten is not None:
            with forgotten.lock:
                forgotten.utterance.close()

    def _new(self, encoding: str, sample_rate_hz: int, language: str | None) -> _Stream:
        audio_format = AudioFormat.from_fields({"encoding": encoding, "sample_rate_hz": sample_rate_hz})
        resampler = StreamingResampler(sample_rate_hz, self.rate_hz)
        voice = self.voice_gate.listen() if self.voice_gate is not None else None
        return _Stream(self.begin(language), audio_format, resampler, voice)


def tidy(text: str) -> str:
    """A recogniser's words as a reader expects them: single spaces, no shouting, a capital at the beginning."""
    words = " ".join(text.split())
    if words.upper() == words:
        words = words.lower()
    if words.lower() == words:
        words = re.sub(r"\bi(?=$|[ '])", "I", words) if words.isascii() else words
        return words[:1].upper() + words[1:]
    return words


def _result(heard: Heard, stream: _Stream, began: float) -> dict[str, Any]:
    text = "" if stream.is_silent else tidy(heard.text)
    return {
        "text": text,
        "confidence": round(heard.confidence, 4) if text and heard.confidence is not None else None,
        "audio_ms": round(1000 * stream.format.duration_s(stream.n_bytes), 1),
        "decode_ms": round(1000 * (time.perf_counter() - began), 1),
        "position": stream.n_bytes,
    }


def _level(pcm: Pcm, rate_hz: int) -> float:
    """Of the loudest 20 ms; of all there is where it is less."""
    samples = pcm.astype(np.float32) / np.float32(32768)
    return loudest_dbfs(np.pad(samples, (0, max(0, rate_hz // 50 - samples.size))), rate_hz)
