"""Whether anybody speaks in an utterance at all, by the voice-activity network (Silero).

Recognisers in the style of Kaldi know nothing but words: noise, hum and ringback become some, and with confidence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from voice_wire.audio import Pcm

_WINDOW_S: Final = 0.032
_CONTEXT: Final = 8
"""A window is preceded by an eighth of itself."""
_PROBABILITY: Final = 0.5
_WINDOWS: Final = 3
"""So many with speech in them: a tenth of a second, less than the shortest word."""


class VoiceGate:
    """The network, shared by all utterances."""

    def __init__(self, path: str | Path, rate_hz: int) -> None:
        """`rate_hz`: 8000 or 16000, of the audio that is listened to."""
        import onnxruntime  # noqa: PLC0415 - this process's native stack

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.rate_hz = rate_hz

    def listen(self) -> VoiceListener:
        return VoiceListener(self)


class VoiceListener:
    """One utterance, as it comes."""

    def __init__(self, gate: VoiceGate) -> None:
        self._session = gate.session
        self._window = round(gate.rate_hz * _WINDOW_S)
        self._rate = np.array(gate.rate_hz, np.int64)
        self._state = np.zeros((2, 1, 128), np.float32)
        self._samples = np.zeros(self._window // _CONTEXT, np.float32)
        """The context of the next window, and what has come of it."""
        self._windows = 0

    @property
    def heard(self) -> bool:
        """Somebody has spoken."""
        return self._windows >= _WINDOWS

    def accept(self, pcm: Pcm) -> None:
        context = self._window // _CONTEXT
        self._samples = np.concatenate((self._samples, pcm.astype(np.float32) / np.float32(32768)))
        while not self.heard and self._samples.size >= context + self._window:
            inputs = {"input": self._samples[None, : context + self._window], "state": self._state, "sr": self._rate}
            probability, self._state = self._session.run(None, inputs)
            self._windows += bool(probability[0, 0] >= _PROBABILITY)
            self._samples = self._samples[self._window :]
        if self.heard:
            self._samples = self._samples[:0]
