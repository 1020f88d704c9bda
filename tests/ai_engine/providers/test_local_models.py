"""The pipeline on the real server with the real models: a spoken question in, a spoken answer out, both understood."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from ai_engine.contexts import load_contexts
from ai_engine.conversation.embedding_worker import EmbeddingWorker
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.local_socket import LocalSocket, LocalSocketSettings
from ai_engine.providers.components.stt.local import LocalSpeechToText
from ai_engine.providers.components.tts.local import LocalTextToSpeech
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    CallerSpeech,
    CallInfo,
    Provider,
    ProviderEvent,
    ProviderFailed,
    StageReached,
)
from ai_engine.providers.registry import make_factory
from ai_engine.providers.services import Services
from voice_core.history import Message
from voice_wire.audio import MULAW_8K, PCM_8K, convert

ROOT = Path(__file__).parents[3]
TOKEN = "a token for this test"

pytestmark = [
    pytest.mark.models,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not (ROOT / "models" / "llm").is_dir(), reason="the embedded models are not installed"),
]


class LocalServer:
    """local_ai_server in its own process; `kill` it as a crash would."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"

    async def start(self) -> None:
        environment = {"LOCAL_WS_PORT": str(self.port), "LOCAL_WS_AUTH_TOKEN": TOKEN, "LOCAL_AI_MODE": "full"}
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "local_ai_server",
                env={**os.environ, **environment},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        async with httpx.AsyncClient() as http, asyncio.timeout(90):
            while True:
                try:
                    if (await http.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                assert self.process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.2)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()


class Telephone:
    """Speaks questions with the server's own voice and writes down what the answer's sound says."""

    def __init__(self, url: str) -> None:
        self._socket = LocalSocket(LocalSocketSettings(url=url, token=TOKEN), call_id="telephone")

    async def speak(self, text: str) -> bytes:
        """Telephone-band PCM at 8 kHz, through mu-law as a call is."""
        tts = LocalTextToSpeech(self._socket)
        async with tts.speak(text, audio_format=MULAW_8K, speculative=False) as output:
            audio = b"".join([chunk async for chunk in output])
        return convert(audio, MULAW_8K, PCM_8K) + PCM_8K.silence(200)

    async def listen(self, audio: bytes) -> str:
        utterance = LocalSpeechToText(self._socket, input_format=MULAW_8K, language="en").stream(
            1, lambda text, backend: None
        )
        utterance.send(audio)
        heard = await utterance.decode(speculative=True)
        utterance.drop()
        return heard.text

    async def hang_up(self) -> None:
        await self._socket.close()


class Caller:
    def __init__(self, provider: Provider, telephone: Telephone) -> None:
        self.provider = provider
        self.telephone = telephone
        self.history: tuple[Message, ...] = ()
        self.turn = 0
        self.events: list[ProviderEvent] = []
        self.ended = asyncio.Event()

    async def read(self) -> None:
        async for event in self.provider.events():
            self.events.append(event)
            if isinstance(event, AgentAudioDone | ProviderFailed):
                self.ended.set()

    async def ask(self, question: str) -> str:
        """Speak `question`, return what was understood of the answer."""
        speech = await self.telephone.speak(question)
        self.turn += 1
        self.events.clear()
        self.ended.clear()
        for start in range(0, len(speech), 320):
            self.provider.send_audio(self.turn, speech[start : start + 320])
        self.provider.speculate(self.turn, 1, self.history)
        self.provider.adopt(self.turn, 1)
        async with asyncio.timeout(40):
            await self.ended.wait()
        chunks = [event for event in self.events if isinstance(event, AgentAudio)]
        said = " ".join(event.text for event in chunks if event.text)
        self.history += (Message("user", question), Message("assistant", said))
        return await self.telephone.listen(b"".join(event.audio for event in chunks)) if chunks else ""

    @property
    def source(self) -> str:
        return next(e.detail for e in self.events if isinstance(e, StageReached) and e.stage == "first_phrase")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local-models")


@asynccontextmanager
async def calling(state: Path) -> AsyncIterator[tuple[Caller, LocalServer]]:
    server, embedder = LocalServer(state / "server.log"), EmbeddingWorker()
    await asyncio.gather(server.start(), embedder.start())
    try:
        services = Services(
            local_url=server.url, local_token=TOKEN, rendered=RenderedSpeech(state / "speech"), embedder=embedder
        )
        context = load_contexts(ROOT / "config" / "contexts")["default"]
        texts = context.for_call(call_id="c1", now=datetime.now(UTC), caller_name="Ann")
        call = CallInfo("c1", "default", texts.system_prompt, "en", None, MULAW_8K)
        provider = make_factory("local", "local", {}, services).create(
            call, context, no_information=texts.no_information
        )
        await provider.start(call)
        telephone = Telephone(server.url)
        caller = Caller(provider, telephone)
        reading = asyncio.create_task(caller.read())
        yield caller, server
        await provider.stop()
        await reading
        await telephone.hang_up()
    finally:
        await embedder.stop()
        await server.stop()


async def test_a_spoken_question_gets_a_spoken_answer(state):
    async with calling(state) as (caller, _):
        answer = await caller.ask("What are your opening hours?")
        assert caller.source == "known:opening-hours"
        assert re.search(r"nine|9", answer)
        assert re.search(r"monday", answer, re.IGNORECASE)
        (heard,) = [event for event in caller.events if isinstance(event, CallerSpeech)]
        assert heard.final
        assert heard.stt_backend == "faster_whisper"
        assert "opening hours" in heard.text

        answer = await caller.ask("I had a really long day.")
        assert caller.source == "llm"
        assert answer.split()  # which words, no test can say
        stages = [event.stage for event in caller.events if isinstance(event, StageReached)]
        assert stages == ["stt_done", "llm_first_token", "first_phrase", "tts_first_audio"]


async def test_a_server_that_is_killed_fails_one_turn_and_the_next_is_answered(state):
    async with calling(state) as (caller, server):
        assert await caller.ask("Where are you located?")
        question = await caller.telephone.speak("Do you sell pianos?")
        caller.turn += 1
        caller.events.clear()
        caller.ended.clear()
        caller.provider.send_audio(caller.turn, question)
        caller.provider.speculate(caller.turn, 1, caller.history)
        caller.provider.adopt(caller.turn, 1)
        await asyncio.sleep(0.05)
        await server.kill()
        async with asyncio.timeout(5):
            await caller.ended.wait()
        (failure,) = [event for event in caller.events if isinstance(event, ProviderFailed)]
        assert failure.retryable
        await server.start()
        assert re.search(r"monday", await caller.ask("What are your opening hours?"), re.IGNORECASE)
