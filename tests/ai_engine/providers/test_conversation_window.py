"""What the model is told of a long call, and an hour of one through the whole provider."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fake_components import Rig
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.providers import conversation_window
from ai_engine.providers.components.component import ComponentFailed
from ai_engine.providers.conversation_window import ConversationWindow, Summariser, telling_lines, tokens_of
from ai_engine.providers.pipeline_factory import PipelineOptions
from voice_core.history import History, Message, ToolUse

NAME = "My name is Ada Lovelace."
BUDGET = 200


def conversation(turns: int) -> list[Message]:
    lines = [Message("assistant", "Hello, how can I help you?")]
    for turn in range(turns):
        said = NAME if turn == 0 else f"Tell me something about the weather, please, once more, {turn}."
        lines += [Message("user", said), Message("assistant", "It is sunny today, and it will be tomorrow.")]
    return lines


class Llm:
    """Writes the record that it is given, or fails."""

    def __init__(self, record: str = "", *, error: Exception | None = None, hangs: bool = False) -> None:
        self.record, self.error, self.hangs = record, error, hangs
        self.asked: list[Any] = []

    @asynccontextmanager
    async def reply(self, messages, *, sampling, speculative, tools=()):
        self.asked.append((messages, sampling, speculative))
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        yield _pieces(self.record)


async def _pieces(text):
    for word in text.split(" "):
        yield f"{word} "


async def test_a_short_call_is_told_as_it_was():
    window, lines = ConversationWindow(BUDGET), conversation(3)
    assert await Summariser(window, Llm(), small_model=True).make_room(lines) is False
    assert window.view(lines) == tuple(lines)


@pytest.mark.parametrize("budget", [0, 10_000])
async def test_without_a_limit_nothing_is_left_out(budget):
    window, lines = ConversationWindow(budget), conversation(60)
    assert await Summariser(window, Llm(), small_model=True).make_room(lines) is False


async def test_a_small_model_keeps_the_callers_own_telling_lines():
    window, llm, lines = ConversationWindow(BUDGET), Llm(), conversation(30)
    assert await Summariser(window, llm, small_model=True).make_room(lines)
    view = window.view(lines)
    assert view[0].role == "system"
    assert NAME in view[0].content
    assert view[1].role == "user"
    assert view[-1] == lines[-1]
    assert tokens_of(view) <= BUDGET
    assert llm.asked == []


async def test_a_larger_model_writes_the_record_and_what_was_before_goes_into_it():
    window, llm, lines = ConversationWindow(BUDGET), Llm("Ada asks about the weather."), conversation(30)
    summariser = Summariser(window, llm, small_model=False)
    assert await summariser.make_room(lines)
    assert window.view(lines)[0].content.endswith("Ada asks about the weather.")
    lines = conversation(60)
    assert await summariser.make_room(lines)
    messages, _, speculative = llm.asked[1]
    assert speculative
    assert "Record so far: Ada asks about the weather." in messages[1].content
    assert NAME not in messages[1].content  # the record has it


@pytest.mark.parametrize("llm", [Llm(error=ComponentFailed("llm", "away")), Llm(hangs=True), Llm("")])
async def test_a_record_that_is_not_written_is_made_of_the_callers_lines(llm, monkeypatch):
    monkeypatch.setattr(conversation_window, "_SUMMARY_S", 0.05)
    window, lines = ConversationWindow(BUDGET), conversation(30)
    assert await Summariser(window, llm, small_model=False).make_room(lines)
    assert NAME in window.summary


async def test_a_record_that_is_cancelled_leaves_all_as_it_was():
    window, lines = ConversationWindow(BUDGET), conversation(30)
    making = asyncio.create_task(Summariser(window, Llm(hangs=True), small_model=False).make_room(lines))
    await asyncio.sleep(0.01)
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    assert window.view(lines) == tuple(lines)


def test_the_newest_turn_stays_however_long_it_is():
    window = ConversationWindow(20)
    lines = [Message("user", "x" * 400), Message("assistant", "Well."), Message("user", "y" * 4000)]
    assert window.due(lines) == 2
    window.leave_out(2, "…")
    assert window.due(lines) == 0
    assert window.view(lines)[1:] == (lines[2],)


def test_what_tools_brought_is_part_of_the_record():
    use = ToolUse("a1", "order", "{}")
    older = [Message("user", "Hm."), Message("assistant", "", use), Message("tool", "Order 4711 is on its way.", use)]
    assert telling_lines("", older, max_chars=100) == "A tool brought: Order 4711 is on its way."


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), st.text(max_size=80)), max_size=60))
def test_any_history_is_brought_back_to_its_size(spoken):
    lines = [Message(role, text) for role, text in spoken]
    window = ConversationWindow(BUDGET)
    record = telling_lines("", lines, max_chars=window.summary_chars)
    assert len(record) <= window.summary_chars
    until = window.due(lines)
    assert until == 0 or lines[until].role == "user"
    if until:
        window.leave_out(until, record)
        newest = next(at for at in range(len(lines) - 1, -1, -1) if lines[at].role == "user")
        assert window.due(lines) == 0 or until == newest


@pytest.mark.parametrize("options, tokens", [({}, 300), ({"small_model": False}, 3000), ({"history_tokens": 0}, 0)])
def test_the_limit_follows_the_model_unless_it_is_set(options, tokens):
    assert PipelineOptions(**options).window_tokens == tokens


async def test_an_hour_s_call_keeps_its_prompt_short_and_what_the_caller_said_of_himself():
    """As many turns as an hour has, through the provider, with no clock to wait for."""
    turns = 200
    async with Rig() as rig:
        provider = rig.provider
        provider._window = ConversationWindow(300)
        provider._summariser = Summariser(provider._window, rig.llm, small_model=True)
        history, told = History(), []
        for turn in range(1, turns + 1):
            rig.stt.texts = [NAME if turn == 1 else f"Tell me something about the weather, please, once more, {turn}."]
            rig.hear(turn)
            provider.speculate(turn, 1, history.messages())
            provider.adopt(turn, 1)
            await rig.finished(turn)
            history.caller(turn, rig.llm.prompts[-1][-1].content)
            history.agent(turn, rig.spoken(turn))
            told.append(tokens_of(rig.llm.prompts[-1]))
            async with asyncio.timeout(30):
                while provider._warming is not None and not provider._warming.done():
                    await asyncio.sleep(0)
        assert len(history.messages()) == 2 * turns
        assert max(told) <= 300 + 120  # the persona, the examples and the question stand beside
        assert NAME in "".join(message.content for message in rig.llm.prompts[-1])
        assert len(provider._works) <= 4
        assert len(provider._hearings) <= 3
