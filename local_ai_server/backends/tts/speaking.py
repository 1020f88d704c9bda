"""What all text-to-speech models do alike: check the request, cut the text, level the phrases, encode them."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from local_ai_server.backends.tts.errors import SpeechRefused, UnknownVoice
from local_ai_server.backends.tts.phrase_audio import Samples, set_level, trim
from local_ai_server.backends.tts.voice_level import VoiceLevel
from model_worker.model import Answer, Cancelled
from spoken_forms.spoken_form import spoken_form
from voice_core.phrases import PhraseCutter
from voice_core.speakable import speakable
from voice_wire.audio import AudioFormat, encode, resample

MIN_SPEED: Final = 0.5
MAX_SPEED: Final = 2.0
MAX_CHARACTERS: Final = 20_000
"""About twenty minutes of speech: no answer on a telephone, and no request that may hold the only voice."""
_PHRASE_WORDS: Final = 24


@dataclass(frozen=True, slots=True)
class Sound:
    """A phrase as an engine gave it."""

    samples: Samples
    rate_hz: int
    closing: str
    """The text, or the end of it: its last mark decides what pause follows."""


class SpeakingModel(ABC):
    """Base of the models that speak phrase by phrase. A subclass gives `voices`, `default_voice` and `_sounds`."""

    speed: float = 1.0
    """Where a request names none."""

    def __init__(self) -> None:
        self._levels: dict[str, VoiceLevel] = {}

    @property
    @abstractmethod
    def voices(self) -> Sequence[str]:
        """Those that a request may name."""

    @property
    @abstractmethod
    def default_voice(self) -> str:
        """Where a request names none."""

    def language(self, voice: str) -> str:
        """What `voice` speaks, as `spoken_form` takes it; empty where that is not known."""
        return ""

    @abstractmethod
    def _sounds(self, text: str, voice: str, speed: float, cancelled: Cancelled) -> Iterator[Sound]:
        """`text`, which is not empty, phrase by phrase, each made when it is asked for."""

    def describe(self, body: bytes, cancelled: Cancelled) -> Answer:
        """What can be asked for: {"voices", "voice", "speed"}."""
        return {"voices": list(self.voices), "voice": self.default_voice, "speed": self.speed}, b""

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
        """`text` as audio of the format named: a chunk a phrase, {"audio_ms"} in its header.

        What nobody says aloud (markup, emoji, control characters) is left out; figures and what is written short are
        said in the voice's language. A text that is in words already, as the engine sends it, stays as it is.
        Raises `AudioFormatError`, `UnknownVoice` and `SpeechRefused` for what cannot be.
        """
        audio_format = AudioFormat.from_fields({"encoding": encoding, "sample_rate_hz": sample_rate_hz})
        voice = self.check_voice(voice)
        speed = checked_speed(self.speed if speed is None else speed)
        said = spoken_form(clean(text), self.language(voice))
        total_ms = 0.0
        level = self._levels.setdefault(voice, VoiceLevel())
        for sound in self._sounds(said, voice, speed, cancelled) if said else ():
            if cancelled.is_set():
                break
            trimmed = trim(sound.samples, sound.rate_hz, sound.closing)
            level.hear(trimmed, sound.rate_hz)
            samples = set_level(trimmed, level.gain)
            if not samples.size:
                continue
            pcm = np.rint(samples * 32767).astype(np.int16)
            audio = encode(resample(pcm, sound.rate_hz, sample_rate_hz), audio_format.encoding)
            audio_ms = 1000 * audio_format.duration_s(len(audio))
            total_ms += audio_ms
            yield {"audio_ms": audio_ms}, audio
        return {"audio_ms": total_ms}, b""

    def check_voice(self, voice: str | None) -> str:
        """The voice that `voice` means. Raises `UnknownVoice`."""
        if voice is None or voice == self.default_voice:
            return self.default_voice
        if voice not in self.voices:
            raise UnknownVoice(voice, self.voices)
        return voice

    def _learn_level(self, texts: Sequence[str]) -> None:
        """Speaks `texts` to nobody: then the default voice's level is known and the engine is warm."""
        level = self._levels.setdefault(self.default_voice, VoiceLevel())
        for text in texts:
            for sound in self._sounds(text, self.default_voice, self.speed, Cancelled()):
                level.hear(trim(sound.samples, sound.rate_hz, sound.closing), sound.rate_hz)


def checked_speed(speed: Any) -> float:
    """`speed` as a number within the limits. Raises `SpeechRefused`."""
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not MIN_SPEED <= speed <= MAX_SPEED:
        raise SpeechRefused(f"speed {speed!r} is not a number from {MIN_SPEED} to {MAX_SPEED}")
    return float(speed)


def clean(text: str) -> str:
    """What of `text` is said aloud. Raises `SpeechRefused` where that is too long for one request."""
    if len(text) > MAX_CHARACTERS:
        raise SpeechRefused(f"{len(text)} characters are too long to be spoken at once; send {MAX_CHARACTERS} at most")
    # espeak takes no NUL; other controls say nothing. Lone surrogates are no text.
    return speakable("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text))


def phrases(text: str, language: str = "en", words: int = _PHRASE_WORDS) -> list[str]:
    """`text` sentence by sentence, long sentences at commas and conjunctions about `words` in."""
    cutter = PhraseCutter(first_words=words, max_words=words, language=language)
    return [phrase.text for phrase in (*cutter.feed(text), *cutter.end())]
