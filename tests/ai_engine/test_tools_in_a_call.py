"""Conversation, pipeline and tools of one call together, on virtual time: what a caller hears and what is done."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ai_engine.call_tools import CallTools
from ai_engine.conversation import decisions as d
from ai_engine.conversation.agent_floor import INTERRUPTED
from ai_engine.providers.answering import Answering, AnsweringSettings
from ai_engine.providers.components.component import ToolWanted
from ai_engine.providers.pipeline import PipelineProvider
from ai_engine.tools.runner import ToolRunner
from ai_engine.tools.tool import Later, ToolCallScope, ToolResult, ToolSpec
from tests.ai_engine.conversation.test_conversation import Line
from tests.ai_engine.no_call_control import NoCallControl
from tests.ai_engine.providers.fake_components import CALL, FakeStt, FakeTts, World
from tests.ai_engine.providers.scripted_llm import ScriptedLlm


@dataclass
class Doing:
    """A tool that does what a test wants, when it wants it."""

    result: ToolResult
    go: asyncio.Event
    spec: ToolSpec
    timeout_s: float = 60.0
    ran: int = 0

    async def run(self, call, arguments):
        self.ran += 1
        await self.go.wait()
        return self.result


class OneCall:
    def __init__(self, result: ToolResult, *rounds: list) -> None:
        world = World()
        self.tool = Doing(result, asyncio.Event(), ToolSpec("do", "Does it.", {"type": "object"}))
        self.llm = ScriptedLlm(*rounds)
        tts = LongTts(world)
        answering = Answering(
            llm=self.llm, tts=tts, no_information="I do not know.", settings=AnsweringSettings(small_model=False)
        )
        stt = FakeStt(world, ["do it please", "wait a moment please", "and what then"])
        self.provider = PipelineProvider(stt=stt, llm=self.llm, tts=tts, answering=answering)
        self.line = Line()
        scope = ToolCallScope("c1", "shop", "", "", "700", "en", NoCallControl())
        self.tools = CallTools(ToolRunner([self.tool]), scope, self.provider, self._to_conversation)
        self.done: list[d.Decision] = []

    def _to_conversation(self, action) -> None:
        action(self.line.conversation, self.line.now)

    async def __aenter__(self) -> OneCall:
        await self.provider.start(replace(CALL, tools=[self.tool.spec]))
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.provider.stop()
        await self._reader
        self.tool.go.set()
        await self.tools.close()

    async def _read(self) -> None:
        async for event in self.provider.events():
            self.line.conversation.provider_event(event, self.line.now)

    async def run(self, seconds: float, probability: float = 0.0) -> None:
        for _ in range(round(seconds / 0.1)):
            self.line.run(0.1, probability)
            taken, self.line.conversation.decisions = self.line.conversation.decisions, []
            for decision in taken:
                self._carry_out(decision)
            for _ in range(60):
                await asyncio.sleep(0)

    def _carry_out(self, decision: d.Decision) -> None:
        provider: Any = self.provider
        match decision:
            case d.SendAudio(turn, audio):
                provider.send_audio(turn, audio)
            case d.Speculate(turn, revision, history, text):
                provider.speculate(turn, revision, history, text)
            case d.Transcribe() | d.Adopt() | d.Discard():
                getattr(provider, type(decision).__name__.lower())(decision.turn, decision.revision)
            case d.Forget(turn):
                provider.forget(turn)
            case d.Interrupt(turn, heard):
                provider.interrupt(turn, heard)
            case d.Say(turn, revision, text):
                provider.say(turn, revision, text)
            case d.RunTool():
                self.tools.begin(decision)
            case d.CarryOut():
                self.tools.carry_out(decision)
            case d.HangUp() | d.Transfer():
                self.done.append(decision)

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(m.role, m.content) for m in self.line.conversation.history.messages()]

    async def asked(self) -> None:
        """The caller has asked, and the tool is at work."""
        await self.run(0.6, 0.9)
        await self.run(1.5)
        assert self.tool.ran == 1


class LongTts(FakeTts):
    """A quarter of a second of sound for each word."""

    def speak(self, text, *, audio_format, speculative):
        return super().speak(" ".join("x" * 2000 for _ in text.split()), audio_format=audio_format, speculative=False)


WANTS = [ToolWanted("do", "{}")]


async def test_a_tool_is_run_and_spoken_of():
    async with OneCall(ToolResult("Done."), WANTS, ["It is done."]) as call:
        await call.asked()
        call.tool.go.set()
        await call.run(2.0)
        assert call.said == [
            ("user", "do it please"),
            ("assistant", ""),
            ("tool", "Done."),
            ("assistant", "It is done."),
        ]


@pytest.mark.parametrize("then", [d.HangUp("tool"), d.Transfer("700", "", "tool")])
async def test_what_follows_waits_for_the_farewell(then):
    result = ToolResult("Ends.", say="Goodbye and thank you for your call.", then=then)
    async with OneCall(result, WANTS) as call:
        await call.asked()
        call.tool.go.set()
        await call.run(1.0)
        assert call.done == []
        await call.run(2.0)
        assert call.done == [then]


async def test_what_is_put_off_is_carried_out():
    ran: list[str] = []

    async def brief() -> None:
        ran.append("briefed")

    result = ToolResult("x", say="One moment please.", then=Later(brief, "the briefing"))
    async with OneCall(result, WANTS) as call:
        await call.asked()
        call.tool.go.set()
        await call.run(0.5)
        assert ran == []
        await call.run(2.0)
        assert ran == ["briefed"]


async def test_who_talks_over_the_farewell_stays_and_the_model_knows():
    result = ToolResult("Ends.", say="Goodbye and thank you very much for your call today.", then=d.HangUp("tool"))
    async with OneCall(result, WANTS, ["Yes, of course."]) as call:
        await call.asked()
        call.tool.go.set()
        await call.run(0.8)
        await call.run(1.2, 0.9)
        await call.run(3.0)
        assert call.done == []
        assert ("tool", f"Ends. {INTERRUPTED}") in call.said
        assert [m.content for m in call.llm.prompts[1] if m.role == "tool"] == [f"Ends. {INTERRUPTED}"]
        assert call.said[-1] == ("assistant", "Yes, of course.")


async def test_who_talks_while_a_tool_runs_does_not_stop_it():
    async with OneCall(ToolResult("Done."), WANTS, ["Of course."], ["And then?"]) as call:
        await call.asked()
        await call.run(1.4, 0.9)
        call.tool.go.set()
        await call.run(3.0)
        assert call.tool.ran == 1
        assert ("tool", "Done.") in call.said
        assert call.said[-1] == ("assistant", "Of course.")
