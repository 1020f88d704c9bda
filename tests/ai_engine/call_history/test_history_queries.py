"""Which calls a question finds, page by page, whatever is asked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_calls import NOON, sample_call

from ai_engine.call_history.queries import EQUALS, CallFilter, Query, list_calls, one_call, parse_query, whole_calls
from ai_engine.call_history.store import HistoryStore


async def ids(store: HistoryStore, **words: str) -> set[str]:
    calls, _ = await list_calls(store, parse_query(words))
    return {call["call_id"] for call in calls}


@pytest.fixture
async def three(store: HistoryStore) -> HistoryStore:
    await sample_call("a", at=NOON, said="Einen Tisch ÜBER dem Fluss, 100 % sicher").into(store)
    await sample_call("b", at=NOON + 60, caller="+44200", context="clinic", said="my_knee hurts").into(store)
    await sample_call("c", at=NOON + 120, caller="+44200", app="ai-agent-2", said="myxknee", ended=False).into(store)
    return store


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ({}, "abc"),
        ({"context": "clinic"}, "b"),
        ({"caller_number": "+44200"}, "bc"),
        ({"caller_number": "+44200", "context": "restaurant"}, "c"),
        ({"caller_number": "44200"}, ""),
        ({"engine_app": "ai-agent-2"}, "c"),
        ({"outcome": "caller_hung_up"}, "ab"),
        ({"since": str(NOON + 60)}, "bc"),
        ({"until": "2026-11-20T13:01:00+01:00"}, "a"),
        ({"since": "2026-11-20T12:00:30", "until": "2026-11-20T12:01:30"}, "b"),
        ({"since": "2026-11-21"}, ""),
        ({"q": "100 %"}, "a"),
        ({"q": "%"}, "a"),
        ({"q": "my_knee"}, "b"),
        ({"q": "44200"}, "bc"),
        ({"q": "ada"}, "abc"),
        ({"q": "for how many"}, "abc"),
        ({"q": "' OR 1=1 --"}, ""),
    ],
)
async def test_filters_find_what_they_say(three: HistoryStore, words: dict[str, str], found: str) -> None:
    assert await ids(three, **words) == set(found)


async def test_small_and_large_letters_are_the_same_in_every_language(tmp_path: Path) -> None:
    """In SQLite by our doing; PostgreSQL does as its database's locale says."""
    store = HistoryStore(f"sqlite:///{tmp_path}/history.sqlite3")
    await store.open()
    await sample_call("a", said="Einen Tisch ÜBER dem Fluss").into(store)
    assert await ids(store, q="über dem fluss") == {"a"}
    await store.close()


async def test_pages_follow_one_another_newest_first_also_within_one_moment(store: HistoryStore) -> None:
    for n in range(25):
        await sample_call(f"c{n:02}", at=NOON + n // 10).into(store)
    found: list[str] = []
    sizes: list[int] = []
    words = {"limit": "7"}
    while True:
        calls, after = await list_calls(store, parse_query(words))
        found += [call["call_id"] for call in calls]
        sizes.append(len(calls))
        if after is None:
            break
        words["after"] = after
    assert found == [f"c{n:02}" for n in reversed(range(25))]
    assert sizes == [7, 7, 7, 4]


async def test_a_call_that_is_not_there_is_none(store: HistoryStore) -> None:
    assert await one_call(store, "nobody") is None


async def test_an_export_has_each_call_once_however_many_they_are(store: HistoryStore) -> None:
    await store.write([entry for n in range(230) for entry in sample_call(f"c{n}", at=NOON + n // 7).entries])
    found = [call async for call in whole_calls(store, CallFilter((("context", "restaurant"),)))]
    assert {call["call_id"] for call in found} == {f"c{n}" for n in range(230)}
    assert len(found) == 230
    assert {(len(call["lines"]), len(call["tools"]), len(call["moments"])) for call in found} == {(3, 1, 1)}


def test_a_question_without_words_asks_for_the_latest() -> None:
    assert parse_query({}) == Query(CallFilter(), 50, None)
    assert parse_query({"since": "0"}).filter.since == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "words",
    [
        {"contxt": "clinic"},
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "many"},
        {"limit": "٣"},
        {"since": "yesterday"},
        {"since": "99999999999999999999"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"after": "nonsense"},
        {"after": "bm9uc2Vuc2U="},
        {"q": "x" * 201},
        {"q": "a\0b"},
        {"context": "\0"},
    ],
)
def test_what_cannot_be_asked_is_said(words: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_query(words)


@given(st.dictionaries(st.sampled_from([*EQUALS, "since", "until", "q", "limit", "after"]), st.text(st.characters())))
def test_whatever_is_asked_is_a_question_or_is_refused(words: dict[str, str]) -> None:
    try:
        query = parse_query(words)
    except ValueError:
        return
    assert 1 <= query.limit <= 500
