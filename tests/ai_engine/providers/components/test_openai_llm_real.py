"""The `openai` language model against llama.cpp's own server."""

from __future__ import annotations

import pytest

from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed
from ai_engine.providers.components.llm.openai import openai_language_model
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from local_ai_server.catalog import ModelMissing, find_model
from voice_core.history import Message
from voice_wire.audio import MULAW_8K
from voice_wire.messages import Sampling

pytestmark = pytest.mark.models
KEY = "sesame"
QUESTION = (Message("system", "You answer the phone of a shop. " * 4), Message("user", "Are you open today?"))
A_FEW = Sampling(max_tokens=8, temperature=0.0)


@pytest.fixture(scope="module")
def llama_server():
    xllamacpp = pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with xllamacpp")
    try:
        gguf = find_model("SmolLM2-135M-Instruct-Q8_0")
    except ModelMissing as missing:
        pytest.skip(str(missing))
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel, params.n_ctx = 1, 512
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = 1, 2
    params.api_keys = [KEY]
    params.ui, params.fit_params, params.swa_full, params.cache_ram_mib, params.verbosity = False, False, True, 0, 0
    return xllamacpp.Server(params)


@pytest.fixture
async def model(llama_server, tmp_path):
    services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path), environment={"RIGHT": KEY, "WRONG": "wrong"})
    call = CallInfo("c1", "default", "You are Joe.", "en", None, MULAW_8K)

    def make(key="RIGHT"):
        options = {"base_url": f"{llama_server.listening_address.rstrip('/')}/v1", "key": key, "timeout_s": 60}
        return openai_language_model(CallScope(call, services), options)

    yield make
    await services.clients.close()


async def answer(model, messages):
    async with model.reply(messages, sampling=A_FEW, speculative=False) as output:
        return "".join([piece async for piece in output])


async def test_it_is_found_primed_and_answers(model):
    llm = model()
    await llm.start()
    assert llm._server.vendor.name == "llama-server"
    await llm.warm(QUESTION[:1])
    assert isinstance(await answer(llm, QUESTION), str)  # what a model says is its own affair
    async with llm.reply(QUESTION, sampling=Sampling(max_tokens=400), speculative=True) as output:
        async for _ in output:
            break  # the caller went on: the server is free at once
    assert isinstance(await answer(llm, QUESTION), str)


async def test_a_conversation_longer_than_its_window_goes_on(model):
    talk = "We talked about bicycles and books. " * 8
    lines = [Message("user" if n % 2 == 0 else "assistant", talk) for n in range(9)]
    assert isinstance(await answer(model(), [QUESTION[0], *lines]), str)


async def test_a_wrong_key_is_told(model):
    with pytest.raises(ComponentFailed, match="set WRONG to a key that it accepts") as refused:
        await model("WRONG").start()
    assert "wrong" not in str(refused.value)
