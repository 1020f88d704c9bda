"""Questions as the recogniser hears them: Piper's voice, 8 kHz mu-law, whisper tiny.en."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from local_ai_server.catalog import find_model
from voice_wire.g711 import decode_mulaw, encode_mulaw
from voice_wire.resample import resample

_PHONE_HZ = 8000
_WHISPER_HZ = 16000
_PAD_MS = 300


def hear(questions: Iterable[str]) -> dict[str, str]:
    """Each question with its transcript. Raises `ModelMissing`."""
    from faster_whisper import WhisperModel  # noqa: PLC0415 - heavy
    from piper import PiperVoice  # noqa: PLC0415 - GPL-3, only in this benchmark's own process

    voice = PiperVoice.load(find_model("en_US-joe-medium"))
    recogniser = WhisperModel(str(find_model("whisper-tiny.en")), device="cpu", compute_type="int8", cpu_threads=2)
    heard: dict[str, str] = {}
    for question in questions:
        chunks = list(voice.synthesize(question))
        spoken = np.concatenate([chunk.audio_int16_array for chunk in chunks])
        narrow = resample(spoken, chunks[0].sample_rate, _PHONE_HZ)
        pause = np.zeros(_PHONE_HZ * _PAD_MS // 1000, np.int16)
        line = decode_mulaw(encode_mulaw(np.concatenate([pause, narrow, pause])))
        samples = resample(line, _PHONE_HZ, _WHISPER_HZ).astype(np.float32) / 32768
        segments, _ = recogniser.transcribe(
            samples, language="en", beam_size=1, without_timestamps=True, condition_on_previous_text=False
        )
        heard[question] = " ".join(segment.text.strip() for segment in segments)
    return heard
