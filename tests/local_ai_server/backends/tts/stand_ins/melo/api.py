"""Stands for MeloTTS: `melo.api.TTS` with the same signatures, speaking a tone at 44.1 kHz.

MeloTTS cannot be installed from the package index, and its weights are on a model hub; `test_melotts.py` runs the real
one where it is installed. https://github.com/myshell-ai/MeloTTS/blob/main/melo/api.py
"""

import json
import os

import numpy as np


class HParams:
    """As melo.utils.HParams: attributes that can be listed like a dictionary's items."""

    def __init__(self, **fields):
        self.__dict__.update({k: HParams(**v) if isinstance(v, dict) else v for k, v in fields.items()})

    def items(self):
        return self.__dict__.items()

    def __contains__(self, name):
        return name in self.__dict__


class TTS:
    def __init__(
        self, language, device="auto", use_hf=True, config_path=None, ckpt_path=None, hf_repo=None, hf_ckpt=None
    ):
        assert language in ("EN", "ES", "FR", "ZH", "JP", "KR")
        if config_path is None:
            if os.environ.get("HF_HUB_OFFLINE") == "1":
                raise OSError("LocalEntryNotFoundError: config.json is not in the cache")
            fields = {"data": {"sampling_rate": 44_100, "spk2id": {"EN-US": 0, "EN-BR": 1}}}
        else:
            with open(config_path, encoding="utf-8") as file:  # noqa: PTH123
                fields = json.load(file)
            with open(ckpt_path, "rb"):  # noqa: PTH123
                pass
        self.hps = HParams(**fields)

    def tts_to_file(
        self,
        text,
        speaker_id,
        output_path=None,
        sdp_ratio=0.2,
        noise_scale=0.6,
        noise_scale_w=0.8,
        speed=1.0,
        pbar=None,
        format=None,
        position=None,
        quiet=False,
    ):
        assert output_path is None
        assert quiet
        n = int(44_100 * max(0.3, 0.06 * len(text)) / speed)
        tone = 0.2 * np.sin(2 * np.pi * (220 + 40 * speaker_id) * np.arange(n) / 44_100)
        quiet_ends = np.zeros(8_820)
        return np.concatenate((quiet_ends, tone, quiet_ends)).astype(np.float32)
