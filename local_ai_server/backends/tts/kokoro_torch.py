"""Kokoro-82M by its own package, `kokoro` (PyTorch): for a GPU, and for Japanese and Chinese.

Weights come from a folder (config.json, kokoro-v1_0.pth, voices/*.pt), else from this machine's Hugging Face cache;
they are downloaded only where KOKORO_MODE=hf allows it, which the worker's environment says (HF_HUB_OFFLINE).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from local_ai_server.backends.tts.errors import TtsMisconfigured
from local_ai_server.backends.tts.kokoro_voices import find_voices, language_tag
from local_ai_server.backends.tts.speaking import Sound, SpeakingModel, phrases
from model_worker.model import Cancelled

REPOSITORY: Final = "hexgrad/Kokoro-82M"
RATE_HZ: Final = 24_000
_WARM_TEXTS: Final = ("Yes.", "Hello, how can I help you today?", "We are open from nine to five, Monday to Friday.")


class KokoroTorch(SpeakingModel):
    """One network for all voices, and a pipeline for each language that is spoken."""

    def load(
        self,
        *,
        voice: str,
        model_path: str | None = None,
        language: str | None = None,
        device: str = "auto",
        threads: int = 1,
        speed: float = 1.0,
    ) -> None:
        """`model_path`: the folder or its .pth; None: the hub's cache. `language`: one letter for all voices."""
        import torch  # noqa: PLC0415 - this process's native stack: nothing else may import it before
        from kokoro import KModel, KPipeline  # noqa: PLC0415

        torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device.startswith("cuda") and not torch.cuda.is_available():
            raise TtsMisconfigured(f"KOKORO_DEVICE={device}: PyTorch sees no GPU here; set it to cpu or auto")
        self._pipeline_class: Any = KPipeline
        self._language = language
        self._voice = voice
        self.speed = speed
        self._pipelines: dict[str, Any] = {}
        self._voice_files: dict[str, str] = {}
        files: dict[str, str] = {}
        if model_path is not None:
            files = weights_in(Path(model_path))
            self._voice_files = {
                name: str(path) for name, (path, _) in find_voices(Path(model_path), suffix=".pt").items()
            }
        self._network: Any = KModel(repo_id=REPOSITORY, **files).to(device).eval()
        self.check_voice(voice)
        self._learn_level(_WARM_TEXTS)

    @property
    def voices(self) -> Sequence[str]:
        return tuple(self._voice_files) or (self._voice,)

    @property
    def default_voice(self) -> str:
        return self._voice

    def language(self, voice: str) -> str:
        return language_tag(voice, self._language)

    def _sounds(self, text: str, voice: str, speed: float, cancelled: Cancelled) -> Iterator[Sound]:
        pipeline = self._pipeline(self._language or voice[0])
        for phrase in phrases(text, self.language(voice)):
            for result in pipeline(phrase, voice=self._voice_files.get(voice, voice), speed=speed, split_pattern=None):
                if cancelled.is_set():
                    return
                if result.audio is not None:
                    samples = np.asarray(result.audio.detach().cpu().numpy(), np.float32).reshape(-1)
                    yield Sound(samples, RATE_HZ, phrase)

    def _pipeline(self, language: str) -> Any:
        if language not in self._pipelines:
            self._pipelines[language] = self._pipeline_class(
                lang_code=language, repo_id=REPOSITORY, model=self._network
            )
        return self._pipelines[language]


def weights_in(path: Path) -> dict[str, str]:
    """`config` and `model` for `KModel`. Raises `TtsMisconfigured` that says which file is missing."""
    folder = path if path.is_dir() else path.parent
    weights = path if path.suffix == ".pth" else next(iter(sorted(folder.glob("*.pth"))), None)
    config = folder / "config.json"
    if weights is None or not weights.is_file() or not config.is_file():
        raise TtsMisconfigured(
            f"KOKORO_MODEL_PATH: config.json, kokoro-v1_0.pth and voices/ of {REPOSITORY} are needed in {folder}"
        )
    return {"config": str(config), "model": str(weights)}
