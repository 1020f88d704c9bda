"""The end of a call: whatever goes wrong in one step of it, the others are taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.events import Channel, StasisStart
from ai_engine.asterisk.ids import OwnIds
from ai_engine.call import Call, CallServices, Outcome
from ai_engine.media.pacer import MediaLoop


class Asterisk:
    app = "parley"

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def request(self, method: str, path: str, **_: Any) -> None:
        self.asked.append(f"{method} {path}")


class FakeLane:
    released = False

    def adopt(self, _object_id: str) -> None:
        pass

    def release(self) -> None:
        self.released = True


class Report:
    turns = 0

    def __init__(self) -> None:
        self.outcome = ""

    def ended(self, outcome: str) -> None:
        self.outcome = outcome


class Broken:
    async def stop(self) -> None:
        raise ConnectionResetError("gone")

    async def close(self) -> None:
        raise KeyError("a bug")

    async def end(self, **_: bool) -> None:
        raise ValueError("a bug")


def ended_call(asterisk: Asterisk, lane: FakeLane, report: Report) -> Call:
    services = SimpleNamespace(ari=asterisk, ids=OwnIds("parley"), media=MediaLoop(), report=lambda _: report)
    services.contexts, services.answer_timeout_s = {}, 30
    start = StasisStart(Channel("caller", "PJSIP/100-1", "Up"))
    call = Call(start, cast(Lane, lane), cast(CallServices, services))
    call.finish(Outcome.AGENT_HUNG_UP)
    return call


@pytest.mark.parametrize("part", ["_provider", "_media", "_semantic", "_caller_leg"])
async def test_a_part_that_cannot_be_given_back_keeps_nobody_on_the_line(part: str) -> None:
    asterisk, lane, report = Asterisk(), FakeLane(), Report()
    call = ended_call(asterisk, lane, report)
    setattr(call, part, Broken())
    with capture_logs() as logs:
        assert await call.run() is Outcome.AGENT_HUNG_UP
    assert "DELETE /channels/caller" in asterisk.asked
    assert lane.released
    assert report.outcome == "agent_hung_up"
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["call_cleanup_failed"]


async def test_the_media_connection_is_closed_before_asterisk_is_asked_for_figures() -> None:
    """A call whose tick has failed ticks no more, and Asterisk waits for an AudioSocket with its channel locked."""
    asterisk = Asterisk()
    call = ended_call(asterisk, FakeLane(), Report())

    class Media:
        async def close(self) -> None:
            asterisk.asked.append("media closed")

    class Leg:
        async def end(self, **_: bool) -> None:
            await asterisk.request("GET", "/channels/caller/rtp_statistics")

    vars(call).update(_media=Media(), _caller_leg=Leg())
    await call.run()
    assert asterisk.asked.index("media closed") < asterisk.asked.index("GET /channels/caller/rtp_statistics")
