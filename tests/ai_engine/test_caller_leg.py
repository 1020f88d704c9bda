"""What Asterisk says of the caller's leg, asked of a stand-in for the ARI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ai_engine.asterisk.errors import AriError, AriNotFound
from ai_engine.caller_leg import CallerLeg
from ai_engine.media.line_quality import LineQuality

STATISTICS = {
    "txcount": 500,
    "rxcount": 450,
    "txploss": 25,
    "rxploss": 50,
    "txjitter": 0.012,
    "rxjitter": 0.003,
    "rtt": 0.04,
}
QUALITY = LineQuality(
    received=450, sent=500, lost=50, jitter_ms=12.0, lost_by_peer=25, peer_jitter_ms=3.0, round_trip_ms=40.0
)


def refused(status: int, message: str) -> AriError:
    kind = AriNotFound if status == 404 else AriError
    return kind(status, "GET", "/channels/c1/rtp_statistics", message)


class Ari:
    """Answers `rtp_statistics` with what it is told to; an exception is raised. The last answer stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = asyncio.Semaphore(0)

    async def request(self, method: str, path: str, **_: Any) -> Any:
        assert (method, path) == ("GET", "/channels/c1/rtp_statistics")
        self.asked.release()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


def leg_of(ari: Ari, *, every_s: float = 0.0) -> CallerLeg:
    return CallerLeg(ari, "c1", every_s=every_s)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
async def nothing_goes_on() -> AsyncIterator[None]:
    yield
    assert len(asyncio.all_tasks()) == 1


async def asked(ari: Ari, times: int) -> None:
    async with asyncio.timeout(30):
        for _ in range(times):
            await ari.asked.acquire()


async def test_the_latest_figures_stand_when_the_channel_is_gone() -> None:
    ari = Ari(STATISTICS, refused(404, "Channel not found"))
    leg = leg_of(ari)
    leg.start()
    await asked(ari, 2)
    await leg.end(channel_may_be_there=True)
    assert leg.quality == QUALITY
    await leg.end(channel_may_be_there=True)


async def test_a_call_shorter_than_the_interval_is_asked_for_at_its_end() -> None:
    ari = Ari(STATISTICS)
    leg = leg_of(ari, every_s=3600)
    leg.start()
    await leg.end(channel_may_be_there=True)
    assert leg.quality == QUALITY


async def test_a_channel_that_is_gone_is_asked_nothing() -> None:
    ari = Ari(STATISTICS)
    leg = leg_of(ari, every_s=3600)
    leg.start()
    await leg.end(channel_may_be_there=False)
    assert leg.quality is None
    assert ari.asked.locked()


async def test_a_leg_that_never_began_is_asked_nothing() -> None:
    ari = Ari(STATISTICS)
    await leg_of(ari).end(channel_may_be_there=True)
    assert ari.asked.locked()


@pytest.mark.parametrize(
    "answer", [refused(403, "Unsupported channel type"), refused(404, "RTP info not found")], ids=["403", "404"]
)
async def test_a_channel_without_rtp_is_asked_once(answer: Exception) -> None:
    ari = Ari(answer)
    leg = leg_of(ari)
    leg.start()
    await asked(ari, 1)
    await asyncio.sleep(0)
    await leg.end(channel_may_be_there=True)
    assert leg.quality is None
    assert ari.asked.locked()


async def test_a_failure_is_not_the_end_of_asking() -> None:
    ari = Ari(refused(500, "oops"), STATISTICS)
    leg = leg_of(ari)
    leg.start()
    await asked(ari, 3)
    assert leg.quality == QUALITY
    await leg.end(channel_may_be_there=False)


async def test_an_asterisk_that_does_not_answer_keeps_no_call_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_engine.caller_leg._LAST_CHANCE_S", 0.01)
    ari = Ari(None)
    leg = leg_of(ari, every_s=3600)
    leg.start()
    async with asyncio.timeout(30):
        await leg.end(channel_may_be_there=True)
    assert leg.quality is None


async def test_before_the_first_report_of_the_peer_its_side_is_unknown() -> None:
    ari = Ari({**STATISTICS, "txploss": 0, "rxjitter": 0.0, "rtt": 0.0})
    leg = leg_of(ari, every_s=3600)
    leg.start()
    await leg.end(channel_may_be_there=True)
    assert leg.quality == LineQuality(received=450, sent=500, lost=50, jitter_ms=12.0)
