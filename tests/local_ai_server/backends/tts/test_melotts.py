"""MeloTTS: against a stand-in of the package, and against the package itself where it is installed."""

import importlib.util
import sys

import pytest
from voices_under_test import STAND_INS, melo_folder, samples, spec_of, spoken, unusable, working

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.options import OptionsError
from local_ai_server.backends.tts import melotts
from model_worker.errors import CallFailed, WorkerUnavailable

STAND_IN = {"PYTHONPATH": str(STAND_INS)}


def plan(**options):
    return melotts.BACKEND.plan(melotts.Options(**options), Machine())


class TestPlan:
    def test_the_language_is_the_speakers(self):
        assert plan().traits["language"] == "EN"
        assert plan(voice="EN-BR").traits["voices"] == ["EN-US", "EN-BR", "EN_INDIA", "EN-AU", "EN-Default"]
        assert plan(voice="FR").load["language"] == "FR"

    def test_the_speakers_of_own_weights_are_read_from_their_file(self, tmp_path):
        made = plan(model_path=melo_folder(tmp_path), voice="EN_INDIA")
        assert made.traits["voices"] == ["EN-US", "EN-BR", "EN_INDIA"]

    def test_the_worker_may_not_reach_the_hub_unless_that_is_chosen(self):
        assert plan().env["HF_HUB_OFFLINE"] == "1"
        assert plan(download=True).env["HF_HUB_OFFLINE"] == "0"

    def test_settings_come_from_the_environment(self):
        environment = {"MELOTTS_SPEAKER": "EN-AU", "MELOTTS_DEVICE": "CPU", "LOCAL_TTS_SPEED": "1.2"}
        options = melotts.Options.from_environment(environment)
        assert (options.voice, options.device, options.speed) == ("EN-AU", "cpu", 1.2)
        with pytest.raises(OptionsError, match="MELOTTS_LANGUAGE"):
            melotts.Options.from_environment({"MELOTTS_LANGUAGE": "XX"})

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"voice": "EN-XX"}, "choose one of: EN-US"),
            ({"voice": "QQ"}, "set MELOTTS_LANGUAGE"),
        ],
    )
    def test_what_cannot_be_is_said(self, options, said):
        assert said in unusable(melotts.BACKEND, melotts.Options(**options))

    def test_a_folder_that_is_none_is_said(self, tmp_path):
        assert "config.json is needed" in unusable(melotts.BACKEND, melotts.Options(model_path=tmp_path))
        for text in ("[]", "{", '{"data": 1}'):
            melo_folder(tmp_path)
            (tmp_path / "config.json").write_text(text)
            assert "none of MeloTTS's" in unusable(melotts.BACKEND, melotts.Options(model_path=tmp_path))


def test_where_it_is_missing_the_way_to_get_it_is_named(monkeypatch):
    monkeypatch.setattr(melotts.importlib.util, "find_spec", lambda name: None)
    assert "INCLUDE_MELOTTS=true" in melotts.BACKEND.missing()


def test_where_it_is_there_nothing_is_missing(monkeypatch):
    monkeypatch.syspath_prepend(str(STAND_INS))
    assert melotts.BACKEND.missing() is None
    sys.modules.pop("melo", None)  # the look for melo.api imports the empty package above it


async def test_each_speaker_of_the_weights_can_be_asked_for(tmp_path):
    async with working(spec_of(melotts.BACKEND, plan(model_path=melo_folder(tmp_path)), **STAND_IN)) as link:
        first, second = [await samples(link, "Good day.", voice=voice) for voice in ("EN-US", "EN-BR")]
        assert first.size == second.size
        assert not (first == second).all()
        with pytest.raises(CallFailed, match="EN-US, EN-BR, EN_INDIA"):
            await spoken(link, "Good day.", voice="EN-AU")
        assert len((await spoken(link, "Good day to you. We are open today. See you soon, then."))[0]) == 3


async def test_without_weights_it_fails_at_once_and_fetches_nothing():
    with pytest.raises(WorkerUnavailable, match="not in the cache"):
        async with working(spec_of(melotts.BACKEND, plan(), **STAND_IN)):
            pass


async def test_a_gpu_that_is_not_there_is_said(tmp_path):
    made = plan(model_path=melo_folder(tmp_path), device="cuda")
    with pytest.raises(WorkerUnavailable, match="set it to cpu or auto"):
        async with working(spec_of(melotts.BACKEND, made, **STAND_IN)):
            pass


@pytest.mark.slow
async def test_the_real_package_speaks():
    if reason := melotts.BACKEND.missing():
        pytest.skip(reason)
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    try:
        async with working(spec_of(melotts.BACKEND, plan(device="cpu"))) as link:
            assert (await samples(link, "Good day to you.")).size > 8000
    except WorkerUnavailable as error:
        pytest.skip(f"the real MeloTTS is installed and could not be loaded: {error}")
