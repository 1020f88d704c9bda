"""Which of several local AI servers gets the next call, and what is known of each."""

from __future__ import annotations

from collections import Counter

import pytest
from structlog.testing import capture_logs

from ai_engine.metrics import Metrics
from ai_engine.providers.server_fleet import SET_ASIDE_S, STEADY_S, UNUSABLE_S, ServerFleet


class Fleet(ServerFleet):
    def __init__(self, count: int = 3) -> None:
        self.now = 100.0
        super().__init__([f"ws://joe:geheim@{n}:1" for n in range(count)], clock=lambda: self.now)

    def placed(self, count: int = 1) -> str:
        """Where so many calls go, by number."""
        return "".join(self.place().label[len("ws://")] for _ in range(count))


def test_calls_go_to_the_least_loaded_and_by_turns_where_that_is_equal():
    fleet = Fleet()
    assert fleet.placed(7) == "0120120"
    one, two, three = fleet.servers
    fleet.leave(three)
    fleet.leave(three)
    assert fleet.placed(2) == "22"
    for server in (one, two, three):
        while server.calls:
            fleet.leave(server)
    assert Counter(fleet.placed(30)) == {"0": 10, "1": 10, "2": 10}


def test_each_is_tried_once_in_one_start_and_the_dead_come_last():
    fleet = Fleet()
    one, two, three = fleet.servers
    fleet.down(one, "gone")
    fleet.unusable(three, "wrong token")
    tried = []
    while (server := fleet.place(tried)) is not None:
        tried.append(server)
    assert tried == [two, one, three]


def test_a_full_server_gets_calls_again_when_one_leaves_it_or_after_a_while():
    fleet = Fleet(2)
    one, _ = fleet.servers
    assert fleet.placed(2) == "01"
    fleet.full(one, "2 sessions are open", 2)
    assert fleet.placed(3) == "111"
    fleet.leave(one)
    assert fleet.placed() == "0"
    fleet.full(one, "2 sessions are open", 2)
    fleet.now += SET_ASIDE_S - 0.1
    fleet.works(one, 0.01)
    assert fleet.placed() == "1", "that it is alive does not make room"
    fleet.now += 0.1
    assert fleet.placed() == "0"
    assert one.capacity == 2


def test_one_that_refuses_us_is_tried_again_after_a_minute_or_when_it_was_started_anew():
    fleet = Fleet(2)
    one, _ = fleet.servers
    fleet.unusable(one, "wrong token")
    fleet.works(one, 0.01)
    assert fleet.placed(2) == "11"
    fleet.now += UNUSABLE_S
    assert fleet.placed() == "0"
    fleet.unusable(one, "wrong token")
    fleet.down(one, "gone")
    fleet.works(one, 0.01)
    assert fleet.placed() == "0"


def test_a_server_that_kept_a_call_waiting_rests_and_may_still_take_over():
    fleet = Fleet(2)
    one, two = fleet.servers
    fleet.set_aside(one, "slow")
    assert fleet.placed(2) == "11"
    assert fleet.others(two)
    fleet.down(one, "gone")
    assert not fleet.others(two)
    assert fleet.others(one)


def test_a_server_that_comes_and_goes_rests_longer_each_time():
    fleet = Fleet(2)
    one, two = fleet.servers
    rests = []
    for _ in range(7):
        fleet.doubted(one, "lost")
        fleet.works(one, 0.01)
        rests.append(max(0.0, one.until - fleet.now) if one.state == "set_aside" else 0.0)
        fleet.now = max(fleet.now, one.until - 0.1)
        assert one.state == "up" or fleet.place() is two
        fleet.now += 1
        fleet.works(one, 0.01)
        assert one.state == "up"
    assert rests == pytest.approx([0, 5, 10, 20, 40, 60, 60])
    fleet.now += STEADY_S
    fleet.down(one, "gone")
    fleet.works(one, 0.01)
    assert one.state == "up"


def test_one_that_rests_still_takes_a_call_when_no_other_serves():
    fleet = Fleet(2)
    one, two = fleet.servers
    for _ in range(3):
        fleet.down(one, "gone")
        fleet.works(one, 0.01)
    fleet.down(two, "gone")
    assert (one.state, fleet.placed()) == ("set_aside", "0")


def test_a_doubt_calls_for_a_look():
    fleet, doubted = Fleet(), []
    fleet.on_doubt(doubted.append)
    fleet.doubted(fleet.servers[1], "lost")
    assert doubted == [fleet.servers[1]]
    assert fleet.servers[1].state == "down"


def test_each_change_of_state_is_one_line_and_nothing_shows_credentials():
    fleet, metrics = Fleet(2), Metrics()
    metrics.watch_local_servers(fleet)
    one, two = fleet.servers
    with capture_logs() as lines:
        for _ in range(3):
            fleet.works(one, 0.01)
            fleet.works(two, 0.01)
        for _ in range(3):
            fleet.down(one, "cannot be reached")
        fleet.place()
        fleet.moved(one)
    assert [(line["server"], line["state"]) for line in lines] == [
        ("ws://0:1", "up"), ("ws://1:1", "up"), ("ws://0:1", "down"),
    ]  # fmt: skip
    page = metrics.exposition().decode()
    for line in (
        'parley_local_server_up{server="ws://0:1"} 0.0',
        'parley_local_server_up{server="ws://1:1"} 1.0',
        'parley_local_server_calls{server="ws://1:1"} 1.0',
        'parley_local_server_failovers_total{server="ws://0:1"} 1.0',
    ):
        assert line in page
    assert [page["state"] for page in fleet.describe()] == ["down", "up"]
    assert fleet.describe()[1]["probe_ms"] == pytest.approx(10)
    assert "geheim" not in f"{lines} {page} {fleet.describe()} {fleet.servers}"


def test_a_single_server_is_always_tried_and_tells_nothing():
    fleet = Fleet(1)
    with capture_logs() as lines:
        fleet.down(fleet.servers[0], "gone")
    assert fleet.placed() == "0"
    assert not fleet.others(fleet.servers[0])
    assert not lines
