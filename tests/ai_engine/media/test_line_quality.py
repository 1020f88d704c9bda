"""The figures of a line, and what becomes of them in a call's report."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from ai_engine.call_report import CallReport
from ai_engine.live_events import LiveEvents
from ai_engine.media.line_quality import COUNTED, LineQuality
from ai_engine.metrics import Metrics

MEDIA = LineQuality(received=90, sent=100, lost=10, late=2, concealed=12, strays=3, jitter_ms=4.0, delay_ms=25.04)
CALLER = LineQuality(received=90, sent=100, lost=9, lost_by_peer=5, peer_jitter_ms=2.0, round_trip_ms=40.0)


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_loss_is_the_share_of_what_was_sent_to_us() -> None:
    assert MEDIA.loss == pytest.approx(0.1)
    assert CALLER.loss_by_peer == pytest.approx(0.05)


def test_what_cannot_be_known_is_none_and_not_told() -> None:
    line = LineQuality(received=5, sent=7)
    assert (line.loss, line.loss_by_peer) == (None, None)
    assert line.known() == {"received": 5, "sent": 7}


def test_nothing_received_and_nothing_lost_is_no_loss_that_could_be_told() -> None:
    assert LineQuality(lost=0).loss is None
    assert LineQuality(lost_by_peer=0).loss_by_peer is None


def test_figures_are_told_to_a_tenth() -> None:
    assert MEDIA.known()["delay_ms"] == 25.0


def test_all_that_is_counted_is_a_figure() -> None:
    assert set(COUNTED) <= LineQuality.__dataclass_fields__.keys()


def test_a_report_adds_both_legs_to_the_metrics() -> None:
    metrics = Metrics()
    report = CallReport("c1", metrics, LiveEvents())
    report.line_quality(MEDIA, CALLER)
    report.line_quality(MEDIA)
    r = metrics.registry
    assert sample(r, "parley_line_packets_total", leg="media", what="lost") == 20
    assert sample(r, "parley_line_packets_total", leg="media", what="strays") == 6
    assert sample(r, "parley_line_packets_total", leg="caller", what="lost_by_peer") == 5
    assert sample(r, "parley_line_packets_total", leg="caller", what="strays") is None
    assert sample(r, "parley_line_loss_ratio_count", leg="media", direction="in") == 2
    assert sample(r, "parley_line_loss_ratio_bucket", leg="caller", direction="out", le="0.05") == 1
    assert sample(r, "parley_line_loss_ratio_count", leg="media", direction="out") is None
    assert sample(r, "parley_line_round_trip_seconds_sum", leg="caller") == pytest.approx(0.04)
    assert sample(r, "parley_line_delay_seconds_sum", leg="media") == pytest.approx(2 * 0.02504)
    assert sample(r, "parley_line_jitter_seconds_sum", leg="caller", direction="out") == pytest.approx(0.002)
