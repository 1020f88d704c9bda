"""Kokoro-82M on onnxruntime: an .onnx file, and beside it a style vector for each voice and length of phrase.

Two exports are in use, with other names for their inputs: kokoro-onnx's (`tokens`) and onnx-community's (`input_ids`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from local_ai_server.backends.tts.errors import TtsMisconfigured
from local_ai_server.backends.tts.kokoro_phonemes import MAX_TOKENS, Phonemizer, chunks, tokens
from local_ai_server.backends.tts.kokoro_voices import find_voices, language_tag
from local_ai_server.backends.tts.phrase_audio import Samples
from local_ai_server.backends.tts.speaking import Sound, SpeakingModel, phrases
from model_worker.model import Cancelled

RATE_HZ: Final = 24_000
_STYLE: Final = 256
_STYLE_LENGTHS: Final = 510
_CANCEL_POLL_S: Final = 0.02
_WARM_TEXTS: Final = ("Yes.", "Hello, how can I help you today?", "We are open from nine to five, Monday to Friday.")
_Style = npt.NDArray[np.float32]


class KokoroOnnx(SpeakingModel):
    """The int8 or float32 network; all voices of its folder, one phrase at a time."""

    def load(
        self, *, model_path: str, voice: str, language: str | None = None, threads: int = 1, speed: float = 1.0
    ) -> None:
        """`model_path`: the .onnx. `language`: one letter for all voices; None: the first of the voice's name."""
        import onnxruntime  # noqa: PLC0415 - this process's native stack: nothing else may import it before

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads wait hot between operators and take the core that the LLM beside us needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._run_options: Any = onnxruntime.RunOptions
        self._session: Any = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
        inputs = {entry.name: entry.type for entry in self._session.get_inputs()}
        self._tokens_name = next((name for name in ("tokens", "input_ids") if name in inputs), "")
        if not self._tokens_name or not {"style", "speed"} <= set(inputs):
            raise TtsMisconfigured(
                f"KOKORO_MODEL_PATH: {Path(model_path).name} is no Kokoro model: its inputs are {', '.join(inputs)}"
            )
        self._speed_type: Any = np.int32 if inputs["speed"] == "tensor(int32)" else np.float32
        self._language = language
        self._voice_files = find_voices(Path(model_path), language)
        self._styles: dict[str, _Style] = {}
        self._voice = voice
        self.speed = speed
        self._phonemizer = Phonemizer()
        self._style(voice)
        self._learn_level(_WARM_TEXTS)

    @property
    def voices(self) -> Sequence[str]:
        return tuple(self._voice_files)

    @property
    def default_voice(self) -> str:
        return self._voice

    def language(self, voice: str) -> str:
        return language_tag(voice, self._language)

    def _sounds(self, text: str, voice: str, speed: float, cancelled: Cancelled) -> Iterator[Sound]:
        style = self._style(voice)
        for phrase in phrases(text, self.language(voice)):
            pieces = chunks(self._phonemizer.phonemes(phrase, self._language or voice[0]))
            for piece in pieces:
                if cancelled.is_set():
                    return
                samples = self._synthesise(tokens(piece), style, speed, cancelled)
                if samples is None:
                    return
                yield Sound(samples, RATE_HZ, phrase if piece is pieces[-1] else piece)

    def _synthesise(self, ids: list[int], style: _Style, speed: float, cancelled: Cancelled) -> Samples | None:
        """The samples; None when nobody wants them any more: a long phrase takes seconds, and is broken off."""
        # The row for n tokens, the two zeros not counted, as Kokoro's own pipeline takes it.
        row = min(len(ids) - 2, MAX_TOKENS) - 1
        feed = {
            self._tokens_name: np.array([ids], np.int64),
            "style": style[min(row, style.shape[0] - 1)],
            "speed": np.array([speed], self._speed_type),
        }
        run = self._run_options()
        finished = threading.Event()

        def watch() -> None:
            while not finished.is_set():
                if cancelled.wait(_CANCEL_POLL_S):
                    run.terminate = True
                    return

        watcher = threading.Thread(target=watch, name="cancel")
        watcher.start()
        try:
            audio = self._session.run(None, feed, run)[0]
        except Exception:
            if cancelled.is_set():
                return None
            raise
        finally:
            finished.set()
            watcher.join()
        return np.asarray(audio, np.float32).reshape(-1)

    def _style(self, voice: str) -> _Style:
        """(lengths, 1, 256), read once. Raises `TtsMisconfigured` for a file of another shape."""
        if voice not in self._styles:
            path, member = self._voice_files[self.check_voice(voice)]
            if member is None:
                read: _Style = np.fromfile(path, np.float32)
            else:
                with np.load(path) as archive:  # kokoro-onnx's voices-v1.0.bin
                    read = archive[member].astype(np.float32)
            if read.size != _STYLE_LENGTHS * _STYLE:
                raise TtsMisconfigured(
                    f"voice file {path.name}: {read.size} numbers are no {_STYLE_LENGTHS} x {_STYLE}; download it again"
                )
            self._styles[voice] = read.reshape(-1, 1, _STYLE)
        return self._styles[voice]
