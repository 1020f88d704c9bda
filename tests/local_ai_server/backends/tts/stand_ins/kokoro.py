"""Stands for the package `kokoro` 0.9.4: its KModel and KPipeline with the same signatures, speaking a tone.

The package with PyTorch is too large for the tests' installation; `test_kokoro_torch.py` runs the real one where it is
installed. As the real one, it refuses a hub that it is not allowed to reach, and truncates nothing by itself.
"""

import os
from pathlib import Path

import numpy as np


class Tensor:
    def __init__(self, samples):
        self._samples = samples

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self._samples


class KModel:
    def __init__(self, repo_id=None, config=None, model=None, disable_complex=False):
        for name, path in (("config", config), ("model", model)):
            if path is None and os.environ.get("HF_HUB_OFFLINE") == "1":
                raise OSError(f"LocalEntryNotFoundError: {name} of {repo_id} is not in the cache")
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(path)
        self.device = None

    def to(self, device):
        self.device = device
        return self

    def eval(self):
        return self


class Result:
    def __init__(self, graphemes, audio):
        self.graphemes, self.phonemes, self.audio = graphemes, graphemes, audio


class KPipeline:
    def __init__(self, lang_code, repo_id=None, model=True, trf=False, en_callable=None, device=None):
        assert lang_code in "abefhijpz", lang_code
        assert isinstance(model, KModel)
        self._lang_code = lang_code

    def __call__(self, text, voice=None, speed=1, split_pattern=r"\n+", model=None):
        if voice is None:
            raise ValueError("Specify a voice")
        if voice.endswith(".pt") and not Path(voice).is_file():
            raise FileNotFoundError(voice)
        n = int(24_000 * max(0.3, 0.06 * len(text)) / speed)
        tone = 0.2 * np.sin(2 * np.pi * 220 * np.arange(n) / 24_000)
        quiet = np.zeros(4_800)
        yield Result(text, Tensor(np.concatenate((quiet, tone, quiet)).astype(np.float32)))
