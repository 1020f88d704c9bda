"""A call's events come in order, calls do not wait for each other, nothing is lost and nothing is left behind."""

import asyncio
from collections.abc import Callable

import pytest
from ari_stand_in import bridge, channel, event
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.asterisk import events as e
from ai_engine.asterisk.dispatch import CUT_OFF, Dispatcher, Handler, Lane


def start(channel_id: str) -> e.Event:
    return e.parse_event(event("StasisStart", args=[], channel=channel(channel_id)))


def end(channel_id: str) -> e.Event:
    return e.parse_event(event("StasisEnd", channel=channel(channel_id)))


def dtmf(channel_id: str, digit: str) -> e.Event:
    return e.parse_event(event("ChannelDtmfReceived", channel=channel(channel_id), digit=digit, duration_ms=100))


class Desk:
    """Takes every new channel and notes what its lane delivers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, e.Event]] = []
        self.failures: list[tuple[str, Exception]] = []
        self.strays: list[str] = []
        self.opened: list[Lane] = []
        self.handler_for: Callable[[str, Lane], Handler | None] = self._note
        self.dispatcher = Dispatcher(
            self._new,
            on_failure=lambda key, exc: self.failures.append((key, exc)),
            is_ours=lambda found: found.startswith("parley-a-"),
            on_stray=lambda found: self.strays.append(found.id),
        )

    def _new(self, begun: e.StasisStart, lane: Lane) -> Handler | None:
        self.opened.append(lane)
        return self.handler_for(begun.channel.id, lane)

    def _note(self, key: str, lane: Lane) -> Handler | None:
        async def note(arrived: e.Event) -> None:
            await asyncio.sleep(0)
            self.seen.append((key, arrived))

        return note

    def digits(self, key: str) -> str:
        return "".join(found.digit for lane, found in self.seen if lane == key and hasattr(found, "digit"))


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_new_caller_gets_a_lane_whose_first_event_is_its_start() -> None:
    desk = Desk()
    desk.dispatcher.dispatch(start("c1"))
    desk.dispatcher.dispatch(dtmf("c1", "5"))
    await settle()
    assert [type(found) for _, found in desk.seen] == [e.StasisStart, e.ChannelDtmfReceived]
    assert desk.dispatcher.lanes == 1
    await desk.dispatcher.close()
    assert desk.dispatcher.lanes == 0


async def test_a_slow_call_delays_nobody_else() -> None:
    desk = Desk()
    gate = asyncio.Event()

    def slow(key: str, lane: Lane) -> Handler:
        async def handle(arrived: e.Event) -> None:
            if key == "slow":
                await gate.wait()
            desk.seen.append((key, arrived))

        return handle

    desk.handler_for = slow
    for found in (start("slow"), start("quick"), dtmf("slow", "1"), dtmf("quick", "2")):
        desk.dispatcher.dispatch(found)
    await settle()
    assert [key for key, _ in desk.seen] == ["quick", "quick"]
    gate.set()
    await settle()
    assert desk.digits("slow") == "1"
    await desk.dispatcher.close()


async def test_adopted_ids_come_into_the_calls_own_order() -> None:
    desk = Desk()
    desk.dispatcher.dispatch(start("c1"))
    lane = desk.opened[0]
    lane.adopt("parley-a-1-media")
    lane.adopt("parley-a-1-bridge")
    arriving = [
        start("parley-a-1-media"),
        e.parse_event(event("ChannelEnteredBridge", bridge=bridge("parley-a-1-bridge"), channel=channel("c1"))),
        dtmf("c1", "1"),
        e.parse_event(event("BridgeDestroyed", bridge=bridge("parley-a-1-bridge"))),
    ]
    for found in arriving:
        desk.dispatcher.dispatch(found)
    await settle()
    assert [found for key, found in desk.seen if key == "c1"][1:] == arriving
    assert len(desk.opened) == 1
    assert desk.strays == []
    await desk.dispatcher.close()


async def test_a_start_that_arrives_before_the_posts_answer_is_not_lost() -> None:
    desk = Desk()
    heard = asyncio.Event()

    async def handle(arrived: e.Event) -> None:
        heard.set()

    lane = desk.dispatcher.open("call-1", handle)
    lane.adopt("parley-a-call-1-media")
    desk.dispatcher.dispatch(start("parley-a-call-1-media"))  # and only now would the POST return
    await asyncio.wait_for(heard.wait(), 30)
    await desk.dispatcher.close()


async def test_a_channel_of_ours_without_a_call_is_a_stray_and_no_caller() -> None:
    desk = Desk()
    desk.dispatcher.dispatch(start("c1"))
    desk.opened[0].adopt("parley-a-1-media")
    desk.opened[0].release()
    desk.dispatcher.dispatch(start("parley-a-1-media"))
    assert desk.strays == ["parley-a-1-media"]
    assert len(desk.opened) == 1
    await desk.dispatcher.close()


async def test_release_drops_what_waits_and_ends_the_task() -> None:
    desk = Desk()
    desk.dispatcher.dispatch(start("c1"))
    await settle()
    desk.dispatcher.dispatch(dtmf("c1", "1"))
    desk.opened[0].release()
    desk.dispatcher.dispatch(dtmf("c1", "2"))
    await settle()
    assert desk.digits("c1") == ""
    assert desk.dispatcher.lanes == 0
    assert not desk.dispatcher.knows("c1")
    with pytest.raises(ValueError, match="released"):
        desk.opened[0].adopt("x")


async def test_a_handler_may_release_its_own_lane() -> None:
    desk = Desk()

    def once(key: str, lane: Lane) -> Handler:
        async def handle(arrived: e.Event) -> None:
            desk.seen.append((key, arrived))
            lane.release()

        return handle

    desk.handler_for = once
    desk.dispatcher.dispatch(start("c1"))
    desk.dispatcher.dispatch(dtmf("c1", "1"))
    await settle()
    assert len(desk.seen) == 1
    assert desk.dispatcher.lanes == 0


async def test_a_handlers_exception_ends_its_lane_only_and_is_reported() -> None:
    desk = Desk()

    def faulty(key: str, lane: Lane) -> Handler:
        async def handle(arrived: e.Event) -> None:
            if key == "bad":
                raise RuntimeError("boom")
            desk.seen.append((key, arrived))

        return handle

    desk.handler_for = faulty
    for found in (start("bad"), start("good"), dtmf("bad", "1"), dtmf("good", "2")):
        desk.dispatcher.dispatch(found)
    await settle()
    assert [(key, str(exc)) for key, exc in desk.failures] == [("bad", "boom")]
    assert desk.digits("good") == "2"
    assert desk.dispatcher.lanes == 1
    assert not desk.dispatcher.knows("bad")
    await desk.dispatcher.close()


async def test_a_caller_who_cannot_be_taken_is_reported_and_forgotten() -> None:
    desk = Desk()

    def refuse(key: str, lane: Lane) -> Handler | None:
        raise RuntimeError("no")

    desk.handler_for = refuse
    desk.dispatcher.dispatch(start("c1"))
    desk.handler_for = lambda key, lane: None
    desk.dispatcher.dispatch(start("c2"))
    assert [key for key, _ in desk.failures] == ["c1"]
    assert desk.dispatcher.lanes == 0
    assert not desk.dispatcher.knows("c1")
    assert not desk.dispatcher.knows("c2")


async def test_a_caller_who_leaves_and_returns_is_a_new_call_even_if_the_old_one_lingers() -> None:
    desk = Desk()
    for found in (start("c1"), end("c1"), start("c1"), dtmf("c1", "7")):
        desk.dispatcher.dispatch(found)
    await settle()
    assert len(desk.opened) == 2
    assert desk.dispatcher.lanes == 2
    desk.opened[0].release()
    desk.dispatcher.dispatch(dtmf("c1", "8"))
    await settle()
    assert desk.digits("c1") == "78"
    await desk.dispatcher.close()


async def test_a_caller_found_in_the_middle_of_a_talk_starts_as_one_who_was_cut_off() -> None:
    started: list[e.StasisStart] = []

    def take(begun: e.StasisStart, lane: Lane) -> None:
        started.append(begun)

    dispatcher = Dispatcher(
        take, on_failure=lambda key, error: None, is_ours=lambda key: False, on_stray=lambda found: None
    )
    dispatcher.announce(start("c1").channel, cut_off=True)
    dispatcher.announce(start("c2").channel)
    assert [(begun.channel.id, begun.args) for begun in started] == [("c1", (CUT_OFF,)), ("c2", ())]
    await dispatcher.close()


async def test_an_id_cannot_belong_to_two_calls() -> None:
    desk = Desk()
    desk.dispatcher.dispatch(start("c1"))
    desk.dispatcher.dispatch(start("c2"))
    desk.opened[0].adopt("parley-a-x-media")
    desk.opened[0].adopt("parley-a-x-media")
    with pytest.raises(ValueError, match="belongs to lane 'c1'"):
        desk.opened[1].adopt("parley-a-x-media")
    desk.opened[1].disown("parley-a-x-media")
    assert desk.dispatcher.knows("parley-a-x-media")
    desk.opened[0].disown("parley-a-x-media")
    assert not desk.dispatcher.knows("parley-a-x-media")
    await desk.dispatcher.close()


async def test_a_channel_found_after_a_reconnect_is_announced_once() -> None:
    desk = Desk()
    found = e.parse_channel(channel("c1"))
    desk.dispatcher.announce(found)
    desk.dispatcher.announce(found)
    assert len(desk.opened) == 1
    await desk.dispatcher.close()


async def test_events_of_nobody_are_passed_over() -> None:
    desk = Desk()
    for found in (dtmf("c9", "1"), e.parse_event(event("ApplicationReplaced")), end("c9")):
        desk.dispatcher.dispatch(found)
    assert desk.dispatcher.lanes == 0
    await desk.dispatcher.close()


async def test_close_cancels_handlers_in_progress_and_takes_no_more() -> None:
    desk = Desk()
    cancelled: list[str] = []

    def endless(key: str, lane: Lane) -> Handler:
        async def handle(arrived: e.Event) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(key)
                raise

        return handle

    desk.handler_for = endless
    desk.dispatcher.dispatch(start("c1"))
    await settle()
    await desk.dispatcher.close()
    assert cancelled == ["c1"]
    desk.dispatcher.dispatch(start("c2"))
    assert desk.dispatcher.lanes == 0
    assert desk.failures == []

    async def ignore(arrived: e.Event) -> None: ...

    with pytest.raises(ValueError, match="closed"):
        desk.dispatcher.open("c3", ignore)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("0123456789")), max_size=60))
def test_any_interleaving_keeps_each_calls_order(pressed: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        desk = Desk()
        for key in "abcd":
            desk.dispatcher.dispatch(start(key))
        for key, digit in pressed:
            desk.dispatcher.dispatch(dtmf(key, digit))
            if digit == "0":
                await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
        for key in "abcd":
            assert desk.digits(key) == "".join(digit for lane, digit in pressed if lane == key)
        await desk.dispatcher.close()

    asyncio.run(scenario())
