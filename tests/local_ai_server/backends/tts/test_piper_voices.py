"""Which Piper voices there are, their speakers, and what of them a request may ask for."""

import json
import shutil

import pytest
from voices_under_test import installed, samples, spec_of, spoken, unusable, working

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.tts import piper
from local_ai_server.catalog import find_model
from model_worker.errors import CallFailed


def lay(folder, name, config=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(b"")
    if config is not None:
        (folder / f"{name}.onnx.json").write_text(json.dumps(config))
    return folder / f"{name}.onnx"


def plan(path, **options):
    return piper.BACKEND.plan(piper.Options(model_path=path, **options), Machine())


def test_one_voice_is_named_by_its_file(tmp_path):
    assert plan(lay(tmp_path, "en_US-joe", {"num_speakers": 1})).traits["voices"] == ["en_US-joe"]


def test_the_speakers_of_a_voice_are_voices(tmp_path):
    path = lay(tmp_path, "en_GB-vctk", {"num_speakers": 2, "speaker_id_map": {"p239": 0, "p236": 1}})
    made = plan(path, voice="p236")
    assert made.traits["voices"] == ["en_GB-vctk", "en_GB-vctk#p239", "en_GB-vctk#p236"]
    assert made.load["voice"] == made.traits["voice"] == "en_GB-vctk#p236"
    assert plan(path, voice="en_GB-vctk#p239").load["voice"] == "en_GB-vctk#p239"
    said = unusable(piper.BACKEND, piper.Options(model_path=path, voice="p1"))
    assert "LOCAL_TTS_VOICE" in said
    assert "en_GB-vctk#p239" in said


def test_other_installed_voices_are_listed_apart(tmp_path):
    loaded = lay(tmp_path / "a", "a", {})
    lay(tmp_path / "a", "b", {})
    lay(tmp_path / "c", "c", {})
    lay(tmp_path / "kokoro", "model")
    assert plan(loaded).traits["voices"] == ["a"]
    assert list(plan(loaded).traits["other_voices"]) == ["b", "c"]


def test_half_a_voice_is_said(tmp_path):
    said = unusable(piper.BACKEND, piper.Options(model_path=lay(tmp_path, "half")))
    assert "half.onnx.json is missing" in said
    (tmp_path / "half.onnx.json").write_text("<html>")
    assert "download it again" in unusable(piper.BACKEND, piper.Options(model_path=tmp_path / "half.onnx"))


@pytest.mark.models
async def test_another_installed_voice_is_refused_with_the_way_to_have_it(tmp_path):
    installed(piper.BACKEND)
    model = find_model(piper.BACKEND.default_model)
    for name in ("loaded", "other"):
        shutil.copy(model, tmp_path / f"{name}.onnx")
        shutil.copy(f"{model}.json", tmp_path / f"{name}.onnx.json")
    async with working(spec_of(piper.BACKEND, plan(tmp_path / "loaded.onnx"))) as link:
        assert (await samples(link, "Good day.", voice="loaded")).size
        with pytest.raises(CallFailed, match=r"there are: loaded; other is installed: switch_model") as failed:
            await spoken(link, "Good day.", voice="other")
        assert failed.value.kind == "UnknownVoice"
