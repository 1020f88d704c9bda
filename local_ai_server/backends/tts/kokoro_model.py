"""The worker's model class of `kokoro`: one of its three engines, as the mode says."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from typing import Any, Final

from model_worker.model import Answer, Cancelled

_ENGINES: Final = {
    "onnx": "local_ai_server.backends.tts.kokoro_onnx:KokoroOnnx",
    "local": "local_ai_server.backends.tts.kokoro_torch:KokoroTorch",
    "api": "local_ai_server.backends.tts.kokoro_http:KokoroHttp",
}
"""Imported when chosen: one process never holds the native libraries of two."""


class KokoroModel:
    """What is called here is done by the engine."""

    def load(self, *, mode: str, **settings: Any) -> None:
        """`mode`: onnx, local or api; `settings`: the keywords of that engine's `load`."""
        module, _, name = _ENGINES[mode].partition(":")
        self._engine: Any = getattr(importlib.import_module(module), name)()
        self._engine.load(**settings)

    def unload(self) -> None:
        """Closes what the engine holds open."""
        getattr(self._engine, "unload", lambda: None)()

    def describe(self, body: bytes, cancelled: Cancelled) -> Answer:
        """As `SpeakingModel.describe`."""
        answer: Answer = self._engine.describe(body, cancelled)
        return answer

    def speak(self, body: bytes, cancelled: Cancelled, **args: Any) -> Generator[Answer, None, Answer]:
        """As `SpeakingModel.speak`."""
        spoken: Generator[Answer, None, Answer] = self._engine.speak(body, cancelled, **args)
        return spoken
