"""Which way Kokoro is run, and what is said where it cannot be."""

import json

import numpy as np
import pytest
from voices_under_test import STAND_INS, torch_folder, unusable

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.options import OptionsError
from local_ai_server.backends.tts import kokoro
from local_ai_server.backends.tts.kokoro_voices import find_onnx, find_voices

URL = "http://127.0.0.1:8880/v1"


@pytest.fixture
def nothing_installed(monkeypatch):
    """As on a machine without the packages and without the catalogue's model."""
    monkeypatch.setattr(kokoro, "_installed_onnx", lambda: None)
    monkeypatch.setattr(kokoro.importlib.util, "find_spec", lambda name: None)


def onnx_folder(folder, *voices):
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(b"0" * 10)
    for voice in voices:
        (folder / "voices" / f"{voice}.bin").write_bytes(b"")
    return folder


class TestMode:
    @pytest.mark.parametrize("mode", ["onnx", "local", "hf", "api", "ONNX"])
    def test_it_is_what_is_set(self, mode, tmp_path):
        options = kokoro.Options.from_environment({"KOKORO_MODE": mode, "KOKORO_MODEL_PATH": "/m"})
        assert kokoro.mode_of(options) == mode.lower()

    def test_else_what_the_path_holds(self, tmp_path):
        onnx, torch = onnx_folder(tmp_path / "a", "af_heart"), torch_folder(tmp_path / "b")
        assert kokoro.mode_of(kokoro.Options(model_path=onnx)) == "onnx"
        assert kokoro.mode_of(kokoro.Options(model_path=onnx / "model.onnx")) == "onnx"
        assert kokoro.mode_of(kokoro.Options(model_path=torch)) == "local"
        assert kokoro.mode_of(kokoro.Options(model_path=torch / "kokoro-v1_0.pth")) == "local"

    def test_else_the_address(self):
        assert kokoro.mode_of(kokoro.Options(api_base_url=URL)) == "api"

    def test_a_path_and_an_address_are_asked_about(self, tmp_path):
        options = kokoro.Options(model_path=onnx_folder(tmp_path), api_base_url=URL)
        assert "say which is meant, by KOKORO_MODE" in unusable(kokoro.BACKEND, options)

    def test_with_nothing_set_it_is_on_this_machine(self, nothing_installed):
        assert kokoro.mode_of(kokoro.Options(api_key="x")) == "onnx"

    def test_the_package_is_taken_where_only_it_is_there(self, monkeypatch):
        monkeypatch.setattr(kokoro, "_installed_onnx", lambda: None)
        monkeypatch.syspath_prepend(str(STAND_INS))
        assert kokoro.mode_of(kokoro.Options()) == "local"

    def test_an_unknown_mode_is_refused(self):
        with pytest.raises(OptionsError, match="KOKORO_MODE"):
            kokoro.Options.from_environment({"KOKORO_MODE": "cloud"})


def test_each_mode_says_what_it_lacks_and_what_mends_it(nothing_installed):
    reasons = kokoro.availability(kokoro.Options())
    assert "pip install 'parley[kokoro]'" in reasons["onnx"]
    assert "pip install 'parley[kokoro-torch]'" in reasons["local"]
    assert "pip install 'parley[kokoro-torch]'" in reasons["hf"]
    assert "pip install 'parley[server]'" in reasons["api"]
    assert "pip install 'parley[kokoro]'" in kokoro.BACKEND.missing()


def test_a_mode_that_can_be_has_no_reason(tmp_path):
    reasons = kokoro.availability(kokoro.Options(api_base_url=URL))
    assert reasons["api"] is None
    assert kokoro.BACKEND.missing() is None


