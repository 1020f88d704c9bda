"""The worker's model class of `melotts`, over `melo.api.TTS`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from local_ai_server.backends.tts.errors import TtsMisconfigured
from local_ai_server.backends.tts.speaking import Sound, SpeakingModel, phrases
from model_worker.model import Cancelled

_WARM: Final = {
    "EN": ("Yes.", "Hello, how can I help you today?"),
    "ES": ("Sí.", "Hola, ¿en qué puedo ayudarle?"),
    "FR": ("Oui.", "Bonjour, que puis-je faire pour vous ?"),
    "ZH": ("好的。", "你好，请问有什么可以帮您？"),
    "JP": ("はい。", "こんにちは、ご用件をどうぞ。"),
    "KR": ("네.", "안녕하세요, 무엇을 도와드릴까요?"),
}


class MeloModel(SpeakingModel):
    """One language and all of its speakers."""

    def load(
        self,
        *,
        language: str,
        voice: str,
        model_path: str | None = None,
        device: str = "auto",
        threads: int = 1,
        speed: float = 1.0,
    ) -> None:
        """`model_path`: the folder with config.json and checkpoint.pth; None: the hub's cache."""
        import torch  # noqa: PLC0415 - this process's native stack: nothing else may import it before
        from melo.api import TTS  # noqa: PLC0415

        torch.set_num_threads(threads)
        if device == "cuda" and not torch.cuda.is_available():
            raise TtsMisconfigured("MELOTTS_DEVICE=cuda: PyTorch sees no GPU here; set it to cpu or auto")
        files = {}
        if model_path is not None:
            folder = Path(model_path)
            files = {"config_path": str(folder / "config.json"), "ckpt_path": str(folder / "checkpoint.pth")}
        self._melo: Any = TTS(language=language, device=device, **files)
        data = self._melo.hps.data
        self._speakers: dict[str, int] = {str(name): int(number) for name, number in data.spk2id.items()}
        self._rate_hz = int(data.sampling_rate)
        self._voice = voice
        self._language = language
        self.speed = speed
        self._check_speaker(voice)
        self._learn_level(_WARM[language])

    def _check_speaker(self, voice: str) -> None:
        """Raises `TtsMisconfigured`: the weights that were found know other speakers."""
        if voice not in self._speakers:
            raise TtsMisconfigured(
                f"MELOTTS_VOICE: there is no speaker {voice!r}; choose one of: {', '.join(self._speakers)}"
            )

    @property
    def voices(self) -> Sequence[str]:
        return tuple(self._speakers)

    @property
    def default_voice(self) -> str:
        return self._voice

    def language(self, voice: str) -> str:
        """The other Englishes write the day first, as the British do."""
        return "en-GB" if voice in ("EN-BR", "EN-AU", "EN_INDIA") else self._language.lower()

    def _sounds(self, text: str, voice: str, speed: float, cancelled: Cancelled) -> Iterator[Sound]:
        for phrase in phrases(text, self.language(voice)):
            if cancelled.is_set():
                return
            audio = self._melo.tts_to_file(phrase, self._speakers[voice], None, speed=speed, quiet=True)
            yield Sound(np.asarray(audio, np.float32).reshape(-1), self._rate_hz, phrase)
