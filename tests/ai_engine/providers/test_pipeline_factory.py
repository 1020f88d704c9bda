"""Providers from the configuration: choosing, complaining, preparing, and what is left when the server is away."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ai_engine.config_file import ConfigError
from ai_engine.contexts import Context
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.provider import CallInfo, ProviderError
from ai_engine.providers.registry import make_factory
from ai_engine.providers.services import Services
from model_worker.errors import WorkerDied
from voice_wire.audio import MULAW_8K, PCM_8K, PCM_16K

sys.path.insert(0, str(Path(__file__).parent / "components"))
from stand_in_server import TOKEN, StandInServer

CONTEXT = Context(
    greeting="Hello {caller_name}.",
    prompt="You are Joe.",
    known_answers={"pairs": [{"id": "hours", "questions": "When are you open?", "answer": "From nine to six."}]},
)


class Embedder:
    def __init__(self) -> None:
        self.fail = False

    async def embed(self, texts, *, speculative=False):
        if self.fail:
            raise WorkerDied("it crashed")
        return np.ones((len(texts), 4), np.float32) / 2


def services(tmp_path: Path, url: str = "ws://127.0.0.1:1", embedder: Embedder | None = None) -> Services:
    return Services(
        local_url=url, local_token=TOKEN, rendered=RenderedSpeech(tmp_path / "speech"), embedder=embedder or Embedder()
    )


def call(audio_format=MULAW_8K) -> CallInfo:
    return CallInfo("c1", "default", "You are Joe.", "en", None, audio_format)


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("locl", {}, "providers.main: no kind 'locl'; did you mean 'local'?"),
        ("local", {"max_word": 3}, "local: unknown option `max_word`; did you mean `max_words`?"),
        ("local", {"max_words": 1}, "local: `max_words`"),
        ("local", {"sampling": {"temprature": 1}}, "`sampling.temprature`"),
        (
            "pipeline",
            {"llm": {"kind": "gpt"}},
            "language model: no kind 'gpt'; there are anthropic, local, ollama, openai",
        ),
        ("pipeline", {"stt": {"options": {"x": 1}}}, "local speech to text: unknown option `x`; valid are: none"),
    ],
)
def test_what_cannot_be_made_is_refused_when_the_engine_starts(tmp_path, kind, options, complaint):
    with pytest.raises(ConfigError) as error:
        make_factory("main", kind, options, services(tmp_path))
    assert complaint in str(error.value)


@pytest.mark.parametrize(("plays", "hears"), [(MULAW_8K, PCM_8K), (PCM_16K, PCM_16K)])
def test_caller_audio_is_taken_at_the_rate_of_the_line(tmp_path, plays, hears):
    factory = make_factory("main", "local", {}, services(tmp_path))
    provider = factory.create(call(plays), CONTEXT, no_information="No.")
    assert provider.capabilities.input_format == hears
    assert provider.capabilities.needs_gating, "until the backend says otherwise"


async def test_prepared_lines_can_be_played_after_a_restart_without_the_server(tmp_path):
    async with StandInServer() as server:
        factory = make_factory("main", "local", {}, services(tmp_path, server.url))
        assert factory.rendered_line("default", CONTEXT.apology, MULAW_8K) is None
        await factory.prepare("default", CONTEXT, MULAW_8K)
        assert factory.rendered_line("default", CONTEXT.apology, MULAW_8K) == b"abcdef"
        assert factory.rendered_line("default", "From nine to six.", MULAW_8K) == b"abcdef"
        assert not server.connections or not await asyncio.sleep(0.1)

    factory = make_factory("main", "local", {}, services(tmp_path))
    with pytest.raises(ProviderError, match="python -m local_ai_server") as error:
        await factory.prepare("default", CONTEXT, MULAW_8K)
    assert error.value.retryable
    assert factory.rendered_line("default", CONTEXT.apology, MULAW_8K) == b"abcdef"


async def test_known_answers_that_cannot_be_indexed_are_a_provider_error(tmp_path):
    embedder = Embedder()
    embedder.fail = True
    async with StandInServer() as server:
        factory = make_factory("main", "local", {}, services(tmp_path, server.url, embedder))
        with pytest.raises(ProviderError, match="known answers: it crashed") as error:
            await factory.prepare("default", CONTEXT, MULAW_8K)
        assert error.value.retryable
        embedder.fail = False
        await factory.prepare("default", CONTEXT, MULAW_8K)


async def test_a_call_uses_one_connection_and_gives_it_back(tmp_path):
    texts = CONTEXT.for_call(call_id="c1", now=datetime.now(UTC), caller_name="Ann")
    async with StandInServer() as server:
        factory = make_factory("main", "pipeline", {}, services(tmp_path, server.url))
        provider = factory.create(call(), CONTEXT, no_information=texts.no_information)
        await provider.start(call())
        assert len(server.connections) == 1
        await provider.stop()
        async with asyncio.timeout(1):
            while server.connections:
                await asyncio.sleep(0.01)


async def test_starting_without_a_server_is_an_error_that_says_what_to_do(tmp_path):
    provider = make_factory("main", "local", {}, services(tmp_path)).create(call(), CONTEXT, no_information="")
    with pytest.raises(ProviderError, match="LOCAL_WS_URL"):
        await provider.start(call())
    await provider.stop()
