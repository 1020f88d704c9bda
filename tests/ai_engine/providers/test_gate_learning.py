"""What the gate goes by is the STT backend at work: learned from the server's messages, through the local provider.

A stand-in speaks the server's protocol; the provider and the conversation are real.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ai_engine.contexts import Context
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import Phrases
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.provider import BackendChanged, CallerSpeech, CallInfo
from ai_engine.providers.registry import make_factory
from ai_engine.providers.services import Services
from tests.ai_engine.conversation.virtual_call import VirtualTransport
from voice_wire.audio import MULAW_8K

sys.path.insert(0, str(Path(__file__).parent / "components"))
from stand_in_server import TOKEN, StandInServer

WHISPER, OTHER_WHISPER, VOSK, SHERPA = (
    ("faster_whisper", True),
    ("whisper_cpp", True),
    ("vosk", False),
    ("sherpa", False),
)
CALL = CallInfo("c1", "default", "You are Joe.", "en", None, MULAW_8K)


class Line:
    """The provider's events in a conversation, as a call hands them over."""

    def __init__(self, provider, server: StandInServer) -> None:
        self.provider = provider
        self.server = server
        self.conversation = Conversation(VirtualTransport(), phrases=Phrases(greeting="Hello.", filler=""))
        self.changes: list[tuple[str, bool]] = []
        self.heard: list[CallerSpeech] = []
        self.turn = 0

    @property
    def gated(self) -> bool:
        return self.conversation._gate.needs_gating

    async def read(self) -> None:
        async for event in self.provider.events():
            if isinstance(event, BackendChanged):
                self.changes.append((event.stt_backend, event.needs_gating))
            elif isinstance(event, CallerSpeech):
                self.heard.append(event)
            self.conversation.provider_event(event, 100.0)

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not met():
                await asyncio.sleep(0.005)

    async def speak(self) -> None:
        """The caller's words reach the server."""
        self.turn += 1
        before = len(self.server.streams_begun)
        self.provider.send_audio(self.turn, bytes(3200))
        await self.until(lambda: len(self.server.streams_begun) > before)

    async def decode(self) -> None:
        before = len(self.heard)
        self.provider.transcribe(self.turn, 1)
        await self.until(lambda: len(self.heard) > before)


@asynccontextmanager
async def calling(tmp_path: Path, backend: tuple[str, bool]) -> AsyncIterator[Line]:
    async with StandInServer() as server:
        server.stt_backend = backend
        services = Services(local_url=server.url, local_token=TOKEN, rendered=RenderedSpeech(tmp_path / "speech"))
        provider = make_factory("local", "local", {}, services).create(
            CALL, Context(greeting="Hello.", prompt="You are Joe."), no_information="I do not know."
        )
        line = Line(provider, server)
        assert line.gated, "a call starts gated"
        await provider.start(CALL)
        reading = asyncio.create_task(line.read())
        yield line
        await provider.stop()
        await reading


@dataclass(frozen=True)
class Case:
    name: str
    auth: tuple[str, bool]
    steps: str
    """`speak`, `decode`, `switch NAME`, `start NAME` and `result NAME`: what those messages say from then on."""
    learned: list[tuple[str, bool]] = field(default_factory=list)


KNOWN = dict([WHISPER, OTHER_WHISPER, VOSK, SHERPA])
CASES = [
    Case("auth_response: gated", WHISPER, "", [WHISPER]),
    Case("auth_response: streaming", VOSK, "", [VOSK]),
    Case("stt_started of an utterance says otherwise", WHISPER, "start sherpa, speak", [WHISPER, SHERPA]),
    Case("and the other way", SHERPA, "start whisper_cpp, speak", [SHERPA, OTHER_WHISPER]),
    Case("stt_result says otherwise", WHISPER, "speak, result vosk, decode", [WHISPER, VOSK]),
    Case("and the other way", VOSK, "speak, result faster_whisper, decode", [VOSK, WHISPER]),
    Case("one Whisper in place of another", WHISPER, "speak, result whisper_cpp, decode", [WHISPER, OTHER_WHISPER]),
    Case("backend_changed", WHISPER, "switch vosk, speak, decode", [WHISPER, VOSK]),
    Case("there and back", VOSK, "switch faster_whisper, speak, decode, switch vosk, speak, decode",
         [VOSK, WHISPER, VOSK]),
    Case("an utterance that began before the switch says nothing of what is at work now", VOSK,
         "speak, switch faster_whisper, result vosk, decode", [VOSK, WHISPER]),
    Case("nothing changes, nothing is told", WHISPER, "speak, decode, speak, decode", [WHISPER]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_gate_follows_the_backend_at_work(case, tmp_path):
    async with calling(tmp_path, case.auth) as line:
        for step in filter(None, case.steps.split(", ")):
            verb, _, name = step.partition(" ")
            if verb == "speak":
                await line.speak()
            elif verb == "decode":
                await line.decode()
            elif verb == "switch":
                count = len(line.changes)
                await line.server.change_backend(name, needs_gating=KNOWN[name])
                await line.until(lambda count=count: len(line.changes) > count)
            elif verb == "start":
                line.server.started_backend = (name, KNOWN[name])
            else:
                line.server.result_backend = name
        await line.until(lambda: len(line.changes) >= len(case.learned))
        assert line.changes == case.learned
        assert line.gated is case.learned[-1][1]
        assert line.provider.capabilities.needs_gating is line.gated
