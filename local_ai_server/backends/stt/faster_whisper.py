"""Whisper by faster-whisper (CTranslate2): whole utterances, greedy, in a window shortened to what was said.

Whisper pads all audio to 30 s, and most of a phone turn's time goes into encoding that silence. The encoder takes
shorter features as well: 15 s costs a third, with no more errors (44 sentences twice over mu-law with noise, tiny.en:
4.1 % of words wrong at 15 s, 4.5 % at 30 s, 44 % at 8 s, where it loops).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field

from local_ai_server.backends.backend import Backend, Machine, Plan
from local_ai_server.backends.options import BackendOptions, Threads, Word, variable
from local_ai_server.backends.stt.compute_type_fallback import types_to_try, with_fallback
from local_ai_server.backends.stt.decoding_guards import Samples, loops, token_limit
from local_ai_server.backends.stt.whisper_utterances import (
    FULL_WINDOW_S,
    LEAD_S,
    RATE_HZ,
    Decoded,
    Task,
    UnknownLanguage,
    UtteranceModel,
    default_window_s,
)
from model_worker.model import Cancelled


class Options(BackendOptions):
    """How Whisper is run."""

    model_path: Path | None = variable("LOCAL_STT_MODEL_PATH", "FASTER_WHISPER_MODEL_PATH")
    threads: Threads = variable("LOCAL_STT_THREADS", default=1)
    """One is as fast as two where a core is two hardware threads, and leaves the other to the LLM."""
    device: Annotated[Literal["cpu", "cuda", "auto"], Word] = variable("FASTER_WHISPER_DEVICE", default="auto")
    """auto: the GPU where there is one."""
    compute_type: Annotated[str, Word] = variable("FASTER_WHISPER_COMPUTE_TYPE", "WHISPER_COMPUTE_TYPE", default="auto")
    """auto: int8 on the CPU; on a GPU float16, or what of it fits (`compute_type_fallback`)."""
    language: str = variable("FASTER_WHISPER_LANGUAGE", "LOCAL_STT_LANGUAGE", default="en")
    context_s: Annotated[float, Field(ge=10, le=30)] | None = variable("FASTER_WHISPER_CONTEXT_S")
    """The encoder's window for utterances that fit into it; 30 is Whisper's own. None: what suits the model's size."""


def plan(options: Options, machine: Machine) -> Plan:
    """One decode at a time."""
    path = BACKEND.model_file(options)
    device = options.device
    if device == "auto":
        device = "cuda" if machine.has_gpu else "cpu"
    compute_type = "int8" if options.compute_type == "auto" and device == "cpu" else options.compute_type
    load = {**options.model_dump(), "model_path": str(path), "device": device, "compute_type": compute_type}
    return Plan(load=load, model_path=path, threads=options.threads)


BACKEND: Final = Backend(
    kind="stt",
    name="faster_whisper",
    model="local_ai_server.backends.stt.faster_whisper:FasterWhisperModel",
    options=Options,
    plan=plan,
    modules=("faster_whisper",),
    extra="whisper",
    default_model="whisper-tiny.en",
    canary=("canary", {}),
    translates=True,
    needs_gating=True,  # it decodes whole utterances: the agent's echo in one would be words of the caller's
)

_FRAMES_A_SECOND: Final = 100


class FasterWhisperModel(UtteranceModel):
    """One Whisper model. `transcribe` takes one utterance in any wire format."""

    def load(
        self,
        *,
        model_path: str,
        threads: int = 1,
        device: str = "cpu",
        compute_type: str = "int8",
        context_s: float | None = None,
        language: str = "en",
    ) -> None:
        """`context_s`: see `Options`."""
        from faster_whisper import WhisperModel  # noqa: PLC0415 - this process's native stack
        from faster_whisper.tokenizer import Tokenizer  # noqa: PLC0415

        def whisper_in(compute_type: str) -> Any:
            whisper = WhisperModel(
                model_path, device=device, compute_type=compute_type, cpu_threads=threads, local_files_only=True
            )
            if device != "cpu":  # a device's memory is claimed by the first use
                whisper.encode(np.zeros((whisper.model.n_mels, FULL_WINDOW_S * _FRAMES_A_SECOND), np.float32))
            return whisper

        self._whisper: Any
        self._whisper, self.compute_type = with_fallback(whisper_in, types_to_try(compute_type, device))
        self._tokenizer_class: Any = Tokenizer
        self._multilingual: bool = self._whisper.model.is_multilingual
        self._translates = self._multilingual
        self._tokenizers: dict[tuple[str, Task], Any] = {}
        self._language = language
        self._context_s = min(context_s or default_window_s(self._width()), FULL_WINDOW_S)
        self._tokenizer(language, "transcribe")  # a language it does not know fails here, not in a call

    def _width(self) -> int:
        """Of the encoder's layers: 384 in tiny models, 512 in base ones."""
        features = np.zeros((1, self._whisper.model.n_mels, 16), np.float32)
        return int(self._whisper.encode(features).shape[-1])

    def _language_heard(self, language: str) -> str:
        """An English-only model has one language, whatever clients call theirs."""
        if not self._multilingual:
            return self._language
        self._tokenizer(language, "transcribe")
        return language

    def _decode(
        self, samples: Samples, window_s: float, language: str, task: Task, cancelled: Cancelled
    ) -> Decoded | None:
        if cancelled.is_set():  # from here on nothing can stop CTranslate2
            return None
        padded = np.concatenate((np.zeros(round(LEAD_S * RATE_HZ), np.float32), samples))
        features = self._whisper.feature_extractor(padded)
        n_frames = round(window_s * _FRAMES_A_SECOND)
        features = features[:, :n_frames]
        # The features' floor is what digital silence looks like; faster-whisper's own zeros look like noise.
        features = np.pad(
            features, ((0, 0), (0, n_frames - features.shape[1])), constant_values=float(features.min())
        ).astype(np.float32)
        tokenizer = self._tokenizer(language, task)
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        limit = token_limit(samples.size / RATE_HZ)
        result = self._whisper.model.generate(
            self._whisper.encode(features),
            [prompt],
            beam_size=1,
            max_length=len(prompt) + limit,
            suppress_blank=True,
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        tokens = result.sequences_ids[0]
        text = tokenizer.decode(tokens).strip()
        # CTranslate2's score is the mean over the tokens without the end's, whose probability is in it.
        mean = result.scores[0] * len(tokens) / (len(tokens) + 1)
        looped = len(tokens) >= limit or loops(tokens, text)
        return Decoded(text, float(result.no_speech_prob), float(mean), len(tokens) + 1, looped)

    def _tokenizer(self, language: str, task: Task) -> Any:
        """The tokenizer whose prompt asks for `language`. An English-only model is asked for nothing."""
        found = self._tokenizers.get((language, task))
        if found is None:
            try:
                found = self._tokenizer_class(
                    self._whisper.hf_tokenizer, self._multilingual, task=task, language=language
                )
            except ValueError:
                raise UnknownLanguage(f"Whisper knows no language {language!r}; use codes as en, de, ja") from None
            self._tokenizers[language, task] = found
        return found
