"""The engines there are. A new one is one file and one line here."""

from __future__ import annotations

from typing import Final

from local_ai_server.backends.backend import Backend, Kind
from local_ai_server.backends.llm import llama_cpp, llama_cpp_python, managed, openai_compatible
from local_ai_server.backends.stt import faster_whisper, kroko, sherpa, vosk, whisper_cpp
from local_ai_server.backends.tts import kokoro, melotts, piper

BACKENDS: Final = (
    faster_whisper.BACKEND,
    whisper_cpp.BACKEND,
    vosk.BACKEND,
    sherpa.BACKEND,
    kroko.BACKEND,
    llama_cpp.BACKEND,
    llama_cpp_python.BACKEND,
    openai_compatible.BACKEND,
    managed.LLAMA_SERVER_BACKEND,
    managed.VLLM_BACKEND,
    managed.TRTLLM_BACKEND,
    piper.BACKEND,
    kokoro.BACKEND,
    melotts.BACKEND,
)


def backend(kind: Kind, name: str) -> Backend:
    """The engine of that name; of several bindings the first that is installed. `LookupError` lists those there are."""
    found = [candidate for candidate in BACKENDS if candidate.kind == kind and candidate.name == name]
    if not found:
        names = sorted({candidate.name for candidate in BACKENDS if candidate.kind == kind})
        raise LookupError(f"there is no {kind} backend {name!r}; choose one of: {', '.join(names)}")
    return next((candidate for candidate in found if candidate.missing() is None), found[0])
