"""Between provider and conversation: what is passed on, and what is given back at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import MagicMock

import pytest

from ai_engine.call_dialogue import CallDialogue
from ai_engine.call_services import Outcome
from ai_engine.conversation.decisions import FallBack, Transfer
from ai_engine.providers.provider import ProviderEvent, ProviderFailed
from voice_wire.audio import MULAW_8K


class Provider:
    def __init__(self, events: list[ProviderEvent] | None = None, *, stop_fails: bool = False) -> None:
        self.stopped = False
        self.ended = asyncio.Event()
        self._events = events
        self._stop_fails = stop_fails

    async def events(self) -> AsyncIterator[ProviderEvent]:
        if self._events is None:
            raise KeyError("a bug")
        try:
            for event in self._events:
                yield event
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def stop(self) -> None:
        self.stopped = True
        if self._stop_fails:
            raise ConnectionResetError("gone")


def made(provider: Any, **given: Any) -> CallDialogue:
    unused = {name: MagicMock() for name in ("tools", "keys", "messages", "report", "rendered", "on_state", "finish")}
    return CallDialogue("a call", provider, **{**unused, "audio_format": MULAW_8K, "ended": lambda: False, **given})


def media() -> MagicMock:
    return MagicMock(transport=MagicMock(pcm_rate_hz=16000))


async def told(line: MagicMock) -> ProviderEvent:
    async with asyncio.timeout(10):
        while not line.provider_event.called:
            await asyncio.sleep(0)
    event: ProviderEvent = line.provider_event.call_args.args[0]
    return event


@pytest.mark.parametrize("semantic", [False, True])
async def test_all_is_given_back_whatever_a_part_raises(monkeypatch: pytest.MonkeyPatch, semantic: bool) -> None:
    async def broken(_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("ai_engine.call_dialogue.SemanticEndOfTurn.close", broken)
    provider, line = Provider([ProviderFailed(0, 0, "llm", "down", retryable=True)], stop_fails=not semantic), media()
    dialogue = made(provider)
    dialogue.begin(line, MagicMock() if semantic else None)
    await told(line)
    with pytest.raises(ValueError if semantic else ConnectionResetError):
        await dialogue.close()
    assert provider.stopped
    assert provider.ended.is_set()


async def test_a_provider_whose_events_break_off_is_reported_as_lost() -> None:
    line = media()
    dialogue = made(Provider(None))
    dialogue.begin(line, None)
    event = await told(line)
    assert isinstance(event, ProviderFailed)
    assert event.turn == 0
    assert event.retryable
    await dialogue.close()


def test_a_transfer_ends_the_call_and_says_where_to() -> None:
    outcomes: list[Outcome] = []
    dialogue = made(MagicMock(), finish=outcomes.append)
    dialogue.carry_out([Transfer("200", "", "wanted")])
    assert outcomes == [Outcome.TRANSFERRED]
    assert dialogue.transfer_to is not None
    assert dialogue.transfer_to.extension == "200"


def test_nothing_is_decided_for_a_call_that_has_ended() -> None:
    outcomes: list[Outcome] = []
    dialogue = made(MagicMock(), finish=outcomes.append, ended=lambda: True, messages=None)
    dialogue.carry_out([FallBack("late")])
    assert not outcomes
