"""Piper: VITS voices on onnxruntime. GPL-3 (piper-tts and espeak-ng): imported in this model's worker process only.

espeak's state is global to the process: one worker speaks one thing at a time, and one voice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.options import BackendOptions, Threads, cores, variable
from local_ai_server.backends.tts.errors import UnknownVoice
from local_ai_server.backends.tts.piper_voices import installed, read_config, speakers
from local_ai_server.backends.tts.speaking import Sound, SpeakingModel
from model_worker.model import Cancelled


class Options(BackendOptions):
    """How a Piper voice is run."""

    model_path: Path | None = variable("LOCAL_TTS_MODEL_PATH")
    voice: str | None = variable("LOCAL_TTS_VOICE")
    """Of a voice with several speakers: `<voice>#<speaker>`, or the speaker alone."""
    threads: Threads = variable("LOCAL_TTS_THREADS", default=max(1, cores() // 2))
    speed: float = variable("LOCAL_TTS_SPEED", default=1.0, ge=0.5, le=2.0)
    variation: float = variable("LOCAL_TTS_VARIATION", default=1.0, ge=0.0, le=2.0)
    """How much one saying of a sentence differs from the next, as a share of what the voice was made with; 0: not."""


def plan(options: Options, machine: Machine) -> Plan:
    """One voice, one sentence at a time."""
    path = BACKEND.model_file(options)
    try:
        voices = speakers(path, read_config(path))
    except ValueError as error:
        raise BackendUnusable(f"LOCAL_TTS_MODEL_PATH: {error}") from None
    voice = path.stem if options.voice is None else options.voice
    voice = voice if voice in voices else f"{path.stem}#{voice}"
    if voice not in voices:
        listed = ", ".join(list(voices)[:80])
        raise BackendUnusable(f"LOCAL_TTS_VOICE: {path.stem} has no {options.voice!r}; choose one of: {listed}")
    load = {"model_path": str(path), "voice": voice, "threads": options.threads, "speed": options.speed}
    load |= {"variation": options.variation}
    traits = {
        "voices": list(voices),
        "voice": voice,
        "speed": options.speed,
        "other_voices": {name: str(file) for name, file in installed(path).items() if name != path.stem},
    }
    return Plan(load=load, model_path=path, threads=options.threads, traits=traits)


BACKEND: Final = Backend(
    kind="tts",
    name="piper",
    model="local_ai_server.backends.tts.piper:PiperModel",
    options=Options,
    plan=plan,
    modules=("piper",),
    extra="piper",
    default_model="en_US-joe-medium",
    canary=("speak", {"text": "Ready to talk."}),
)

_WARM_TEXTS: Final = (
    "Hello, how can I help you today?",
    "We are open from nine to five, Monday to Friday.",
    "Yes.",
    "One moment, please.",
    "Of course. I will be glad to take a message for you, if you like.",
)


class PiperModel(SpeakingModel):
    """One voice, with all of its speakers. `speak` streams a chunk a sentence, ready for the wire."""

    def load(
        self,
        *,
        model_path: str,
        voice: str | None = None,
        threads: int = 1,
        speed: float = 1.0,
        variation: float = 1.0,
    ) -> None:
        """`model_path`: the voice's .onnx, its .onnx.json beside it. `speed` above 1 talks faster.

        `variation`: of the noise that the voice was made with; at 0 a sentence sounds the same each time.
        """
        import onnxruntime  # noqa: PLC0415 - this process's native stack: nothing else may import it before
        from piper import PiperVoice  # noqa: PLC0415
        from piper.config import PiperConfig, SynthesisConfig  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads wait hot between operators and take the core that the LLM beside us needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(model_path)
        fields = read_config(path)
        self._config: Any = PiperConfig.from_dict(fields)
        # PiperVoice.load has no thread option, so the session is made here.
        session = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
        self._piper: Any = PiperVoice(session=session, config=self._config)
        self._synthesis_class: Any = SynthesisConfig
        self._speakers = speakers(path, fields)
        self._others = tuple(name for name in installed(path) if name != path.stem)
        self._voice = voice or path.stem
        self.speed = speed
        self._variation = variation
        self._learn_level(_WARM_TEXTS)  # several: onnxruntime sizes its memory by the lengths it has met

    @property
    def voices(self) -> Sequence[str]:
        return tuple(self._speakers)

    @property
    def default_voice(self) -> str:
        return self._voice

    def language(self, voice: str) -> str:
        return str(self._config.espeak_voice)

    def check_voice(self, voice: str | None) -> str:
        """As `SpeakingModel.check_voice`; says how another installed voice is had."""
        if voice is not None and voice in self._others:
            hint = f"; {voice} is installed: switch_model with its tts_model_path loads it"
            raise UnknownVoice(voice, self.voices, hint=hint)
        return super().check_voice(voice)

    def _sounds(self, text: str, voice: str, speed: float, cancelled: Cancelled) -> Iterator[Sound]:
        """The sentences are known before the first is made, so that the first need not wait for the second."""
        synthesis = self._synthesis_class(
            speaker_id=self._speakers[voice],
            length_scale=self._config.length_scale / speed,
            noise_scale=self._config.noise_scale * self._variation,
            noise_w_scale=self._config.noise_w_scale * self._variation,
            normalize_audio=False,
        )
        sentences = [phonemes for phonemes in self._piper.phonemize(text) if phonemes]
        for phonemes in sentences:
            if cancelled.is_set():
                return
            ids = self._piper.phonemes_to_ids(phonemes)
            samples = self._piper.phoneme_ids_to_audio(ids, synthesis)
            closing = text if phonemes is sentences[-1] else phonemes[-1]
            yield Sound(np.atleast_1d(samples).astype(np.float32, copy=False), self._config.sample_rate, closing)
