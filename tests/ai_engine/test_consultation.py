"""An attended transfer carried out: what Asterisk tells becomes what happened, and every leg is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ai_engine.asterisk.errors import AriError, AriUnreachable
from ai_engine.asterisk.events import (
    Channel,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelHangupRequest,
    Event,
    StasisEnd,
    StasisStart,
)
from ai_engine.consultation import ConsultationRun
from ai_engine.transfer import Happened, Limits, Result

CALLEE = Channel("callee", "PJSIP/601-1", "Up")
PATIENCE_S = 30.0
REFUSED = AriError(500, "POST", "/x", "refused")
AWAY = AriUnreachable("POST", "/x", "away")

ANSWERED, ENDED = StasisStart(CALLEE), StasisEnd(CALLEE)
HANGS_UP = ChannelHangupRequest(CALLEE)


class LegsOnPaper:
    """`Legs`, written down."""

    callee_id = "callee"
    asterisk_is_there = True

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failing: dict[str, list[AriError]] = {}
        self.run: ConsultationRun | None = None
        self.may_join = asyncio.Event()

    async def _do(self, what: str) -> None:
        await asyncio.sleep(0)
        self.done.append(what)
        if self.failing.get(what):
            raise self.failing[what].pop(0)

    async def hold_caller(self) -> None:
        await self._do("hold")

    async def ring(self) -> None:
        await self._do("ring")

    async def brief(self) -> None:
        await self._do("brief")
        await asyncio.Event().wait()  # until it is ended

    def tell_callee(self) -> None:
        self.done.append("tell")

    async def join(self) -> None:
        await self._do("join")
        await self.may_join.wait()

    async def hang_up_callee(self) -> None:
        await self._do("hang up")

    async def return_caller(self) -> None:
        await self._do("return")

    async def close(self) -> None:
        if self.done[-1:] != ["close"]:
            self.done.append("close")

    def key(self, digit: str) -> None:
        assert self.run is not None
        self.run.happened(Happened.ACCEPTED if digit == "1" else Happened.DECLINED)


class Consulted:
    """A run under way, and what a test does with it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.legs = LegsOnPaper()
        self.run = self.legs.run = ConsultationRun(self.legs, limits or Limits(), call_id="1")
        self.task = asyncio.create_task(self.run.run())

    async def until(self, *done: str) -> None:
        """Until exactly that was done."""
        async with asyncio.timeout(PATIENCE_S):
            while self.legs.done[: len(done)] != list(done):
                await asyncio.sleep(0.005)

    async def ends(self, result: Result, *done: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            assert await self.task is result
        assert self.legs.done == list(done)


RUNG = ("hold", "ring")
BRIEFED = (*RUNG, "brief")


@pytest.fixture
async def consulted() -> Consulted:
    found = Consulted()
    await found.until(*RUNG)
    return found


async def answered(consulted: Consulted) -> None:
    consulted.run.on_callee_event(ANSWERED)
    await consulted.until(*BRIEFED)


async def accepted(consulted: Consulted) -> None:
    await answered(consulted)
    consulted.run.on_callee_event(ChannelDtmfReceived(CALLEE, "1", 100))
    await consulted.until(*BRIEFED, "close", "join")


async def test_a_colleague_who_accepts_is_joined_with_the_caller(consulted: Consulted) -> None:
    await accepted(consulted)
    consulted.run.on_callee_event(ENDED)
    consulted.run.on_caller_left(hung_up=False)
    consulted.legs.may_join.set()
    await consulted.ends(Result.TRANSFERRED, *BRIEFED, "close", "join", "close")


@pytest.mark.parametrize(
    ("cause", "result"),
    [
        (17, Result.BUSY),
        (21, Result.BUSY),
        (19, Result.NO_ANSWER),
        (18, Result.NO_ANSWER),
        (16, Result.NO_ANSWER),
        (20, Result.UNREACHABLE),
        (1, Result.UNREACHABLE),
        (34, Result.UNREACHABLE),
    ],
)
async def test_a_telephone_that_is_not_answered_says_why(consulted: Consulted, cause: int, result: Result) -> None:
    consulted.run.on_callee_event(ChannelDestroyed(CALLEE, cause))
    await consulted.ends(result, *RUNG, "return", "close")


AFTER_THE_ANSWER: dict[str, tuple[list[Event], Result, tuple[str, ...]]] = {
    "declines": (
        [ChannelDtmfReceived(CALLEE, "2", 100)],
        Result.DECLINED,
        ("return", "close", "hang up", "close"),
    ),
    "hangs up": ([HANGS_UP, ENDED, ChannelDestroyed(CALLEE, 16)], Result.CALLEE_LEFT, ("return", "close")),
    "is gone without a word": ([ENDED, ChannelDestroyed(CALLEE, 16)], Result.CALLEE_LEFT, ("return", "close")),
}


@pytest.mark.parametrize("name", AFTER_THE_ANSWER)
async def test_a_colleague_who(consulted: Consulted, name: str) -> None:
    events, result, done = AFTER_THE_ANSWER[name]
    await answered(consulted)
    for event in events:
        consulted.run.on_callee_event(event)
    await consulted.ends(result, *BRIEFED, *without_repeats(done))


async def test_a_colleague_who_hangs_up_at_the_merge_was_not_joined(consulted: Consulted) -> None:
    await accepted(consulted)
    consulted.run.on_callee_event(HANGS_UP)
    consulted.run.on_callee_event(ENDED)
    consulted.legs.may_join.set()
    await consulted.ends(Result.CALLEE_LEFT, *BRIEFED, "close", "join", "return", "close")


async def test_a_caller_who_hangs_up_while_it_rings_leaves_nobody_ringing(consulted: Consulted) -> None:
    consulted.run.on_caller_left(hung_up=True)
    await consulted.ends(Result.CALLER_LEFT, *RUNG, "close", "hang up", "close")


async def test_a_colleague_is_told_that_the_caller_hung_up(consulted: Consulted) -> None:
    await answered(consulted)
    consulted.run.on_caller_left(hung_up=True)
    await consulted.until(*BRIEFED, "tell")
    consulted.run.happened(Happened.PARTED)
    await consulted.ends(Result.CALLER_LEFT, *BRIEFED, "tell", "close", "hang up", "close")


async def test_a_caller_who_hangs_up_at_the_merge_leaves_no_colleague(consulted: Consulted) -> None:
    await accepted(consulted)
    consulted.run.on_caller_left(hung_up=True)
    consulted.legs.may_join.set()
    await consulted.ends(Result.CALLER_LEFT, *BRIEFED, "close", "join", "close", "hang up", "close")


FAILURES: dict[str, tuple[str, Result, tuple[str, ...]]] = {
    "no music": ("hold", Result.FAILED, ("hold", "ring", "return", "close", "hang up", "close")),
    "nobody can be rung": ("ring", Result.UNREACHABLE, (*RUNG, "return", "close")),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_what_asterisk_refuses_at_the_beginning(name: str) -> None:
    step, result, done = FAILURES[name]
    consulted = Consulted()
    consulted.legs.failing[step] = [REFUSED]
    await consulted.ends(result, *done)


async def test_a_briefing_that_cannot_begin_brings_the_caller_back(consulted: Consulted) -> None:
    consulted.legs.failing["brief"] = [REFUSED]
    consulted.run.on_callee_event(ANSWERED)
    await consulted.ends(Result.FAILED, *BRIEFED, "return", "close", "hang up", "close")


async def test_a_merge_that_is_refused_brings_the_caller_back(consulted: Consulted) -> None:
    consulted.legs.failing["join"] = [REFUSED]
    await accepted(consulted)
    await consulted.ends(Result.FAILED, *BRIEFED, "close", "join", "return", "close", "hang up", "close")


async def test_asterisk_away_for_a_moment_still_gets_the_caller_back(consulted: Consulted) -> None:
    consulted.legs.failing["return"] = [AWAY, AWAY]
    consulted.legs.asterisk_is_there = False
    await consulted.ends(Result.FAILED, *RUNG, "return", "return", "return", "close", "hang up", "close")
    assert not consulted.run.transfer.caller_lost


async def test_a_caller_whom_asterisk_does_not_give_back_is_lost(consulted: Consulted) -> None:
    consulted.legs.failing["return"] = [REFUSED]
    consulted.run.on_callee_event(ChannelDestroyed(CALLEE, 17))
    await consulted.ends(Result.FAILED, *RUNG, "return", "close")
    assert consulted.run.transfer.caller_lost


async def test_asterisk_away_for_long_loses_the_caller() -> None:
    consulted = Consulted(Limits(return_s=0.2))
    await consulted.until(*RUNG)
    consulted.legs.failing["return"] = [AWAY] * 1000
    consulted.legs.failing["hang up"] = [AWAY]
    consulted.legs.asterisk_is_there = False
    async with asyncio.timeout(PATIENCE_S):
        assert await consulted.task is Result.FAILED
    assert consulted.run.transfer.caller_lost
    assert consulted.legs.done[-2:] == ["hang up", "close"]


async def test_time_ends_what_nobody_answers() -> None:
    consulted = Consulted(Limits(ring_s=0.05))
    await consulted.ends(Result.NO_ANSWER, *RUNG, "return", "close", "hang up", "close")


ENDS: dict[str, Callable[[Consulted], object]] = {
    "the engine stops": lambda consulted: consulted.run.happened(Happened.STOPPING),
    "the task is cancelled": lambda consulted: consulted.task.cancel(),
}


@pytest.mark.parametrize("briefed", [False, True])
@pytest.mark.parametrize("name", ENDS)
async def test_no_leg_is_left_when(consulted: Consulted, name: str, briefed: bool) -> None:
    if briefed:
        await answered(consulted)
    ENDS[name](consulted)
    await asyncio.wait((consulted.task,), timeout=PATIENCE_S)
    assert consulted.task.done()
    assert consulted.legs.done.count("hang up") == 1
    assert consulted.legs.done[-1] == "close"
    if not consulted.task.cancelled():
        assert consulted.task.result() is Result.CANCELLED
        assert "return" in consulted.legs.done


def without_repeats(done: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(step for step, following in zip(done, (*done[1:], ""), strict=True) if step != following)
