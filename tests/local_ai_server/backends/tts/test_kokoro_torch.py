"""Kokoro's PyTorch mode: against a stand-in of the package, and against the package itself where it is installed.

The real package runs here on a network of random weights in its own file format, because the trained ones are on a
model hub: that proves how it is called, not how it sounds.
"""

import importlib.util
import json
import os

import pytest
from voices_under_test import STAND_INS, samples, spec_of, spoken, torch_folder, unusable, working

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.tts import kokoro
from local_ai_server.backends.tts.kokoro_phonemes import VOCABULARY
from model_worker.errors import CallFailed, WorkerUnavailable

CONFIG = {
    "istftnet": {
        "upsample_kernel_sizes": [20, 12],
        "upsample_rates": [10, 6],
        "gen_istft_hop_size": 5,
        "gen_istft_n_fft": 20,
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "resblock_kernel_sizes": [3, 7, 11],
        "upsample_initial_channel": 512,
    },
    "dim_in": 64,
    "dropout": 0.2,
    "hidden_dim": 512,
    "max_dur": 50,
    "n_layer": 3,
    "n_mels": 80,
    "n_token": 178,
    "style_dim": 128,
    "text_encoder_kernel_size": 5,
    "plbert": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 2048,
        "max_position_embeddings": 512,
        "num_hidden_layers": 2,
        "dropout": 0.1,
    },
    "vocab": VOCABULARY,
}
"""config.json of hexgrad/Kokoro-82M as far as the package reads it, with 2 hidden layers instead of 12."""


@pytest.fixture
def stand_in(monkeypatch):
    """The packages of `stand_ins`, here and in the worker."""
    monkeypatch.syspath_prepend(str(STAND_INS))
    return {"PYTHONPATH": str(STAND_INS)}


async def test_a_folders_voices_are_spoken_by_file(stand_in, tmp_path):
    options = kokoro.Options(model_path=torch_folder(tmp_path), voice="ef_dora")
    plan = kokoro.BACKEND.plan(options, Machine())
    async with working(spec_of(kokoro.BACKEND, plan, **stand_in)) as link:
        assert (await samples(link, "Buenos días.")).size
        assert (await samples(link, "Buenos días.", voice="em_alex")).size
        with pytest.raises(CallFailed, match="ef_dora, em_alex"):
            await spoken(link, "Buenos días.", voice="am_adam")


async def test_a_long_text_comes_sentence_by_sentence(stand_in, tmp_path):
    options = kokoro.Options(model_path=torch_folder(tmp_path), voice="ef_dora")
    async with working(spec_of(kokoro.BACKEND, kokoro.BACKEND.plan(options, Machine()), **stand_in)) as link:
        chunks, _ = await spoken(link, "Buenos días a todos. Estamos abiertos hoy. Hasta luego, amigos.")
        assert len(chunks) == 3


async def test_without_weights_it_fails_at_once_and_fetches_nothing(stand_in):
    plan = kokoro.BACKEND.plan(kokoro.Options(mode="local", voice="ef_dora"), Machine())
    with pytest.raises(WorkerUnavailable, match="not in the cache"):
        async with working(spec_of(kokoro.BACKEND, plan, **stand_in)):
            pass


async def test_where_a_download_was_chosen_the_package_may_fetch(stand_in):
    plan = kokoro.BACKEND.plan(kokoro.Options(mode="hf", voice="ef_dora"), Machine())
    async with working(spec_of(kokoro.BACKEND, plan, **stand_in)) as link:
        assert (await samples(link, "Hola.")).size


async def test_a_gpu_that_is_not_there_is_said(stand_in, tmp_path):
    options = kokoro.Options(model_path=torch_folder(tmp_path), voice="ef_dora", device="cuda")
    with pytest.raises(WorkerUnavailable, match="set it to cpu or auto"):
        async with working(spec_of(kokoro.BACKEND, kokoro.BACKEND.plan(options, Machine()), **stand_in)):
            pass


def test_where_the_package_is_missing_it_is_named():
    if importlib.util.find_spec("kokoro"):
        pytest.skip("the package kokoro is installed here")
    assert "pip install 'parley[kokoro-torch]'" in unusable(kokoro.BACKEND, kokoro.Options(mode="local"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_package_is_called_as_it_wants_to_be(tmp_path):
    for package in ("torch", "kokoro"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed: pip install 'parley[kokoro-torch]'")
    import threading

    import kokoro as package
    import torch

    from local_ai_server.backends.tts.kokoro_torch import KokoroTorch

    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.manual_seed(7)
    # torch.load needs weights before KModel can be made, and KModel is what knows their names: an empty file first.
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    torch.save({}, tmp_path / "kokoro-v1_0.pth")
    network = package.KModel(
        repo_id="hexgrad/Kokoro-82M", config=str(tmp_path / "config.json"), model=str(tmp_path / "kokoro-v1_0.pth")
    )
    with torch.no_grad():
        network.predictor.duration_proj.linear_layer.bias.fill_(-4.0)  # 25 ms a sound: random ones would be 600
    parts = ("bert", "bert_encoder", "predictor", "text_encoder", "decoder")
    torch.save({part: getattr(network, part).state_dict() for part in parts}, tmp_path / "kokoro-v1_0.pth")
    (tmp_path / "voices").mkdir()
    torch.save(torch.randn(510, 1, 256) * 0.1, tmp_path / "voices" / "ef_dora.pt")

    model = KokoroTorch()
    model.load(voice="ef_dora", model_path=str(tmp_path), device="cpu", threads=2)
    chunks = list(model.speak(b"", threading.Event(), text="Buenos días. ¿Qué tal?"))
    assert len(chunks) == 2
    assert all(header["audio_ms"] > 50 and audio for header, audio in chunks)
