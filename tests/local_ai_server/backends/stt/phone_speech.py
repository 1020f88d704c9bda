"""A caller's sentences as a recogniser gets them: the embedded voice, over 8 kHz mu-law."""

import numpy as np
import pytest

from local_ai_server.catalog import ModelMissing, UnknownModel, find_model
from tools.line_noise import RATE_HZ, SOUNDS, to_pcm
from voice_wire.audio import encode_mulaw, resample

PAUSE_S = 0.2
FIGURES = {"2": "two", "5": "five", "9": "nine", "10": "ten"}


def voice_or_skip():
    """Speaks: text → 8 kHz samples within ±1, the loudest 20 ms at full scale."""
    piper = pytest.importorskip("piper", reason="speech is made with Piper: pip install 'parley[piper]'")
    try:
        voice = piper.PiperVoice.load(find_model("en_US-joe-medium"))
    except (UnknownModel, ModelMissing) as error:
        pytest.skip(str(error))

    def speak(text, *, pitch=1.0):
        chunks = list(voice.synthesize(text))
        pcm = np.concatenate([chunk.audio_int16_array for chunk in chunks])
        narrow = resample(pcm, chunks[0].sample_rate, RATE_HZ).astype(np.float64) / 32768
        if pitch != 1.0:
            at = np.arange(0, narrow.size - 1, pitch)
            narrow = np.interp(at, np.arange(narrow.size), narrow)
        pause = np.zeros(round(PAUSE_S * RATE_HZ))
        speech = np.concatenate((pause, narrow, pause))
        frames = speech[: speech.size // 160 * 160].reshape(-1, 160)
        return speech / np.sqrt(np.max(np.mean(frames**2, axis=1)))

    return speak


def over_the_line(speech, *, dbfs=-15.0, noise=None, snr_db=20.0):
    """Mu-law bytes of speech at that level, with a sound of `SOUNDS` so far below it."""
    signal = speech * 10 ** (dbfs / 20)
    if noise is not None:
        sound = SOUNDS[noise](np.random.default_rng(1), signal.size / RATE_HZ + 0.1)[: signal.size]
        gain = np.sqrt(np.mean(signal**2) / np.mean(sound**2)) * 10 ** (-snr_db / 20)
        signal = signal + gain * sound
    return encode_mulaw(to_pcm(signal))


def words(text):
    """What matters of a transcript: lower-case words, figures spoken."""
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split()
    return [FIGURES.get(word, word) for word in kept]
