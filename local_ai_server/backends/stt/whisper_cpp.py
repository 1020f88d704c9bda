"""Whisper by whisper.cpp (ggml models): whole utterances, greedy, in a window shortened to what was said."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import AfterValidator, Field

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.options import BackendOptions, Threads, Word, variable
from local_ai_server.backends.stt.decoding_guards import Samples, loops, token_limit
from local_ai_server.backends.stt.whisper_cpp_library import WhisperCpp
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

_FRAMES_A_SECOND: Final = 50
"""Of the encoder: whisper.cpp's `audio_ctx` counts these, 1500 in its window of 30 s."""
_SHORTEST_WINDOW: Final = 500


def _as_window(frames: int) -> int:
    if 0 < frames < _SHORTEST_WINDOW:
        raise ValueError(f"a window below {_SHORTEST_WINDOW} (10 s) makes Whisper repeat itself; 0 is the whole one")
    return frames


_Window = Annotated[int, Field(ge=0, le=1500), AfterValidator(_as_window)]


class Options(BackendOptions):
    """How whisper.cpp is run."""

    model_path: Path | None = variable("WHISPER_CPP_MODEL_PATH", "LOCAL_STT_MODEL_PATH")
    """A model in whisper.cpp's own format (ggml-*.bin)."""
    threads: Threads = variable("WHISPER_CPP_THREADS", "LOCAL_STT_THREADS", default=1)
    language: str = variable("WHISPER_CPP_LANGUAGE", "LOCAL_STT_LANGUAGE", default="en")
    audio_ctx: _Window | None = variable("WHISPER_CPP_AUDIO_CTX")
    """The encoder's window for utterances that fit into it, in frames of 20 ms; 0 is Whisper's own of 30 s.

    None: what suits the model's size."""
    device: Annotated[Literal["cpu", "cuda", "auto"], Word] = variable("WHISPER_CPP_DEVICE", default="cpu")
    """The wheels run on the CPU; a binding built for a GPU uses that with `cuda` or `auto`."""


def plan(options: Options, machine: Machine) -> Plan:
    """One decode at a time."""
    path = BACKEND.model_file(options)
    if path.is_dir():
        raise BackendUnusable(
            f"{path} is a directory: whisper.cpp needs one file; make it with: "
            f"python -m local_ai_server.whisper_cpp_convert {path} {path.with_name('ggml-' + path.name + '.bin')}"
        )
    load = {**options.model_dump(exclude={"model_path"}), "model_path": str(path)}
    return Plan(load=load, model_path=path, threads=options.threads)


BACKEND: Final[Backend] = Backend(
    kind="stt",
    name="whisper_cpp",
    model="local_ai_server.backends.stt.whisper_cpp:WhisperCppModel",
    options=Options,
    plan=plan,
    modules=("_pywhispercpp",),
    extra="whispercpp",
    canary=("canary", {}),
    needs_gating=True,  # it decodes whole utterances: the agent's echo in one would be words of the caller's
)


class WhisperCppModel(UtteranceModel):
    """One ggml model. `transcribe` takes one utterance in any wire format."""

    def load(
        self,
        *,
        model_path: str,
        threads: int = 1,
        language: str = "en",
        audio_ctx: int | None = None,
        device: str = "cpu",
    ) -> None:
        """`audio_ctx`: see `Options`. Raises `WhisperCppError` and `UnknownLanguage`."""
        self._whisper = WhisperCpp(Path(model_path), use_gpu=device != "cpu", threads=threads)
        self._language = language
        if audio_ctx is None:
            self._context_s = default_window_s(self._whisper.width)
        else:
            self._context_s = (audio_ctx or self._whisper.full_window) / _FRAMES_A_SECOND
        self._language_heard(language)  # a language it does not know fails here, not in a call

    def unload(self) -> None:
        self._whisper.close()

    def _decode(
        self, samples: Samples, window_s: float, language: str, task: Task, cancelled: Cancelled
    ) -> Decoded | None:
        limit = token_limit(samples.size / RATE_HZ)
        # What follows the audio is padded by whisper.cpp; it does not look at less than a second.
        n_after = max(0, round(1.1 * RATE_HZ) - samples.size)
        lead = np.zeros(round(LEAD_S * RATE_HZ), np.float32)
        found = self._whisper.decode(
            np.concatenate((lead, samples, np.zeros(n_after, np.float32))),
            language=language,
            window=round(min(window_s, FULL_WINDOW_S) * _FRAMES_A_SECOND),
            max_tokens=limit,
            stop=cancelled.is_set,
        )
        if found is None:
            return None
        text = found.text.decode(errors="replace").strip()
        no_speech = self._whisper.no_speech_probability()
        mean = sum(found.log_probabilities) / max(1, len(found.log_probabilities))
        looped = len(found.tokens) >= limit or loops(found.tokens, text)
        return Decoded(text, no_speech, mean, len(found.log_probabilities), looped)

    def _language_heard(self, language: str) -> str:
        """An English-only model is asked for English, whatever clients call theirs."""
        if not self._whisper.multilingual:
            return "en"
        if not self._whisper.knows_language(language):
            raise UnknownLanguage(f"Whisper knows no language {language!r}; use codes as en, de, ja")
        return language
