"""Two hundred calls at once, each with a secret of its own: no prompt, answer or word of one holds another's.

The calls are real conversations and real pipelines, made by one factory as the engine makes them; what is behind them
(ears, model, voice) is one for all and notes what it is given. Times are virtual, all calls share one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import numpy as np
import pytest

from ai_engine.call_setup import phrases_for, settings_for
from ai_engine.context_parts import set_answers
from ai_engine.contexts import Context
from ai_engine.conversation import decisions as d
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.providers.components.component import ComponentFailed, SttTraits, Transcript
from ai_engine.providers.components.registry import LANGUAGE_MODELS, SPEECH_TO_TEXT, TEXT_TO_SPEECH
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.registry import make_factory
from ai_engine.providers.services import Services
from tests.openai_stand_in import DONE, StandIn, delta
from tools.hand_paced import HandPacedTransport
from voice_wire.audio import MULAW_8K, PCM_8K

CALLS = 200
TICK_S = 0.02
SECRET = re.compile(r"zq[a-z]{3}\b|\b9\d{3}\b", re.IGNORECASE)
"""Of one call: what stands in its prompt, and what its caller types."""
NOW = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
CONTEXTS = {
    name: Context(
        greeting="Hello {caller_name}, this is the " + name + ".",
        prompt="You answer for the " + name + ". The caller is {caller_name}, his code is {ai_code}.",
        filler=[],
        set_phrases=[{"id": "bye", "said": "never said", "act": "hang_up"}],
        known_answers={
            "near_score": 0.0,
            "accept_score": 1.5,
            "pairs": [{"id": "hours", "questions": "When are you open?", "answer": f"The {name} opens at nine."}],
        },
    )
    for name in ("clinic", "shop", "desk")
}


def word_of(number: int) -> str:
    return "zq" + "".join(chr(97 + number // 26**place % 26) for place in (2, 1, 0))


def own(number: int) -> set[str]:
    return {word_of(number), str(9000 + number)}


def secrets_in(text: str) -> set[str]:
    return {found.lower() for found in SECRET.findall(text)}


class Behind:
    """What serves all calls: it is told which call asks, and notes what it is given."""

    def __init__(self) -> None:
        self.random = random.Random(20)
        self.prompts: list[tuple[str, str, str]] = []
        """(call, what for, everything in it)."""
        self.spoken: list[tuple[str, str]] = []
        self.happened: Counter[str] = Counter()

    async def wait(self, most: int = 8) -> None:
        """Long enough for other calls to come in between."""
        for _ in range(self.random.randrange(1, most)):
            await asyncio.sleep(0)


class Part:
    def __init__(self, behind: Behind, call: CallInfo) -> None:
        self.behind = behind
        self.call_id = call.call_id

    async def start(self) -> None:
        await self.behind.wait()

    async def stop(self) -> None:
        """Nothing is held."""


class Pieces:
    def __init__(self, behind: Behind, pieces: list, fails: ComponentFailed | None = None) -> None:
        self._behind = behind
        self._pieces = pieces
        self._fails = fails

    def adopt(self) -> None:
        self._behind.happened["adopted while it ran"] += 1

    async def __aiter__(self):
        for piece in self._pieces:
            await self._behind.wait(4)
            yield piece
        if self._fails is not None:
            raise self._fails


class Ears(Part):
    """Understands the number that the sound consists of."""

    input_format = PCM_8K
    traits = SttTraits("ears", True)

    def on_change(self, listener) -> None:
        listener(self.traits)

    def stream(self, turn: int, on_partial) -> Heard:
        return Heard(self.behind, turn)


class Heard:
    def __init__(self, behind: Behind, turn: int) -> None:
        self._behind = behind
        self._turn = turn
        self._audio = b""

    def send(self, audio: bytes) -> None:
        self._audio += audio

    async def decode(self, *, speculative: bool) -> Transcript:
        audio = self._audio
        await self._behind.wait()
        numbers = sorted(set(np.frombuffer(audio, np.int16)[::160].tolist()))
        self._behind.happened["decoded early" if speculative else "decoded"] += 1
        words = " and ".join(word_of(number) for number in numbers)
        asks = "When are you open" if self._turn % 2 else "I said"
        return Transcript(f"{asks}, my code is {words}?", "ears", 0.9)

    def adopt(self) -> None:
        """It is quick enough."""

    def drop(self) -> None:
        self._audio = b""


class Door(Part):
    """The language model."""

    def _note(self, what_for: str, messages) -> str:
        text = "\n".join(f"{message.role}: {message.content}" for message in messages)
        self.behind.prompts.append((self.call_id, what_for, text))
        self.behind.happened[what_for] += 1
        return text

    @asynccontextmanager
    async def reply(self, messages, *, sampling, speculative, tools=()) -> AsyncIterator[Pieces]:
        prompt = self._note("speculation" if speculative else "reply", messages)
        self.behind.happened["near facts"] += "(Known:" in prompt
        await self.behind.wait()
        code = re.search(r"zq[a-z]{3}", messages[-1].content)
        said = f"Your code {code[0] if code else 'is new to me'}. I have a long answer to that, which goes on and on."
        fails = None
        if self.behind.random.random() < 0.15:
            fails = ComponentFailed("llm", "broken off", retryable=True)
            said = "" if self.behind.random.random() < 0.5 else said
            self.behind.happened["broken off"] += 1
        try:
            yield Pieces(self.behind, re.findall(r"\S+\s*", said), fails)
        except GeneratorExit:
            self.behind.happened["cancelled"] += 1
            raise

    async def warm(self, messages, *, tools=()) -> None:
        self._note("warm-up", messages)
        await self.behind.wait()


class Voice(Part):
    voice = "joe"

    @asynccontextmanager
    async def speak(self, text, *, audio_format, speculative) -> AsyncIterator[Pieces]:
        self.behind.spoken.append((self.call_id, text))
        await self.behind.wait()
        yield Pieces(self.behind, [b"\x30" * 480 * len(text)])


class OneCall:
    """A caller with a script: speaks, speaks over the agent, pauses within a turn, types, or hangs up in the middle."""

    def __init__(self, number: int, factory, rng: random.Random) -> None:
        self.number = number
        self.call_id = f"call-{number}"
        name = list(CONTEXTS)[number % len(CONTEXTS)]
        context = CONTEXTS[name]
        texts = context.for_call(
            call_id=self.call_id,
            now=NOW,
            caller_name=f"Mr {word_of(number).title()}",
            dialplan={"AI_CODE": word_of(number)},
        )
        info = CallInfo(
            self.call_id, name, texts.system_prompt, "en", None, MULAW_8K, variables=texts.variables
        )  # fmt: skip
        self.provider = factory.create(info, context, no_information=texts.no_information)
        self.info = info
        self.transport = HandPacedTransport(MULAW_8K)
        self.conversation = Conversation(
            self.transport,
            settings=settings_for(context, ConversationSettings(keypad_wait_s=0.4)),
            phrases=phrases_for(texts),
            set_answers=set_answers(context.set_phrases, "en"),
            keys=context.keypad.rules(),
        )
        start = rng.uniform(0.2, 1.5)
        over_agent = start + rng.uniform(2.2, 3.0)
        again = over_agent + rng.uniform(1.6, 2.6)
        self.speech = [(start, start + 0.7), (over_agent, over_agent + 1.3), (again, again + 0.5)]
        self.speech.append((again + 0.5 + rng.uniform(0.25, 0.5), again + 1.8))
        self.keys_at = again + 3.0 if number % 3 == 0 else None
        self.hangs_up_at = rng.uniform(1.0, 7.0) if number % 7 == 0 else 1e9
        frame = np.full(160, 4000, np.int16)
        frame[::2] = -4000
        frame[0] = number
        self.voiced = Frame(frame.tobytes(), FrameKind.SPEECH)
        quiet = np.zeros(160, np.int16)
        quiet[0] = number
        self.quiet = Frame(quiet.tobytes(), FrameKind.SPEECH)
        self.told: list[d.Decision] = []
        self.now = 0.0
        self.over = False
        self._pump: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        await self.provider.start(self.info)
        self._pump = asyncio.create_task(self._read())
        self.conversation.start(self.now)

    async def _read(self) -> None:
        async for event in self.provider.events():
            self.conversation.provider_event(event, self.now)

    def tick(self, now: float) -> None:
        if self.over:
            return
        self.now = now
        conversation = self.conversation
        speaking = any(begin <= now < end for begin, end in self.speech)
        conversation.hear(self.voiced if speaking else self.quiet, now)
        conversation.speech_probability(0.95 if speaking else 0.01, now, now)
        if self.keys_at is not None and now >= self.keys_at:
            self.keys_at = None
            for digit in f"{9000 + self.number}#":
                conversation.dtmf(digit, now)
        conversation.tick(now)
        self.transport.transmit(now)
        if now >= self.hangs_up_at:
            self.over = True
            conversation.end(now)
        decisions, conversation.decisions = conversation.decisions, []
        for decision in decisions:
            self._carry_out(decision)

    def _carry_out(self, decision: d.Decision) -> None:
        provider = self.provider
        if not isinstance(decision, d.SendAudio):
            self.told.append(decision)
        match decision:
            case d.SendAudio(turn, audio):
                provider.send_audio(turn, audio)
            case d.Speculate(turn, revision, history, text):
                provider.speculate(turn, revision, history, text)
            case d.Adopt(turn, revision):
                provider.adopt(turn, revision)
            case d.Discard(turn, revision):
                provider.discard(turn, revision)
            case d.Transcribe(turn, revision):
                provider.transcribe(turn, revision)
            case d.Forget(turn):
                provider.forget(turn)
            case d.Interrupt(turn, heard):
                provider.interrupt(turn, heard)
            case d.Say(turn, revision, text):
                provider.say(turn, revision, text)

    async def stop(self) -> None:
        await self.provider.stop()
        assert self._pump is not None
        await self._pump


class Near:
    """Finds texts alike that begin alike."""

    async def embed(self, texts, *, speculative=False):
        await asyncio.sleep(0)
        rows = [np.random.default_rng(zlib.crc32(text[:8].lower().encode())).normal(size=8) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


@pytest.fixture
def behind(monkeypatch) -> Behind:
    made = Behind()
    for registry, kind in ((SPEECH_TO_TEXT, Ears), (LANGUAGE_MODELS, Door), (TEXT_TO_SPEECH, Voice)):
        monkeypatch.setitem(registry, "behind", lambda scope, _options, kind=kind: kind(made, scope.call))
    return made


async def test_two_hundred_calls_never_show_one_anothers_secrets(behind, tmp_path):
    services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path), embedder=Near())
    chosen = {part: {"kind": "behind"} for part in ("stt", "llm", "tts")}
    factory = make_factory("main", "pipeline", {**chosen, "small_model": False}, services)
    rng = random.Random(7)
    calls = [OneCall(number, factory, rng) for number in range(CALLS)]
    await asyncio.gather(*(call.begin() for call in calls))
    for n in range(1, round(11.0 / TICK_S)):
        for call in calls:
            call.tick(n * TICK_S)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*(call.stop() for call in calls))

    by_id = {call.call_id: call for call in calls}
    for call_id, what_for, text in behind.prompts:
        number = by_id[call_id].number
        assert word_of(number) in secrets_in(text), f"{call_id} does not know its own caller"
        assert secrets_in(text) <= own(number), f"{what_for} of {call_id} holds {secrets_in(text) - own(number)}"
        context = by_id[call_id].info.context
        assert not [other for other in CONTEXTS if other != context and f"the {other}" in text.lower()]
    for call_id, text in behind.spoken:
        assert secrets_in(text) <= own(by_id[call_id].number), call_id
    for call in calls:
        told = " ".join(repr(decision) for decision in call.told)
        told += " ".join(message.content for message in call.conversation.history.messages())
        assert secrets_in(told) <= own(call.number), call.call_id
    assert {call_id for call_id, _, _ in behind.prompts} == set(by_id)

    # That all of it was interleaved and nothing was left out is part of the statement.
    asked_by = [call_id for call_id, _, _ in behind.prompts]
    assert sum(a != b for a, b in itertools.pairwise(asked_by)) > len(asked_by) / 2
    everything = Counter(type(decision).__name__ for call in calls for decision in call.told)
    for kind in ("Interrupt", "Discard", "Adopt", "Speculate", "Say", "AgentTurn"):
        assert everything[kind] >= CALLS / 2, (kind, everything)
    for what in ("speculation", "warm-up", "near facts", "broken off", "decoded early"):
        assert behind.happened[what] >= CALLS / 10, (what, behind.happened)
    assert sum("[keypad] 9" in text for _, _, text in behind.prompts) >= CALLS / 10


async def test_nor_do_they_at_a_server_behind_connections_that_they_share(behind, tmp_path):
    server = StandIn()
    server.script = [delta("Noted."), delta(" Anything else today?", finish="stop"), DONE]
    services = Services("ws://127.0.0.1:1", "", RenderedSpeech(tmp_path), embedder=Near())
    options = {
        "stt": {"kind": "behind"},
        "llm": {"kind": "openai", "options": {"base_url": server.url, "timeout_s": 60}},
        "tts": {"kind": "behind"},
        "small_model": False,
    }
    try:
        factory = make_factory("main", "pipeline", options, services)
        calls = [OneCall(number, factory, random.Random(number)) for number in range(40)]
        await asyncio.gather(*(call.provider.start(call.info) for call in calls))
        for turn in (1, 2, 3):
            for call in calls:
                call.provider.speculate(turn, 1, (), f"My code is {word_of(call.number)}.")
            await asyncio.sleep(0.01)
            for call in calls:
                if (call.number + turn) % 3 == 0:
                    call.provider.discard(turn, 1)
                    call.provider.speculate(turn, 2, (), f"My code, {word_of(call.number)}, I said.")
                call.provider.adopt(turn, 2 if (call.number + turn) % 3 == 0 else 1)
        spoken: Counter[str] = Counter()
        async with asyncio.timeout(60):
            while len([n for n in spoken.values() if n]) < len(calls):
                await asyncio.sleep(0.01)
                spoken = Counter(call_id for call_id, _ in behind.spoken)
        await asyncio.gather(*(call.provider.stop() for call in calls))
    finally:
        await services.clients.close()
        await asyncio.to_thread(server.stop)
    prompts = [" ".join(str(message["content"]) for message in asked["messages"]) for asked in server.asked]
    assert len(prompts) >= len(calls)
    for prompt in prompts:
        assert len(secrets_in(prompt)) == 1, prompt
    assert {secret for prompt in prompts for secret in secrets_in(prompt)} == {word_of(c.number) for c in calls}
