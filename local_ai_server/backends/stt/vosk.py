"""Vosk (Kaldi): streaming, small, in some twenty languages; one model is one language."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.options import BackendOptions, variable
from local_ai_server.backends.stt.streaming import Heard, StreamingModel, Utterance
from local_ai_server.backends.stt.voice_gate import VoiceGate
from local_ai_server.catalog import find_model
from voice_wire.audio import SAMPLE_RATES_HZ, Pcm

_CONCURRENCY: Final = 2
"""Streams decoded at once; they share the model and hold no lock of Python's meanwhile."""


class Options(BackendOptions):
    """Which model."""

    model_path: Path | None = variable("LOCAL_STT_MODEL_PATH")
    """A folder as Vosk's models are unpacked: `am/`, `conf/`, `graph/`."""


def plan(options: Options, machine: Machine) -> Plan:
    """Runs on one processor core a stream."""
    path = BACKEND.model_file(options)
    if not (path / "am" / "final.mdl").is_file() and not (path / "final.mdl").is_file():
        raise BackendUnusable(
            f"LOCAL_STT_MODEL_PATH: {path} is no Vosk model (it has no am/final.mdl); give the unpacked folder of one, "
            "such as vosk-model-small-en-us-0.15"
        )
    return Plan(load={"model_path": str(path), "voice_path": _voice_path()}, model_path=path, concurrency=_CONCURRENCY)


def _voice_path() -> str | None:
    """The voice-activity network, where it and its runtime are installed (they come with the engine)."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    try:
        return str(find_model("silero_vad"))
    except FileNotFoundError:
        return None


BACKEND: Final = Backend(
    kind="stt",
    name="vosk",
    model="local_ai_server.backends.stt.vosk:VoskModel",
    options=Options,
    plan=plan,
    modules=("vosk",),
    extra="vosk",
    canary=("canary", {}),
    streams=True,
)


class VoskModel(StreamingModel):
    """One Vosk model."""

    flush_ms = 400.0

    def load(self, *, model_path: str, voice_path: str | None = None) -> None:
        """`voice_path`: Silero's network; without it noise becomes words."""
        import vosk  # noqa: PLC0415 - this process's native stack

        vosk.SetLogLevel(-1)
        self._vosk: Any = vosk
        self._model: Any = vosk.Model(model_path)
        self.rate_hz = _rate_hz(Path(model_path))
        if voice_path is not None and self.rate_hz in (8000, 16_000):
            self.voice_gate = VoiceGate(voice_path, self.rate_hz)

    def begin(self, language: str | None) -> Utterance:
        """The model's language is what it was trained for, whatever is asked for."""
        recogniser = self._vosk.KaldiRecognizer(self._model, self.rate_hz)
        recogniser.SetWords(True)
        return _VoskUtterance(recogniser)


class _VoskUtterance:
    def __init__(self, recogniser: Any) -> None:
        self._recogniser = recogniser
        self._ended: list[str] = []
        """Text of the segments that Vosk ended by itself, at pauses."""
        self._confidences: list[float] = []

    def accept(self, pcm: Pcm) -> None:
        if self._recogniser.AcceptWaveform(pcm.astype("<i2", copy=False).tobytes()):
            self._keep(json.loads(self._recogniser.Result()))

    def text(self) -> str:
        return self._joined(json.loads(self._recogniser.PartialResult()).get("partial", ""))

    def heard(self) -> Heard:
        # Vosk weighs words (SetPartialWords) over a lattice that lacks the last ones: no figures, but all the words.
        return Heard(self.text())

    def end(self) -> Heard:
        self._keep(json.loads(self._recogniser.FinalResult()))
        return Heard(self._joined(""), _mean(self._confidences))

    def close(self) -> None:
        pass

    def _keep(self, result: dict[str, Any]) -> None:
        if result.get("text"):
            self._ended.append(result["text"])
            self._confidences += _confidences(result.get("result", ()))

    def _joined(self, partial: str) -> str:
        return " ".join(filter(None, (*self._ended, partial)))


def _confidences(words: Sequence[dict[str, Any]]) -> list[float]:
    return [float(word["conf"]) for word in words if "conf" in word]


def _mean(confidences: Sequence[float]) -> float | None:
    return sum(confidences) / len(confidences) if confidences else None


def _rate_hz(model: Path) -> int:
    """What the features are computed at: 16 kHz, or 8 kHz for telephone models."""
    for conf in (model / "conf" / "mfcc.conf", model / "mfcc.conf"):
        if conf.is_file():
            found = re.search(r"^--sample-frequency=(\d+)", conf.read_text(encoding="utf-8"), re.MULTILINE)
            if found and int(found[1]) in SAMPLE_RATES_HZ:
                return int(found[1])
    return 16_000
