"""What Whisper's engines make of a line on which nobody speaks, and whether the guards cost words of those who do.

    python -m benchmarks.stt_noise
    python -m benchmarks.stt_noise --backend whisper_cpp --model models/stt/ggml-tiny.en.bin --every 7

Every sound of tools/line_noise.py at its lengths and levels must come out empty. The speech is Piper's in three
pitches, short answers and sentences, clean, quiet and with noise over it, all through mu-law.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import yaml

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.registry import backend
from local_ai_server.backends.stt.whisper_utterances import Decoded, UtteranceModel
from local_ai_server.catalog import find_model
from tools.line_noise import RATE_HZ, SOUNDS, Signal, examples, to_pcm
from voice_wire.audio import Pcm, encode_mulaw, resample

SHORT_ANSWERS: Final = (
    "Yes.", "No.", "Nine.", "Okay.", "Thank you.", "Five.", "Two.", "Hello?", "Goodbye.", "Susan.", "Peter.",
    "John Miller.", "Martha Jones.", "Yes, please.", "No, thanks.", "Tomorrow.", "Monday.", "At ten.", "Sure.",
    "Right.", "What?", "Stop.", "Help.", "Maybe.",
)  # fmt: skip
PITCHES: Final = (1.0, 1.25, 0.88)
CONDITIONS: Final = (
    ("clean", -15.0, None, 0.0),
    ("quiet", -38.0, None, 0.0),
    ("pink noise 15 dB", -15.0, "pink noise", 15.0),
    ("street 10 dB", -15.0, "street", 10.0),
    ("hum 12 dB", -15.0, "hum 50 Hz", 12.0),
)
"""Name, level in dBFS of the loudest 20 ms, sound over it, signal-to-noise ratio in dB."""
_FIGURES: Final = {"2": "two", "5": "five", "9": "nine", "10": "ten"}
_MULAW: Final = {"encoding": "mulaw", "sample_rate_hz": RATE_HZ}


class Line(NamedTuple):
    text: str
    condition: str
    pcm: Pcm


class Ear:
    """A model, with what it decoded before the guards looked at it."""

    def __init__(self, name: str, model_path: Path | None, settings: dict[str, str]) -> None:
        import importlib  # noqa: PLC0415 - the engine is chosen by name

        chosen = backend("stt", name)
        options = chosen.options.from_environment(settings)
        if model_path is not None:
            options = options.changed({"model_path": str(model_path)})
        module, _, class_name = chosen.model.partition(":")
        model: Any = getattr(importlib.import_module(module), class_name)()
        model.load(**chosen.plan(options, Machine()).load)
        assert isinstance(model, UtteranceModel), f"{name} is not one of Whisper's engines"
        self._model, self._raw, self._never = model, list[Decoded](), threading.Event()
        decode = model._decode

        def recording(*arguments: Any) -> Decoded | None:
            decoded = decode(*arguments)
            if decoded is not None:
                self._raw.append(decoded)
            return decoded

        model._decode = recording  # type: ignore[method-assign, assignment]

    def hear(self, pcm: Pcm) -> tuple[str, Decoded | None]:
        """What is passed on; and what the last pass made of it, None when it was not even asked."""
        self._raw.clear()
        answer, _ = self._model.transcribe(encode_mulaw(pcm), self._never, **_MULAW)  # type: ignore[arg-type]
        return str(answer["text"]), self._raw[-1] if self._raw else None


def words(text: str) -> list[str]:
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split()
    return [_FIGURES.get(word, word) for word in kept]


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein's distance."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[:], i
        for j, other in enumerate(heard, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return row[-1]


def lines() -> Iterator[Line]:
    """Everything that is said, in every pitch and condition."""
    from piper import PiperVoice  # noqa: PLC0415 - GPL-3, only in this benchmark's own process

    questions = yaml.safe_load((Path(__file__).parent / "data" / "turn_questions.yaml").read_text(encoding="utf-8"))
    said = [q["say"] if isinstance(q["say"], str) else " ".join(q["say"]) for kind in questions.values() for q in kind]
    voice = PiperVoice.load(find_model("en_US-joe-medium"))
    for i, text in enumerate((*said, *SHORT_ANSWERS)):
        chunks = list(voice.synthesize(text))
        spoken = np.concatenate([chunk.audio_int16_array for chunk in chunks])
        narrow = resample(spoken, chunks[0].sample_rate, RATE_HZ).astype(np.float64)
        for pitch in PITCHES:
            at = np.arange(0, narrow.size - 1, pitch)
            clip = np.pad(np.interp(at, np.arange(narrow.size), narrow), (RATE_HZ // 5, RATE_HZ // 3))
            for name, dbfs, sound, snr_db in CONDITIONS:
                yield Line(text, name, _mixed(clip, dbfs, sound, snr_db, seed=i))


def _mixed(clip: Signal, dbfs: float, sound: str | None, snr_db: float, *, seed: int) -> Pcm:
    power = np.mean(clip[: clip.size // 160 * 160].reshape(-1, 160) ** 2, axis=1)
    speech = clip * (10 ** (dbfs / 20) / np.sqrt(power.max()))
    if sound is not None:
        noise = SOUNDS[sound](np.random.default_rng(seed), clip.size / RATE_HZ + 0.1)[: clip.size]
        speech = speech + noise * np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    return to_pcm(speech)


def measure_noise(ear: Ear, every: int) -> None:
    asked = made = 0
    invented = []
    for example in list(examples())[::every]:
        text, raw = ear.hear(example.pcm)
        asked += 1
        made += raw is not None and bool(raw.text)
        if text:
            invented.append(f"  {example.name}, {example.seconds} s, {example.dbfs} dBFS: {text!r} ({raw})")
    print(f"no speech: {asked} sounds, {made} with text of Whisper's, {len(invented)} passed on", *invented, sep="\n")


def measure_speech(ear: Ear, every: int) -> None:
    said = unguarded = guarded = dropped = 0
    for line in list(lines())[::every]:
        text, raw = ear.hear(line.pcm)
        expected = words(line.text)
        said += len(expected)
        guarded += word_errors(expected, words(text))
        unguarded += word_errors(expected, words(raw.text if raw is not None else ""))
        if raw is not None and raw.text and not text:
            dropped += 1
            print(f"  dropped: {line.text!r} ({line.condition}), heard as {raw}")
    print(f"speech: {said} words, {unguarded} wrong without the guards, {guarded} with them, {dropped} lines dropped")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stt_noise", description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="faster_whisper", choices=("faster_whisper", "whisper_cpp"))
    parser.add_argument("--model", type=Path, help="the engine's model; left out: its default")
    parser.add_argument("--every", type=int, default=1, help="take one example in N (3, 7 and 11 mix all kinds)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of the engine")
    chosen = parser.parse_args()
    ear = Ear(chosen.backend, chosen.model, dict(pair.split("=", 1) for pair in chosen.set))
    measure_noise(ear, chosen.every)
    measure_speech(ear, chosen.every)


if __name__ == "__main__":
    main()
