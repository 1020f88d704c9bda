"""Components that run on scripts, count what is open, and let a test stop time at each of their await points."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ai_engine.conversation.known_answers import Match
from ai_engine.providers.answering import Answering, AnsweringSettings
from ai_engine.providers.components.component import ComponentFailed, SttTraits, Transcript
from ai_engine.providers.pipeline import PipelineProvider
from ai_engine.providers.provider import AgentAudioDone, CallInfo, ProviderFailed
from voice_wire.audio import MULAW_8K, PCM_8K

CALL = CallInfo("call-1", "default", "You are Joe.", "en", None, MULAW_8K)


class World:
    """What all fakes share: a step counter with a hook, and a log of what they were asked."""

    def __init__(self) -> None:
        self.steps = 0
        self.at_step: Callable[[int], None] | None = None
        self.log: list[str] = []
        self.open: set[str] = set()
        self.hold: dict[str, asyncio.Event] = {}
        """A component waits here before its first result."""

    async def step(self) -> None:
        self.steps += 1
        if self.at_step is not None:
            self.at_step(self.steps)
        await asyncio.sleep(0)

    async def gate(self, name: str) -> None:
        await self.step()
        if name in self.hold:
            await self.hold[name].wait()


class FakeStt:
    input_format = PCM_8K

    def __init__(self, world: World, texts: list[str] | None = None) -> None:
        self.world = world
        self.texts = texts or []
        self.fail: list[ComponentFailed] = []
        self.traits = SttTraits("fake_whisper", True)
        self.listeners: list[Callable[[SttTraits], None]] = []
        self.utterances: list[FakeUtterance] = []
        self.start_error: ComponentFailed | None = None

    async def start(self) -> None:
        await self.world.step()
        if self.start_error:
            raise self.start_error
        self.world.open.add("stt")
        for listener in self.listeners:
            listener(self.traits)

    async def stop(self) -> None:
        self.world.open.discard("stt")

    def on_change(self, listener) -> None:
        self.listeners.append(listener)

    def stream(self, turn: int, on_partial) -> FakeUtterance:
        utterance = FakeUtterance(self, turn)
        utterance.tell = on_partial
        self.utterances.append(utterance)
        self.world.open.add(f"utterance {turn}")
        return utterance


class FakeUtterance:
    def __init__(self, stt: FakeStt, turn: int) -> None:
        self.stt = stt
        self.turn = turn
        self.audio = b""
        self.adopted = 0

    def send(self, audio: bytes) -> None:
        self.audio += audio

    async def decode(self, *, speculative: bool) -> Transcript:
        world = self.stt.world
        world.log.append(f"decode {self.turn} {len(self.audio)} {'speculative' if speculative else 'final'}")
        world.open.add("decode")
        try:
            await world.gate("stt")
            if self.stt.fail:
                raise self.stt.fail.pop(0)
            return Transcript(self.stt.texts.pop(0) if self.stt.texts else "hello there", "fake_whisper", 0.9)
        finally:
            world.open.discard("decode")

    def adopt(self) -> None:
        self.adopted += 1

    def drop(self) -> None:
        self.stt.world.open.discard(f"utterance {self.turn}")


class _Pieces:
    def __init__(self, world: World, name: str, pieces: list, fail_after: dict[int, ComponentFailed]) -> None:
        self.world = world
        self.name = name
        self.pieces = pieces
        self.fail_after = fail_after
        self.adopted = False

    def adopt(self) -> None:
        self.adopted = True
        self.world.log.append(f"adopt {self.name}")

    async def __aiter__(self):
        for number, piece in enumerate(self.pieces):
            await self.world.gate(self.name.split()[0])
            if number in self.fail_after:
                raise self.fail_after.pop(number)
            yield piece
        await self.world.step()
        if len(self.pieces) in self.fail_after:
            raise self.fail_after.pop(len(self.pieces))


class FakeLlm:
    def __init__(
        self, world: World, reply: str = "I like bicycles very much. They are quick, and they are fun."
    ) -> None:
        self.world = world
        self.reply_text = reply
        self.fail_after: dict[int, ComponentFailed] = {}
        self.prompts: list[list] = []
        self.samplings: list = []
        self.warmed: list[list] = []

    async def start(self) -> None:
        self.world.open.add("llm")

    async def stop(self) -> None:
        self.world.open.discard("llm")

    @asynccontextmanager
    async def reply(self, messages, *, sampling, speculative) -> AsyncIterator:
        self.prompts.append(list(messages))
        self.samplings.append(sampling)
        self.world.log.append(f"reply {'speculative' if speculative else 'final'}")
        await self.world.step()
        self.world.open.add("reply")
        try:
            words = self.reply_text.split()
            yield _Pieces(self.world, "llm", [f" {w}" if i else w for i, w in enumerate(words)], self.fail_after)
        finally:
            self.world.open.discard("reply")

    async def warm(self, messages) -> None:
        self.world.open.add("warm")
        try:
            await self.world.step()
            self.warmed.append(list(messages))
        finally:
            self.world.open.discard("warm")


class FakeTts:
    """Speaks a word as its own letters."""

    voice = "joe"

    def __init__(self, world: World) -> None:
        self.world = world
        self.fail_after: dict[int, ComponentFailed] = {}
        self.at_once = 0
        self.most_at_once = 0

    async def start(self) -> None:
        self.world.open.add("tts")

    async def stop(self) -> None:
        self.world.open.discard("tts")

    @asynccontextmanager
    async def speak(self, text, *, audio_format, speculative) -> AsyncIterator:
        self.world.log.append(f"speak {text} {'speculative' if speculative else 'final'}")
        await self.world.step()
        name = f"speak {text}"
        self.world.open.add(name)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield _Pieces(self.world, "tts", [word.encode() for word in text.split()], self.fail_after)
        finally:
            self.at_once -= 1
            self.world.open.discard(name)


class FakeAnswers:
    def __init__(self, world: World, match: Match | Exception | None = None) -> None:
        self.world = world
        self.found = match or Match("none", None, 0.0, 0.0)

    async def match(self, question: str, *, speculative: bool = False) -> Match:
        await self.world.step()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Rig:
    """A pipeline on fakes, with its events gathered as they are read."""

    def __init__(
        self,
        *,
        match: Match | Exception | None = None,
        rendered=None,
        texts=None,
        reply=None,
        max_words: int = 60,
        small_model: bool = False,
    ) -> None:
        self.world = World()
        self.stt = FakeStt(self.world, texts)
        self.llm = FakeLlm(self.world, reply) if reply is not None else FakeLlm(self.world)
        self.tts = FakeTts(self.world)
        self.now = 100.0
        answering = Answering(
            llm=self.llm,
            tts=self.tts,
            answers=FakeAnswers(self.world, match),
            rendered=rendered,
            no_information="I do not know that.",
            settings=AnsweringSettings(max_words=max_words, small_model=small_model),
        )
        self.provider = PipelineProvider(
            stt=self.stt, llm=self.llm, tts=self.tts, answering=answering, clock=lambda: self.now
        )
        self.events: list = []
        self._reader: asyncio.Task | None = None

    async def __aenter__(self) -> Rig:
        await self.provider.start(CALL)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_) -> None:
        await self.provider.stop()
        await self._reader

    async def _read(self) -> None:
        async for event in self.provider.events():
            self.events.append(event)

    def hear(self, turn: int, n_bytes: int = 320) -> None:
        self.provider.send_audio(turn, b"\0" * n_bytes)

    async def idle(self, rounds: int = 300) -> None:
        for _ in range(rounds):
            await asyncio.sleep(0)

    async def finished(self, turn: int) -> None:
        for _ in range(2000):
            if any(isinstance(e, AgentAudioDone | ProviderFailed) and e.turn == turn for e in self.events):
                return
            await asyncio.sleep(0)
        raise AssertionError(f"turn {turn} did not end: {self.events}")

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    def spoken(self, turn: int) -> str:
        from ai_engine.providers.provider import AgentAudio

        return " ".join(e.text for e in self.of(AgentAudio) if e.turn == turn and e.text)


def my_tasks() -> set[asyncio.Task]:
    return asyncio.all_tasks() - {asyncio.current_task()}
