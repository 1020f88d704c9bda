"""Look-ups before a call never make it late; deliveries after it are tried again, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from ai_engine.tools.call_hooks import (
    AfterCalls,
    BeforeCall,
    CallFacts,
    CallRecord,
    HookFailed,
    Spoken,
    look_up_all,
)

FACTS = CallFacts("c1", "clinic", "100", "Ann", "700", "en", {"ai_tenant": "north"})
BEGAN = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
RECORD = CallRecord(FACTS, "caller_hung_up", BEGAN, BEGAN + timedelta(minutes=2), (Spoken("caller", "Hi\nthere"),))
LIMIT_S = 30


class LookUp:
    """Answers as it is told to."""

    def __init__(self, variables: Mapping[str, str], answer: Mapping[str, str] | Exception | None) -> None:
        """`answer` None: never."""
        self.lookup_variables = variables
        self._answer = answer
        self.ended = False

    async def look_up(self, call: CallFacts) -> Mapping[str, str]:
        assert call is FACTS
        try:
            if self._answer is None:
                await asyncio.Event().wait()
            if isinstance(self._answer, Exception):
                raise self._answer
        finally:
            self.ended = True
        assert not isinstance(self._answer, Exception | None)
        return self._answer


async def test_what_is_found_in_time_is_there_and_the_rest_has_its_default() -> None:
    hooks: list[BeforeCall] = [
        found := LookUp({"name": "", "vip": "no"}, {"name": "Ann", "other": "x"}),
        late := LookUp({"slow": "later"}, None),
        LookUp({"failed": "none"}, HookFailed("away")),
        LookUp({"broken": ""}, RuntimeError("a bug")),
    ]
    async with asyncio.timeout(LIMIT_S):
        values = await look_up_all(hooks, FACTS, deadline_s=0.2)
    assert values == {
        "lookup_name": "Ann",
        "lookup_vip": "no",
        "lookup_slow": "later",
        "lookup_failed": "none",
        "lookup_broken": "",
    }
    assert found.ended
    assert late.ended


async def test_nothing_to_look_up_takes_no_time() -> None:
    assert await look_up_all([], FACTS, deadline_s=0) == {}


async def test_a_caller_who_hangs_up_meanwhile_ends_the_look_up() -> None:
    hook = LookUp({"name": ""}, None)
    task = asyncio.create_task(look_up_all([hook], FACTS, deadline_s=LIMIT_S))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hook.ended


class Hook:
    """Fails as it is told to, then takes the record."""

    def __init__(self, *failures: Exception, waits: asyncio.Event | None = None, summary: str | None = None) -> None:
        self._failures = list(failures)
        self._waits = waits
        self.taken: list[str] = []
        self.tries = 0
        self.summaries = 0
        self.summary = self._summarise if summary is not None else None
        self._text = summary or ""

    async def _summarise(self, record: CallRecord) -> str:
        self.summaries += 1
        return self._text

    async def after_call(self, record: CallRecord, summary: str) -> None:
        self.tries += 1
        if self._waits is not None:
            await self._waits.wait()
        if self._failures:
            raise self._failures.pop(0)
        self.taken.append(f"{record.call.call_id} {summary}".strip())


def again() -> HookFailed:
    return HookFailed("away", retryable=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0)


CASES: dict[str, tuple[Hook, int, list[str], str]] = {
    "at once": (Hook(), 1, ["c1"], "delivered"),
    "after two failures, summarised once": (Hook(again(), again(), summary="Well."), 3, ["c1 Well."], "delivered"),
    "not after what will not change": (Hook(HookFailed("refused")), 1, [], "failed"),
    "not for ever": (Hook(again(), again(), again(), again()), 4, [], "failed"),
    "not after a bug": (Hook(RuntimeError("a bug")), 1, [], "failed"),
}


@pytest.mark.parametrize("case", CASES)
async def test_deliveries_are_tried_again(case: str) -> None:
    hook, tries, taken, outcome = CASES[case]
    told: list[tuple[str, str]] = []
    deliveries = AfterCalls(delays_s=(0, 0, 0), on_done=lambda name, how: told.append((name, how)))
    deliveries.call_ended(RECORD, [("hook", hook)])
    await until(lambda: deliveries.waiting == 0)
    assert (hook.tries, hook.taken, told) == (tries, taken, [("hook", outcome)])
    assert hook.summaries == (1 if hook.summary is not None else 0)


async def test_one_hook_that_hangs_keeps_no_other_and_no_call() -> None:
    never, hook = Hook(waits=asyncio.Event()), Hook()
    deliveries = AfterCalls(stop_within_s=0)
    deliveries.call_ended(RECORD, [("never", never), ("hook", hook)])
    await until(lambda: deliveries.waiting == 1)
    assert hook.taken == ["c1"]
    await deliveries.stop()
    assert deliveries.waiting == 0
    await deliveries.stop()


async def test_what_is_under_way_when_the_engine_stops_has_a_moment() -> None:
    gate = asyncio.Event()
    hook = Hook(waits=gate)
    deliveries = AfterCalls(stop_within_s=LIMIT_S)
    deliveries.call_ended(RECORD, [("hook", hook)])
    await until(lambda: hook.tries == 1)
    stopping = asyncio.create_task(deliveries.stop())
    gate.set()
    await stopping
    assert hook.taken == ["c1"]


async def test_deliveries_do_not_pile_up() -> None:
    told: list[str] = []
    deliveries = AfterCalls(max_waiting=3, stop_within_s=0, on_done=lambda _name, how: told.append(how))
    for _ in range(5):
        deliveries.call_ended(RECORD, [("never", Hook(waits=asyncio.Event()))])
    assert (deliveries.waiting, told) == (3, ["dropped", "dropped"])
    await deliveries.stop()


def test_a_record_has_a_line_a_turn() -> None:
    assert RECORD.transcript() == "Caller: Hi there"
    values = RECORD.values("S")
    assert (values["duration_s"], values["ai_tenant"], values["summary"]) == (120.0, "north", "S")
