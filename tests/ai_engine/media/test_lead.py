"""The frames that Asterisk has in hand, and how marks keep us in step with its timer."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.media.lead import Lead, Place

LEAD = 3


class Together:
    """We and Asterisk's queue, tick by tick."""

    def __init__(self, *, travel_ticks: int = 0) -> None:
        """`travel_ticks`: how long what is sent is under way, there and back each."""
        self.lead = Lead(LEAD)
        self.there: deque[list[str | bytes]] = deque([] for _ in range(travel_ticks))
        self.back: deque[list[str]] = deque([] for _ in range(travel_ticks))
        self.queue: list[str | bytes] = []
        self.to_come: list[str] = []
        self.said: list[bytes] = []
        self.played: list[bytes | None] = []
        self.believed: list[bytes | None] = []
        self.n = 0
        self.marks_arrive = True

    def ours(self, *, speaks: bool = True) -> None:
        self.back.append(self.to_come)
        self.to_come = []
        for mark in self.back.popleft():
            place = self.lead.acknowledged(mark)
            assert place is None or place.position <= self.n
        sent: list[str | bytes] = []
        for _ in range(self.lead.wanted):
            if not speaks:
                break
            if self.lead.mark_due:
                sent.append(self.lead.mark(Place(1, self.n)))
            self.n += 1
            frame = b"%d" % self.n
            self.lead.push(frame)
            sent.append(frame)
            self.said.append(frame)
        if self.lead.end_unmarked:
            sent.append(self.lead.mark(Place(1, self.n), trailing=True))
        self.believed.append(self.lead.take())
        self.there.append(sent)
        self.queue += self.there.popleft()

    def theirs(self) -> None:
        while self.queue and isinstance(self.queue[0], str):
            mark = self.queue.pop(0)
            if self.marks_arrive:
                self.to_come.append(str(mark))
        frame = self.queue.pop(0) if self.queue else None
        assert frame is None or isinstance(frame, bytes)
        self.played.append(frame)

    def run(self, ticks: int, *, speaks: bool = True) -> None:
        for _ in range(ticks):
            self.ours(speaks=speaks)
            self.theirs()

    @property
    def depth(self) -> int:
        return sum(isinstance(one, bytes) for one in self.queue)


def test_in_step() -> None:
    both = Together()
    both.run(100)
    assert both.played == both.believed == [b"%d" % n for n in range(1, 101)]
    assert both.depth == len(both.lead) == LEAD - 1
    both.run(10, speaks=False)
    assert both.played == both.believed
    assert [frame for frame in both.played if frame is not None] == both.said
    assert both.lead.marks_lost == both.lead.waited_ticks == 0


@pytest.mark.parametrize("missed", [1, 2, 3, 7, 20])
def test_asterisk_lost_ticks_and_the_backlog_does_not_stay(missed: int) -> None:
    both = Together()
    both.run(50)
    for _ in range(missed):
        both.ours()
    assert both.depth == LEAD - 1 + missed
    both.run(50)
    assert both.depth <= LEAD
    assert [frame for frame in both.played if frame is not None] == both.said[: len(both.said) - both.depth]
    assert None not in both.played


@pytest.mark.parametrize("missed", [1, 2, 5])
def test_we_were_late_and_asterisk_played_what_it_had(missed: int) -> None:
    both = Together()
    both.run(50)
    for _ in range(missed):
        both.theirs()
    both.run(60)
    assert LEAD - 2 <= both.depth <= LEAD
    assert both.believed[-1] in both.played[-3:]


@pytest.mark.parametrize("travel_ticks", [1, 2, 4])
def test_an_asterisk_far_off_is_not_taken_for_one_that_is_late(travel_ticks: int) -> None:
    both = Together(travel_ticks=travel_ticks)
    for _ in range(3):
        before = len(both.played)
        both.run(150)
        assert None not in both.played[before + travel_ticks :]
        assert both.depth == LEAD - 1
        both.run(40, speaks=False)
    assert both.lead.waited_ticks == 0
    both.run(50)
    for _ in range(4):
        both.ours()
    both.run(60)
    assert both.depth <= LEAD
    assert [frame for frame in both.played if frame is not None] == both.said[
        : len(both.said) - both.depth - travel_ticks
    ]


def test_one_jittery_mark_changes_nothing() -> None:
    both = Together()
    both.run(31)
    for _ in range(5):
        both.theirs()
        both.ours()
        both.run(9)
    assert both.lead.waited_ticks == 0
    assert None not in both.played


def test_a_standing_asterisk_is_not_filled_up_and_loses_nothing() -> None:
    both = Together()
    both.run(50)
    for _ in range(100):
        both.ours()
    assert both.depth < 40
    both.run(200)
    assert None not in both.played
    assert both.depth <= LEAD


def test_without_marks_the_estimate_goes_on() -> None:
    both = Together()
    both.marks_arrive = False
    both.run(1000)
    assert 100 <= both.lead.waited_ticks <= 101
    assert both.played[-1] is not None
    assert both.believed[-1] is not None


def test_xoff_holds_and_xon_lets_go() -> None:
    both = Together()
    both.run(20)
    both.lead.xoff()
    both.run(20)
    assert both.played[-1] is None
    both.lead.xon()
    both.run(20)
    assert both.played[-1] is not None
    assert both.depth == LEAD - 1


def test_marks_that_a_flush_freed_are_not_waited_for() -> None:
    both = Together()
    both.run(50)
    both.lead.drop()
    both.queue.clear()
    assert len(both.lead) == 0
    both.run(200)
    assert both.lead.waited_ticks == both.lead.marks_lost == 0
    assert None not in both.played


def test_unknown_and_repeated_marks_are_nothing() -> None:
    lead = Lead(LEAD)
    mark = lead.mark(Place(4, 320))
    assert lead.acknowledged("77") is None
    assert lead.acknowledged(mark) == Place(4, 320)
    assert lead.acknowledged(mark) is None


@given(st.lists(st.sampled_from(["run", "ours", "theirs", "quiet", "flush"]), max_size=120))
def test_whatever_happens_the_two_come_together_again(script: list[str]) -> None:
    both = Together()
    for step in script:
        match step:
            case "run":
                both.run(3)
            case "ours":
                both.ours()
            case "theirs":
                both.theirs()
            case "quiet":
                both.run(2, speaks=False)
            case "flush":
                both.lead.drop()
                both.queue.clear()
    both.run(150)
    assert both.depth <= LEAD + 10  # had it been late at the very first frame, it might have been far off
    both.run(30, speaks=False)
    both.run(150)
    assert both.depth <= LEAD
    assert both.played[-1] is not None
