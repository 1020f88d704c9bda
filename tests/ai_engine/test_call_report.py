"""Transfers and messages in a call's history: who was asked, what came of it, and where the caller went."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_engine.call_history.entry import Entry
from ai_engine.call_history.notes import CallNotes, Kept
from ai_engine.call_report import CallReport
from ai_engine.live_events import LiveEvents
from ai_engine.metrics import Metrics
from ai_engine.transfer import Result


class Told:
    """A report whose rows are kept here."""

    def __init__(self, *, words: bool = True) -> None:
        self.rows: list[Entry] = []
        notes = CallNotes("c1", self.rows.append, engine_app="parley", kept=Kept(words=words))
        self.report = CallReport("c1", Metrics(), LiveEvents(), notes)

    @property
    def moments(self) -> list[tuple[str, str]]:
        return [(row.values["kind"], row.values["detail"]) for row in self.rows if row.table == "moments"]

    @property
    def transferred_to(self) -> str | None:
        self.report.ended("caller_hung_up")
        to: str | None = self.rows[-1].values["transferred_to"]
        return to


def test_a_blind_transfer_is_a_moment_and_where_the_caller_went() -> None:
    told = Told()
    told.report.transferred("700")
    assert (told.moments, told.transferred_to) == ([("transferred", "700")], "700")


@pytest.mark.parametrize("result", list(Result))
def test_each_end_of_an_attended_transfer_is_a_moment(result: Result) -> None:
    told = Told(words=False)
    told.report.consulted("611", result)
    if result is Result.TRANSFERRED:
        assert (told.moments, told.transferred_to) == ([("transferred", "611")], "611")
    else:
        assert (told.moments, told.transferred_to) == ([("not_transferred", f"611: {result.value}")], None)


def test_who_was_declined_and_then_taken_by_another_shows_both() -> None:
    told = Told()
    told.report.consulted("611", Result.DECLINED)
    told.report.consulted("612", Result.NO_ANSWER)
    told.report.consulted("613", Result.TRANSFERRED)
    assert [kind for kind, _ in told.moments] == ["not_transferred", "not_transferred", "transferred"]
    assert told.transferred_to == "613"


def test_a_message_is_a_moment_with_its_file_and_its_length_and_no_words() -> None:
    told = Told()
    told.report.message(str(Path("2026-11-21/x.wav")), 12.34)
    told.report.message("", 0.0)
    assert told.moments == [("message", "2026-11-21/x.wav: 12.3 s"), ("message", "not recorded: 0.0 s")]
