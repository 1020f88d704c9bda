"""What a call's report hands to the history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample_calls import NOON, SampleCall

from ai_engine.asterisk.events import Channel
from ai_engine.call_history.models import TABLES
from ai_engine.call_history.notes import Kept
from ai_engine.call_report import CallReport
from ai_engine.conversation.decisions import AgentTurn, Announce, CallerTurn
from ai_engine.live_events import LiveEvents
from ai_engine.media.line_quality import LineQuality
from ai_engine.metrics import Metrics
from ai_engine.transfer import Result

CHANNEL = Channel("1.1", "PJSIP/6001-1", "Up", caller_name="Ada", caller_number="6001", exten="6000")


def reported(kept: Kept) -> SampleCall:
    call = SampleCall("c1", kept=kept)
    report = CallReport("c1", Metrics(), LiveEvents(), call.notes)
    report.started(CHANNEL, "clinic")
    report.know(provider="local", transport="rtp", media_format="ulaw")
    report.note(AgentTurn(1, "Good day.", False, "said", {"first_packet": 1.0}))
    report.note(CallerTurn(2, "secret words", 2.0))
    report.note(Announce("thinking", 2.0))
    report.note(AgentTurn(2, "Ah, se", True, "known:hours", {"speech_end": 2.0, "stt_done": 2.25, "first_packet": 2.5}))
    report.note(Announce("barge_in", 3.0, "no secret"))
    report.provider_failed("tts")
    report.tool_ran("look_up", "ok", 0.12345, {"name": "secret"})
    report.consulted("300", Result.BUSY)
    report.consulted("200", Result.TRANSFERRED)
    report.recorded(Path("/var/recordings/2026-11-20/20261120T120000Z_c1.wav.part"))
    report.line_quality(LineQuality(received=10, jitter_ms=0.25), LineQuality(sent=3))
    call.now += 7
    report.ended("transferred")
    return call


def rows(call: SampleCall, table: str) -> list[dict[str, Any]]:
    return [entry.values for entry in call.entries if entry.table == table]


def test_a_report_tells_the_history_everything() -> None:
    call = reported(Kept())
    known = rows(call, "calls")[-1]
    assert (known["caller_number"], known["caller_name"], known["dialled_number"]) == ("6001", "Ada", "6000")
    assert (known["context"], known["provider"], known["transport"], known["media_format"]) == (
        "clinic", "local", "rtp", "ulaw",
    )  # fmt: skip
    assert (known["outcome"], known["transferred_to"], known["turns"], known["barge_ins"]) == (
        "transferred",
        "200",
        2,
        1,
    )
    assert known["recording_file"] == "2026-11-20/20261120T120000Z_c1.wav"
    assert known["line_quality"]["jitter_ms"] == 0.2
    assert known["caller_line_quality"]["sent"] == 3
    assert (known["ended_at"] - known["started_at"]).total_seconds() == 7
    lines = [(line["speaker"], line["text"], line["source"], line["interrupted"]) for line in rows(call, "lines")]
    assert lines == [
        ("agent", "Good day.", "said", False),
        ("caller", "secret words", None, False),
        ("agent", "Ah, se", "known:hours", True),
    ]
    assert rows(call, "lines")[2]["timeline_ms"] == {"stt_done": 250.0, "first_packet": 500.0}
    assert [(row["kind"], row["detail"]) for row in rows(call, "moments")] == [
        ("barge_in", "no secret"),
        ("provider_failed", "tts"),
        ("not_transferred", "300: busy"),
        ("transferred", "200"),
    ]
    assert rows(call, "tools")[0]["arguments"] == {"name": "secret"}
    positions = [entry.values["position"] for entry in call.entries if entry.table != "calls"]
    assert positions == list(range(1, len(positions) + 1))


@pytest.mark.parametrize("kept", [Kept(words=False), Kept(words=False, arguments=False)])
def test_words_that_are_not_to_be_kept_are_nowhere(kept: Kept) -> None:
    call = reported(kept)
    assert "secret" not in str(call.entries)
    assert [line["text"] for line in rows(call, "lines")] == [None, None, None]
    assert rows(call, "calls")[-1]["turns"] == 2


def test_what_tools_were_given_may_be_left_out_alone() -> None:
    call = reported(Kept(arguments=False))
    assert rows(call, "tools")[0]["arguments"] is None
    assert rows(call, "lines")[1]["text"] == "secret words"


def test_every_row_fits_its_table() -> None:
    for entry in reported(Kept()).entries:
        assert set(entry.values) == set(TABLES[entry.table].columns.keys())


def test_a_call_that_failed_before_it_was_known_is_a_call() -> None:
    call = SampleCall("c1")
    CallReport("c1", Metrics(), LiveEvents(), call.notes).ended("failed")
    assert set(call.entries[-1].values) == set(TABLES["calls"].columns.keys())
    assert call.entries[-1].values["started_at"].timestamp() == NOON


def test_without_a_history_a_report_tells_none() -> None:
    report = CallReport("c1", Metrics(), LiveEvents())
    report.started(CHANNEL, "clinic")
    report.note(CallerTurn(1, "hello", 1.0))
    report.tool_ran("x", "ok", 1.0)
    report.consulted("300", Result.BUSY)
    report.transferred("200")
    report.recorded(Path("x/y.wav"))
    report.ended("failed")
