"""What Whisper's engines have in common: one utterance in any wire format, windows, second tries and the guards."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from local_ai_server.backends.stt.decoding_guards import (
    SILENCE_DBFS,
    Samples,
    is_invented,
    loudest_dbfs,
    quietest_split,
)
from model_worker.model import Answer, Cancelled
from voice_wire.audio import AudioFormat, decode, resample

RATE_HZ: Final = 16_000
FULL_WINDOW_S: Final = 30
LEAD_S: Final = 0.1
"""Silence put before the audio. Speech that begins at the first sample loses its first sound ("e-repair")."""
_WARM_S: Final = 2.0
_TINY_WIDTH: Final = 384

Task = Literal["transcribe", "translate"]
"""translate: into English, whatever is spoken."""


class TaskNotSupported(Exception):
    """The model cannot do what it is asked for; the message says which can."""


class UnknownLanguage(Exception):
    """Not a language of Whisper's."""


@dataclass(frozen=True, slots=True)
class Decoded:
    text: str
    no_speech_probability: float
    mean_log_probability: float
    """Over the tokens with the end's."""
    tokens: int
    """With the end's."""
    looped: bool
    """The text goes round or came to no end."""


def default_window_s(width: int) -> float:
    """The encoder's window for short utterances that costs no words, measured (docs/stt.md), by the model's width."""
    return 15.0 if width <= _TINY_WIDTH else 20.0


class UtteranceModel:
    """Base of the engines: they set `_language` and `_context_s` in `load`, and decode one window."""

    _language: str
    _context_s: float
    _translates = False

    def canary(self, body: bytes, cancelled: Cancelled) -> Answer:
        """Two seconds of noise through encoder and decoder, both windows: memory is claimed before the first call."""
        noise = np.random.default_rng(0).normal(0, 0.1, round(RATE_HZ * _WARM_S)).astype(np.float32)
        for window_s in {self._context_s, float(FULL_WINDOW_S)}:
            self._decode(noise, window_s, self._language, "transcribe", cancelled)
        return {}, b""

    def transcribe(
        self,
        body: bytes,
        cancelled: Cancelled,
        *,
        encoding: str = "linear16",
        sample_rate_hz: int = 16_000,
        language: str | None = None,
        task: Task = "transcribe",
    ) -> Answer:
        """{"text", "language", "confidence", "no_speech_probability", "audio_ms", "decode_ms"} of one utterance.

        `language` of the answer is what was listened for. Raises `TaskNotSupported` and `UnknownLanguage`.
        """
        began = time.perf_counter()
        if task == "translate" and not self._translates:
            raise TaskNotSupported("this model does not translate; load a multilingual one of faster_whisper")
        language = self._language_heard(language or self._language)
        audio_format = AudioFormat.from_fields({"encoding": encoding, "sample_rate_hz": sample_rate_hz})
        pcm = resample(decode(body, audio_format.encoding), sample_rate_hz, RATE_HZ)
        samples: Samples = pcm.astype(np.float32) / np.float32(32768)
        parts = [] if loudest_dbfs(samples, RATE_HZ) < SILENCE_DBFS else _parts(samples)
        decoded = []
        for part in parts:
            found = self._transcribe_part(part, language, task, cancelled)
            if found is None or cancelled.is_set():
                return {}, b""
            decoded.append(found)
        spoken = [part for part in decoded if part.text]
        tokens = sum(part.tokens for part in spoken)
        mean = sum(part.mean_log_probability * part.tokens for part in spoken) / tokens if tokens else 0.0
        return {
            "text": " ".join(part.text for part in spoken),
            "language": language,
            "confidence": round(math.exp(mean), 4) if spoken else None,
            "no_speech_probability": round(min((part.no_speech_probability for part in decoded), default=1.0), 4),
            "audio_ms": round(1000 * audio_format.duration_s(len(body)), 1),
            "decode_ms": round(1000 * (time.perf_counter() - began), 1),
        }, b""

    def _transcribe_part(self, samples: Samples, language: str, task: Task, cancelled: Cancelled) -> Decoded | None:
        fits = samples.size / RATE_HZ + LEAD_S <= self._context_s
        decoded = self._decode(samples, self._context_s if fits else FULL_WINDOW_S, language, task, cancelled)
        if decoded is None:
            return None
        if decoded.looped and fits and self._context_s < FULL_WINDOW_S and decoded.no_speech_probability < 0.6:
            decoded = self._decode(samples, FULL_WINDOW_S, language, task, cancelled)
            if decoded is None:
                return None
        if decoded.looped or is_invented(decoded.text, decoded.no_speech_probability, decoded.mean_log_probability):
            return Decoded("", decoded.no_speech_probability, 0.0, 0, decoded.looped)
        return decoded

    def _language_heard(self, language: str) -> str:
        """What the model listens for when it is asked for `language`. Raises `UnknownLanguage`."""
        raise NotImplementedError

    def _decode(
        self, samples: Samples, window_s: float, language: str, task: Task, cancelled: Cancelled
    ) -> Decoded | None:
        """One pass over at most 30 s; None when it was cancelled on the way."""
        raise NotImplementedError


def _parts(samples: Samples) -> list[Samples]:
    """Pieces that fit into Whisper's window, split where it is quiet."""
    parts = []
    while samples.size > (FULL_WINDOW_S - LEAD_S) * RATE_HZ:
        at = quietest_split(samples, RATE_HZ, earliest_s=20, latest_s=FULL_WINDOW_S - 1)
        parts.append(samples[:at])
        samples = samples[at:]
    return [*parts, samples]
