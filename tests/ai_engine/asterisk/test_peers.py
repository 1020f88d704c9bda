"""Who is alive, and who cares for a caller: everybody who knows the same comes to the same answer."""

from hypothesis import given
from hypothesis import strategies as st

from ai_engine.asterisk.peers import Peers

DEAD_AFTER_S = 1.0
NAMES = ("ai-1", "ai-2", "ai-3", "ai-4")


def peers(own: str, *patterns: str) -> Peers:
    return Peers(own, patterns or ("ai-*",), dead_after_s=DEAD_AFTER_S)


def everybody_heard(rooms: dict[str, int], now: float = 0.0) -> dict[str, Peers]:
    """What each engine knows when each has heard each other's heartbeat."""
    views = {name: peers(name) for name in rooms}
    for name, view in views.items():
        view.listed(rooms, now)
        for other, room in rooms.items():
            if other != name:
                view.heard(other, room, now)
    return views


def test_patterns_name_the_others_and_never_ourselves() -> None:
    found = peers("ai-1", "ai-*", "desk")
    assert [found.includes(app) for app in ("ai-1", "ai-2", "desk", "queue")] == [False, True, True, False]
    assert not peers("ai-1", "none").includes("ai-2")


def test_silence_counts_from_the_first_look_and_from_each_heartbeat() -> None:
    found = peers("ai-1")
    found.listed(["ai-1", "ai-2", "other"], 10.0)
    assert list(found.apps) == ["ai-2"]
    assert (found.alive("ai-2", 10.5), found.silent(10.5), found.silent(11.5)) == (False, (), ("ai-2",))
    found.heard("ai-2", 3, 11.5)
    assert found.alive("ai-2", 12.0)
    assert found.silent(12.0) == ()
    assert found.silent(12.6) == ("ai-2",)
    assert not found.alive("ai-2", 12.6)


def test_an_application_that_is_gone_holds_nobody() -> None:
    found = peers("ai-1")
    found.listed(["ai-2"], 0.0)
    found.listed([], 5.0)
    assert found.silent(9.0) == ()


def test_a_stranger_whose_name_fits_a_pattern_is_not_trusted_until_it_is_heard() -> None:
    found = peers("ai-1", "ai-*", "ai-9")
    found.listed(["ai-2", "ai-9"], 0.0)
    assert (found.trusted("ai-2"), found.trusted("ai-9")) == (False, True)
    found.heard("ai-2", 0, 1.0)
    assert found.trusted("ai-2")


def test_after_a_standstill_of_ours_nobody_is_taken_for_dead() -> None:
    found = peers("ai-1")
    found.listed(["ai-2", "ai-3"], 0.0)
    found.heard("ai-2", 1, 0.0)
    found.excuse(7.0)
    assert found.silent(7.5) == ()
    assert found.living(7.5) == ("ai-2",)
    assert set(found.silent(8.5)) == {"ai-2", "ai-3"}


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5), min_size=1),
    st.text(min_size=1, max_size=12),
)
def test_each_caller_has_exactly_one_engine_of_each_rank(rooms: dict[str, int], caller: str) -> None:
    views = everybody_heard(rooms)
    ranks = {name: view.rank(caller, rooms[name], 0.5) for name, view in views.items()}
    assert sorted(ranks.values()) == list(range(len(rooms)))
    first = next(name for name, rank in ranks.items() if rank == 0)
    assert rooms[first] > 0 or not any(rooms.values())


@given(st.text(min_size=1, max_size=12))
def test_a_caller_stays_with_his_engine_when_another_dies(caller: str) -> None:
    everybody = everybody_heard(dict.fromkeys(NAMES, 5))
    order = sorted(NAMES, key=lambda name: everybody[name].rank(caller, 5, 0.5))
    without_last = everybody_heard(dict.fromkeys(order[:3], 5))
    assert sorted(order[:3], key=lambda name: without_last[name].rank(caller, 5, 0.5)) == order[:3]


def test_callers_are_spread_over_all_who_live() -> None:
    views = everybody_heard(dict.fromkeys(NAMES, 5))
    taken = {name: sum(view.rank(f"{n}.{n}", 5, 0.5) == 0 for n in range(400)) for name, view in views.items()}
    assert sum(taken.values()) == 400
    assert all(60 < count < 140 for count in taken.values()), taken
