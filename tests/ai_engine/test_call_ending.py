"""The end of a call: whatever goes wrong in one step of it, the others are taken."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from structlog.testing import capture_logs

from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.events import Channel, StasisStart
from ai_engine.asterisk.ids import OwnIds
from ai_engine.call import Call
from ai_engine.call_services import Outcome
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


class Broken:
    transfer_to = None

    async def close(self) -> None:
        raise KeyError("a bug")

    async def end(self, **_: bool) -> None:
        raise ValueError("a bug")


def made_call(asterisk: Asterisk, lane: FakeLane) -> Call:
    """Ended before anything of it was made but what a test puts there."""
    services = MagicMock(ari=asterisk, ids=OwnIds("parley"), media=MediaLoop())
    return Call(StasisStart(Channel("caller", "PJSIP/100-1", "Up")), cast(Lane, lane), services)


@pytest.mark.parametrize("part", ["_dialogue", "_media", "_caller_leg"])
async def test_a_part_that_cannot_be_given_back_keeps_nobody_on_the_line(part: str) -> None:
    asterisk, lane = Asterisk(), FakeLane()
    call = made_call(asterisk, lane)
    setattr(call, part, Broken())
    with capture_logs() as logs:
        await call._give_back(Outcome.AGENT_HUNG_UP)
    assert "DELETE /channels/caller" in asterisk.asked
    assert lane.released
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["call_cleanup_failed"]


async def test_the_media_connection_is_closed_before_asterisk_is_asked_for_figures() -> None:
    """A call whose tick has failed ticks no more, and Asterisk waits for an AudioSocket with its channel locked."""
    asterisk = Asterisk()
    call = made_call(asterisk, FakeLane())

    class Media:
        async def close(self) -> None:
            asterisk.asked.append("media closed")

    class Leg:
        async def end(self, **_: bool) -> None:
            await asterisk.request("GET", "/channels/caller/rtp_statistics")

    vars(call).update(_media=Media(), _caller_leg=Leg())
    await call._give_back(Outcome.AGENT_HUNG_UP)
    assert asterisk.asked.index("media closed") < asterisk.asked.index("GET /channels/caller/rtp_statistics")