class TestOnnx:
    def test_the_plan_lists_the_voices_it_can_read(self, tmp_path):
        folder = onnx_folder(tmp_path, "af_heart", "bm_george", "ff_siwis", "jf_alpha", "zf_xiaobei")
        plan = kokoro.BACKEND.plan(kokoro.Options(model_path=folder), Machine())
        assert plan.traits["voices"] == ["af_heart", "bm_george", "ff_siwis"]
        assert plan.traits["mode"] == "onnx"
        assert plan.model_path == folder / "model.onnx"
        json.dumps(dict(plan.load))

    def test_the_smallest_network_of_a_folder_is_meant(self, tmp_path):
        (tmp_path / "onnx").mkdir()
        (tmp_path / "onnx" / "model.onnx").write_bytes(b"0" * 100)
        (tmp_path / "onnx" / "model_q8.onnx").write_bytes(b"0" * 10)
        assert find_onnx(tmp_path) == tmp_path / "onnx" / "model_q8.onnx"

    def test_an_archive_of_voices_is_read_too(self, tmp_path):
        styles = np.zeros((510, 1, 256), np.float32)
        with (tmp_path / "voices-v1.0.bin").open("wb") as file:
            np.savez(file, am_adam=styles, af_sky=styles)
        (tmp_path / "kokoro-v1.0.onnx").write_bytes(b"0")
        assert list(find_voices(tmp_path / "kokoro-v1.0.onnx")) == ["af_sky", "am_adam"]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"voice": "af_nobody"}, "there is no voice 'af_nobody'; choose one of: af_heart"),
            ({"voice": "jf_alpha"}, "cannot read Japanese and Chinese"),
            ({"device": "cuda"}, "set KOKORO_MODE=local"),
        ],
    )
    def test_what_cannot_be_is_said(self, tmp_path, options, said):
        folder = onnx_folder(tmp_path, "af_heart", "jf_alpha")
        assert said in unusable(kokoro.BACKEND, kokoro.Options(mode="onnx", model_path=folder, **options))

    def test_missing_files_are_said(self, tmp_path):
        assert "there is nothing at" in unusable(kokoro.BACKEND, kokoro.Options(mode="onnx", model_path=tmp_path / "x"))
        assert "no .onnx file" in unusable(kokoro.BACKEND, kokoro.Options(mode="onnx", model_path=tmp_path))
        assert "no voices" in unusable(kokoro.BACKEND, kokoro.Options(mode="onnx", model_path=onnx_folder(tmp_path)))


class TestLanguage:
    @pytest.mark.parametrize(("named", "letter"), [("a", "a"), ("en-US", "a"), ("EN_GB", "b"), ("pt-br", "p")])
    def test_it_may_be_named_in_several_ways(self, named, letter):
        assert kokoro.Options(lang=named).lang == letter

    def test_an_unknown_one_lists_those_there_are(self):
        with pytest.raises(OptionsError, match=r"KOKORO_LANG.*a \(American English\)"):
            kokoro.Options.from_environment({"KOKORO_LANG": "xx"})


class TestLocal:
    def test_the_worker_may_not_reach_the_hub_unless_that_is_chosen(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(STAND_INS))
        options = {"model_path": torch_folder(tmp_path), "voice": "ef_dora"}
        local = kokoro.BACKEND.plan(kokoro.Options(mode="local", **options), Machine())
        assert local.env == {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        assert local.traits["voices"] == ["ef_dora", "em_alex"]
        chosen = kokoro.BACKEND.plan(kokoro.Options(mode="hf", voice="ef_dora"), Machine())
        assert chosen.env["HF_HUB_OFFLINE"] == "0"

    @pytest.mark.parametrize("voice", ["e/../../../root/x", "e/etc/x.pt", "ef.pt"])
    def test_a_voice_by_name_is_no_file(self, monkeypatch, voice):
        monkeypatch.syspath_prepend(str(STAND_INS))
        assert "KOKORO_VOICE" in unusable(kokoro.BACKEND, kokoro.Options(mode="hf", voice=voice))

    def test_english_needs_a_package_that_is_never_fetched_at_start(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(STAND_INS))
        if kokoro.importlib.util.find_spec("en_core_web_sm"):
            pytest.skip("spaCy's English model is installed here")
        options = kokoro.Options(mode="local", model_path=torch_folder(tmp_path), voice="af_heart")
        assert "python -m spacy download en_core_web_sm" in unusable(kokoro.BACKEND, options)

    def test_missing_weights_are_said(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(STAND_INS))
        options = kokoro.Options(mode="local", model_path=tmp_path, voice="ef_dora")
        assert "config.json and kokoro-v1_0.pth are needed" in unusable(kokoro.BACKEND, options)
