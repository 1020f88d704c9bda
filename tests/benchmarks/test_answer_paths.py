"""The three ways to one model are configuration only: each loads in the engine, laid over the project's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.llm.local import LocalLanguageModel
from ai_engine.providers.components.llm.openai import OpenAiLanguageModel
from ai_engine.providers.registry import make_factory
from ai_engine.providers.services import Services
from ai_engine.settings import load_settings
from benchmarks import answer_paths
from tools.stack import PROJECT

KINDS = {"local": LocalLanguageModel, "local_v1": OpenAiLanguageModel, "local_hybrid": OpenAiLanguageModel}


@pytest.fixture
def configured(tmp_path: Path):
    for name, source in (("ai-agent.yaml", "ai-agent.yaml"), ("ai-agent.local.yaml", answer_paths.CONFIG.name)):
        (tmp_path / name).write_text((PROJECT / "config" / source).read_text())
    secrets = {"ASTERISK_ARI_USERNAME": "u", "ASTERISK_ARI_PASSWORD": "p"}
    return load_settings(tmp_path / "ai-agent.yaml", tmp_path / "no.env", secrets).providers


def test_the_benchmark_compares_what_is_configured(configured):
    assert tuple(configured) == answer_paths.PATHS == tuple(KINDS)


@pytest.mark.parametrize("name", answer_paths.PATHS)
async def test_each_is_a_provider_of_the_engine(configured, tmp_path: Path, name: str):
    services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path))
    chosen = configured[name]
    assert make_factory(name, chosen.kind, chosen.options, services)
    model = answer_paths.language_model({"options": chosen.options}, services, "c1")
    assert type(model) is KINDS[name]
    await services.clients.close()


def test_the_ports_are_the_only_thing_that_the_benchmark_changes():
    written = yaml.safe_load(answer_paths.CONFIG.read_text())["providers"]
    changed = answer_paths.providers(8765, 8080)
    assert changed == written
    assert answer_paths.providers(1, 2)["local_hybrid"]["options"]["llm"]["options"]["base_url"].endswith(":2/v1")
