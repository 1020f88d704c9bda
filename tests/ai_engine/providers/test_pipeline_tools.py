"""Tools in a pipeline's answers: asked for once adopted, their results spoken of, and nothing left when it is cut."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fake_components import CALL, Rig, my_tasks

from ai_engine.providers import answering
from ai_engine.providers.components.component import ToolWanted
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, StageReached, ToolCall
from ai_engine.providers.tool_choice import ToolChoice
from ai_engine.tools.tool import ToolSpec
from tests.ai_engine.providers.scripted_llm import ScriptedLlm
from voice_core.history import Message, ToolUse

BOOK = ToolSpec("book", "Books a table.", {"type": "object", "properties": {"people": {"type": "integer"}}})
LOOK_UP = ToolSpec("look_up", "Looks it up.", {"type": "object"}, filler="Let me look.")
WANTS_BOOK = ToolWanted("book", '{"people": 2}')


class ToolRig(Rig):
    def __init__(self, *rounds: list, tools=(BOOK,), **more) -> None:
        super().__init__(**more)
        self.llm = ScriptedLlm(*rounds)
        self.provider._llm = self.provider._answering._llm = self.llm
        self.tools = tools

    async def __aenter__(self):
        await self.provider.start(replace(CALL, tools=self.tools))
        self._reader = asyncio.create_task(self._read())
        return self

    async def called(self, count: int = 1) -> list[ToolCall]:
        async with asyncio.timeout(30):
            while len(self.of(ToolCall)) < count:
                await asyncio.sleep(0)
        return self.of(ToolCall)

    async def ask(self) -> ToolCall:
        """A turn whose answer wants a tool, adopted."""
        self.hear(1)
        self.provider.speculate(1, 1, ())
        self.provider.adopt(1, 1)
        return (await self.called())[0]


async def test_the_result_goes_back_to_the_model_which_speaks_of_it():
    async with ToolRig([WANTS_BOOK], ["It is ", "booked."]) as rig:
        call = await rig.ask()
        assert (call.turn, call.revision, call.name, call.arguments) == (1, 1, "book", {"people": 2})
        rig.provider.tool_result(call.tool_call_id, {"text": "Booked for two."})
        await rig.finished(1)
        assert rig.spoken(1) == "It is booked."
        use = ToolUse(call.tool_call_id, "book", '{"people": 2}')
        assert rig.llm.prompts[1][-2:] == [Message("assistant", "", use), Message("tool", "Booked for two.", use)]
        assert rig.llm.offered == [["book"], ["book"]]
        assert [e.detail for e in rig.of(StageReached) if e.stage == "first_phrase"] == ["tool:book"]


async def test_a_call_without_tools_is_asked_as_ever():
    async with ToolRig(["Hello there."], tools=()) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert rig.llm.offered == [[]]
        assert rig.of(ToolCall) == []


async def test_a_guess_may_want_a_tool_and_be_thrown_away():
    async with ToolRig([WANTS_BOOK], ["Never mind."]) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        (call,) = await rig.called()
        rig.provider.discard(1, 1)
        rig.hear(1)
        rig.provider.speculate(1, 2, ())
        rig.provider.adopt(1, 2)
        await rig.finished(1)
        rig.provider.tool_result(call.tool_call_id, {"text": "too late"})
        await rig.idle()
        assert rig.spoken(1) == "Never mind."
        assert len(rig.llm.prompts) == 2
    assert not my_tasks()


async def test_words_before_a_tool_are_spoken_at_once():
    async with ToolRig(["Let me see about a table. ", WANTS_BOOK], ["Done."]) as rig:
        call = await rig.ask()
        rig.provider.tool_result(call.tool_call_id, {"text": "Booked."})
        await rig.finished(1)
        assert rig.spoken(1) == "Let me see about a table. Done."


async def test_what_a_tool_wants_said_is_said_as_it_is():
    async with ToolRig([WANTS_BOOK]) as rig:
        call = await rig.ask()
        rig.provider.tool_result(call.tool_call_id, {"text": "x", "say": "Your table is booked."})
        await rig.finished(1)
        assert rig.spoken(1) == "Your table is booked."
        assert len(rig.llm.prompts) == 1


async def test_a_tool_may_want_nothing_said():
    async with ToolRig([WANTS_BOOK]) as rig:
        call = await rig.ask()
        rig.provider.tool_result(call.tool_call_id, {"text": "x", "say": "", "ends": True})
        await rig.finished(1)
        assert rig.spoken(1) == ""


@pytest.mark.parametrize(("rounds", "spoken"), [(["Goodbye then."], "Goodbye then."), ([], "")])
async def test_after_what_ends_the_call_the_model_may_only_speak(rounds, spoken):
    async with ToolRig([WANTS_BOOK], rounds) as rig:
        call = await rig.ask()
        rig.provider.tool_result(call.tool_call_id, {"text": "The call ends now.", "ends": True})
        await rig.finished(1)
        assert rig.llm.offered == [["book"], []]
        assert rig.spoken(1) == spoken, "no excuse is made up"


async def test_a_chain_of_tools_comes_to_an_end():
    async with ToolRig(*[[WANTS_BOOK]] * 3, ["Enough."]) as rig:
        await rig.ask()
        for number in range(3):
            call = (await rig.called(number + 1))[number]
            rig.provider.tool_result(call.tool_call_id, {"text": f"result {number}"})
        await rig.finished(1)
        assert rig.llm.offered == [["book"]] * 3 + [[]]
        assert rig.spoken(1) == "Enough."


async def test_several_tools_of_one_answer_run_in_their_order():
    async with ToolRig([WANTS_BOOK, ToolWanted("look_up", "")], ["Both done."], tools=(BOOK, LOOK_UP)) as rig:
        first = await rig.ask()
        assert first.name == "book"
        rig.provider.tool_result(first.tool_call_id, {"text": "one"})
        second = (await rig.called(2))[1]
        assert (second.name, second.arguments) == ("look_up", {})
        rig.provider.tool_result(second.tool_call_id, {"text": "two"})
        await rig.finished(1)
        assert [m.content for m in rig.llm.prompts[1] if m.role == "tool"] == ["one", "two"]


@pytest.mark.parametrize("arguments", ["{broken", "[1, 2]", "null", '"text"'])
async def test_arguments_that_are_no_object_run_nothing(arguments):
    async with ToolRig([ToolWanted("book", arguments)], ["I could not."]) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert rig.of(ToolCall) == []
        (result,) = [m for m in rig.llm.prompts[1] if m.role == "tool"]
        assert result.content == "Nothing was done: the arguments were no JSON object."
        assert result.tool.arguments == "{}", "servers refuse what is no JSON"


async def test_a_name_out_of_this_world_is_tamed():
    async with ToolRig([ToolWanted("drop table; --" * 9, "{}")], ["No."]) as rig:
        call = await rig.ask()
        assert len(call.name) == 64
        assert call.name.startswith("drop_table__")
        rig.provider.tool_result(call.tool_call_id, {"text": "no such tool"})
        await rig.finished(1)


async def test_a_small_model_is_held_to_what_the_tool_said():
    told = "The table is booked for seven."
    async with ToolRig([WANTS_BOOK], ["We have a lovely terrace by the sea."], small_model=True) as rig:
        call = await rig.ask()
        rig.provider.tool_result(call.tool_call_id, {"text": told})
        await rig.finished(1)
        assert told in rig.spoken(1)
        assert "terrace" not in rig.spoken(1)
        assert told in rig.llm.prompts[1][-1].content, "beside the question, as facts are"
        assert rig.llm.offered == [["book"], []], "one tool an answer"


async def test_an_interruption_forgets_who_waits_for_the_tool():
    async with ToolRig([WANTS_BOOK]) as rig:
        call = await rig.ask()
        rig.provider.interrupt(1, "")
        await rig.idle()
        rig.provider.tool_result(call.tool_call_id, {"text": "late"})
        await rig.idle()
        assert rig.of(AgentAudio) == []
        assert rig.provider._tools._waiting == {}
    assert not my_tasks()


async def test_a_slow_tool_has_its_filler_said(monkeypatch):
    monkeypatch.setattr(answering, "_FILLER_AFTER_S", 0.01)
    async with ToolRig([ToolWanted("look_up", "{}")], ["It is open."], tools=(LOOK_UP,)) as rig:
        call = await rig.ask()
        async with asyncio.timeout(30):
            while "look." not in rig.spoken(1):
                await asyncio.sleep(0.001)
        rig.provider.tool_result(call.tool_call_id, {"text": "open"})
        await rig.finished(1)
        assert rig.spoken(1) == "Let me look. It is open."


async def test_a_guess_says_no_filler(monkeypatch):
    monkeypatch.setattr(answering, "_FILLER_AFTER_S", 0.0)
    async with ToolRig([ToolWanted("look_up", "{}")], tools=(LOOK_UP,)) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.called()
        await asyncio.sleep(0.02)
        assert rig.of(AgentAudio) == []


async def test_a_quick_tool_has_none():
    async with ToolRig([ToolWanted("look_up", "{}")], ["Open."], tools=(LOOK_UP,)) as rig:
        call = await rig.ask()
        rig.provider.tool_result(call.tool_call_id, {"text": "open"})
        await rig.finished(1)
        assert rig.spoken(1) == "Open."


async def test_the_prompt_cache_is_primed_with_tools_and_what_they_brought():
    async with ToolRig([WANTS_BOOK], ["Done."]) as rig:
        call = await rig.ask()
        rig.provider.tool_result(call.tool_call_id, {"text": "Booked."})
        await rig.finished(1)
        await rig.idle()
        messages, tools = rig.llm.warmed[-1]
        assert tools == ["book"]
        assert [m.role for m in messages] == ["system", "user", "assistant", "tool", "assistant"]


async def test_the_answer_ends_once():
    async with ToolRig([WANTS_BOOK], ["Done."]) as rig:
        call = await rig.ask()
        rig.provider.tool_result(call.tool_call_id, {"text": "Booked."})
        rig.provider.tool_result(call.tool_call_id, {"text": "Booked again."})
        await rig.finished(1)
        await rig.idle()
        assert len(rig.of(AgentAudioDone)) == 1


class Chooser:
    """What the words of a remark choose."""

    def __init__(self, *choices: ToolChoice) -> None:
        self.choices = list(choices)
        self.prepared: list[int] = []

    async def prepare(self, tools) -> None:
        self.prepared.append(len(tools))

    async def choose(self, remark, tools, *, speculative) -> ToolChoice:
        return self.choices.pop(0)


async def test_a_small_model_is_not_asked_about_a_tool_that_was_plainly_asked_for():
    async with ToolRig(["It is booked."]) as rig:
        chooser = rig.provider._answering._tool_chooser = Chooser(ToolChoice((), (WANTS_BOOK,)))
        call = await rig.ask()
        assert (call.name, call.arguments) == ("book", {"people": 2})
        rig.provider.tool_result(call.tool_call_id, {"text": "Booked for two."})
        await rig.finished(1)
        assert rig.spoken(1) == "It is booked."
        assert rig.llm.offered == [[]]
        assert chooser.choices == []


async def test_a_small_model_is_offered_what_the_words_leave_open():
    async with ToolRig(["We are open."], tools=(BOOK, LOOK_UP)) as rig:
        rig.provider._answering._tool_chooser = Chooser(ToolChoice((LOOK_UP,)))
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert rig.llm.offered == [["look_up"]]
