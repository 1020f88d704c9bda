"""The engine's speech-to-text on the real server, whose models are made for the test: they count loud stretches.

One streams and one takes whole utterances, so a switch from the one to the other changes what the engine must do.
"""

import asyncio
import importlib.util
import json
import os
import re
import sys

import pytest
from websockets.asyncio.client import connect

from ai_engine.providers.components.component import SttTraits
from ai_engine.providers.components.local_socket import LocalSocket, LocalSocketSettings
from ai_engine.providers.components.stt.local import LocalSpeechToText
from voice_wire.audio import PCM_8K

pytest.importorskip("onnx", reason="the models of this test are made with onnx: pip install 'parley[dev]'")
from tests.local_ai_server.backends.stt.made_zipformer import loud, make_zipformer, make_zipformer_ctc, quiet

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(importlib.util.find_spec("sherpa_onnx") is None, reason="pip install 'parley[sherpa]'"),
]
DEADLINE_S = 60.0


@pytest.fixture
async def server(tmp_path):
    """(its address, the folder of its models)"""
    folder = tmp_path / "models"
    make_zipformer(folder / "streaming")
    make_zipformer_ctc(folder / "whole")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LOCAL_", "SHERPA_"))}
    environment |= {
        "LOCAL_WS_PORT": "0",
        "LOCAL_STT_BACKEND": "sherpa",
        "SHERPA_MODEL_PATH": str(folder / "streaming"),
        "ENABLE_TTS": "false",
        "ENABLE_LLM": "false",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_ai_server"),
        cwd=tmp_path,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = b""
    async with asyncio.timeout(DEADLINE_S):
        while (found := re.search(rb"ready on (ws://[\d.:]+)", said)) is None:
            line = await process.stdout.readline()
            assert line, said.decode()
            said += line
    reading = asyncio.create_task(process.stdout.read())
    yield found[1].decode(), folder
    process.terminate()
    await process.wait()
    await reading


async def switch(url, **fields):
    async with connect(url, compression=None) as client:
        await client.send(json.dumps({"type": "auth", "protocol_version": 3}))
        await client.send(json.dumps({"type": "switch_model", "request_id": "s", **fields}))
        async with asyncio.timeout(DEADLINE_S):
            async for message in client:
                answer = json.loads(message)
                if answer["type"] in ("switch_response", "error"):
                    return answer
    raise AssertionError("closed without an answer")


async def until(met):
    async with asyncio.timeout(DEADLINE_S):
        while not met():
            await asyncio.sleep(0.01)


async def test_the_engine_follows_the_server_from_a_streaming_backend_to_another_sort_mid_utterance(server):
    url, folder = server
    stt = LocalSpeechToText(LocalSocket(LocalSocketSettings(url=url), call_id="c"), input_format=PCM_8K, language="en")
    traits: list[SttTraits] = []
    stt.on_change(traits.append)
    await stt.start()
    assert traits == [SttTraits("sherpa", needs_gating=False)]

    heard: list[str] = []
    utterance = stt.stream(1, lambda text, backend: heard.append(text))
    for sound in (quiet(0.48, 8000), loud(0.48, 8000), quiet(0.4, 8000)):  # a chunk of the model's is 160 ms
        utterance.send(sound)
    await until(lambda: heard and heard[-1].startswith("One two three"))

    switching = asyncio.create_task(switch(url, stt_backend="sherpa", sherpa_model_path=str(folder / "whole")))
    await until(lambda: len(traits) == 2)
    assert traits[1] == SttTraits("sherpa", needs_gating=True)
    guess = await utterance.decode(speculative=True)
    assert guess.text.startswith("One two three"), "it ends on the engine that it began on"
    utterance.drop()
    assert (await switching)["status"] == "success"

    heard.clear()
    whole = stt.stream(2, lambda text, backend: heard.append(text))
    whole.send(loud(0.3, 8000))
    whole.send(quiet(0.3, 8000))
    whole.send(loud(0.3, 8000))
    assert (await whole.decode(speculative=False)).text == "One one"
    assert not heard, "whole utterances have no partial results"
    await stt.stop()
