"""A whole call on virtual time whose provider is a real pipeline: its components run on scripts of pieces and pauses.

The event loop's clock is the call's, so that a minute of timeouts and streams takes as long as its computing.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from ai_engine.conversation import decisions as d
from ai_engine.conversation.conversation_settings import Phrases
from ai_engine.providers.answering import Answering, AnsweringSettings
from ai_engine.providers.circuit_breaker import CircuitBreaker
from ai_engine.providers.components.chain import Chain, Member
from ai_engine.providers.components.component import SttTraits, Transcript
from ai_engine.providers.components.llm.chain import ChainedLanguageModel
from ai_engine.providers.components.tts.chain import ChainedTextToSpeech
from ai_engine.providers.pipeline import PipelineProvider
from ai_engine.providers.provider import AgentAudio, CallInfo
from tools.scenarios.virtual_call import MS_PER_CHARACTER, TICK_S, VirtualCall
from tools.scenarios.virtual_parts import tag
from voice_wire.audio import MULAW_8K, PCM_8K

PROMPT = (
    "You are Joe. We are open from nine to six on every day of the week. On Sundays we are closed. "
    "You may book a table by telephone, at any hour, on any day, for any number of guests."
)
APOLOGY = "Sorry, something went wrong."
HANG = object()
_STEPS_A_TICK = 40
"""Of the loop: more than any chain of awaits here is long."""


class VirtualLoop(asyncio.SelectorEventLoop):
    now = 0.0

    def time(self):
        return self.now

    def step(self):
        for _ in range(_STEPS_A_TICK):
            self.call_soon(self.stop)
            self.run_forever()


class Stt:
    """Understands the same whatever it hears."""

    input_format = PCM_8K
    traits = SttTraits("scripted", needs_gating=True)

    async def start(self):
        pass

    stop = start

    def on_change(self, listener):
        listener(self.traits)

    def stream(self, turn, on_partial):
        return self

    def send(self, audio):
        pass

    async def decode(self, *, speculative):
        await asyncio.sleep(0.15)
        return Transcript("When are you open?", "scripted")

    def adopt(self):
        pass

    drop = adopt


class Scripted:
    """A stream of a script: pieces, pauses in seconds, an exception that ends it, HANG."""

    def __init__(self, script, first_s):
        self.script = script
        self.first_s = first_s

    def adopt(self):
        pass

    async def __aiter__(self):
        await asyncio.sleep(self.first_s)
        for step in self.script:
            if step is HANG:
                await asyncio.Event().wait()
            elif isinstance(step, Exception):
                raise step
            elif isinstance(step, float):
                await asyncio.sleep(step)
            else:
                yield step


class Llm:
    """`scripts` are its answers in order, the last one for ever."""

    def __init__(self, *scripts, first_s=0.3):
        self.scripts = list(scripts)
        self.first_s = first_s
        self.asked = []

    async def start(self):
        pass

    stop = start

    @asynccontextmanager
    async def reply(self, messages, *, sampling, speculative):
        self.asked.append([f"{message.role}: {message.content}" for message in messages])
        yield Scripted(self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0], self.first_s)

    async def warm(self, messages):
        pass


class Tts:
    """Speaks as long as the text is, in pieces of 100 ms.

    `breaks` maps parts of texts to how their sound ends: (after how many pieces, with what).
    """

    def __init__(self, voice="joe", breaks=None):
        self.voice = voice
        self.breaks = breaks or {}
        self.spoken = []

    async def start(self):
        pass

    stop = start

    @asynccontextmanager
    async def speak(self, text, *, audio_format, speculative):
        self.spoken.append(text)
        pieces = [bytes(800)] * max(1, round(len(text) * MS_PER_CHARACTER / 100))
        for after, how in [found for part, found in self.breaks.items() if part in text]:
            pieces = [*pieces[:after], how]
        yield Scripted(pieces, 0.15)


def chained(kind, *components, patience_s=4.0):
    members = [Member(f"{n}", part, CircuitBreaker(), patience_s) for n, part in enumerate(components)]
    made = Chain(kind, members, clock=lambda: 0.0)
    return ChainedLanguageModel(made) if kind == "llm" else ChainedTextToSpeech(made)


class PipelineCall(VirtualCall):
    """Use as a context."""

    def __init__(self, script, *, llm, tts):
        super().__init__(script, phrases=Phrases(greeting="", filler="", apology=APOLOGY))
        self.loop = VirtualLoop()
        self.loop.now = self.now
        answering = Answering(
            llm=llm, tts=tts, no_information="I do not know.", settings=AnsweringSettings(small_model=False)
        )
        self.pipeline = PipelineProvider(stt=Stt(), llm=llm, tts=tts, answering=answering, clock=self.loop.time)
        self.events = []

    def __enter__(self):
        call = CallInfo("c1", "default", PROMPT, "en", None, MULAW_8K)
        self.loop.run_until_complete(self.pipeline.start(call))
        self.reader = self.loop.create_task(self._read())
        return self

    def __exit__(self, *_):
        self.loop.run_until_complete(self.pipeline.stop())
        self.loop.run_until_complete(self.reader)
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()

    async def _read(self):
        async for event in self.pipeline.events():
            self.events.append(event)

    def tick(self):
        self.loop.now = round(self.now + TICK_S, 6)
        self.loop.step()
        events, self.events = self.events, []
        for event in events:
            self.conversation.provider_event(self._tagged(event), self.loop.now)
            self.drain()
        super().tick()

    def _tagged(self, event):
        if not isinstance(event, AgentAudio):
            return event
        octet = tag(event.turn, event.revision)
        self.tags[octet] = (event.turn, event.revision)
        return replace(event, audio=bytes([octet]) * len(event.audio))

    def _carry_out(self, decision):
        provider = self.pipeline
        match decision:
            case d.SendAudio(turn, audio):
                work = partial(provider.send_audio, turn, audio)
            case d.Transcribe(turn, revision):
                work = partial(provider.transcribe, turn, revision)
            case d.Speculate(turn, revision, history, text):
                work = partial(provider.speculate, turn, revision, history, text)
            case d.Adopt(turn, revision):
                work = partial(provider.adopt, turn, revision)
            case d.Discard(turn, revision):
                self.discarded.add((turn, revision))
                work = partial(provider.discard, turn, revision)
            case d.Forget(turn):
                work = partial(provider.forget, turn)
            case d.Say(turn, revision, text):
                work = partial(provider.say, turn, revision, text)
            case d.Interrupt(turn, heard):
                work = partial(provider.interrupt, turn, heard)
            case _:
                return
        self.loop.call_soon(work)

    # --- what happened ------------------------------------------------------------------------------------------------

    def longest_silence_s(self):
        """Between the first and the last sound of the agent."""
        loud = [at for at, frame in self.transport.wire if sum(octet in self.tags for octet in frame) > len(frame) // 2]
        return max(after - before for before, after in itertools.pairwise(loud))
