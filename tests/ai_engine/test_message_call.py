"""A message for a caller there is no room for: said to its end, or not at all and then somebody else has him."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast
from unittest.mock import MagicMock

import pytest

from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.events import Channel, StasisStart
from ai_engine.asterisk.ids import OwnIds
from ai_engine.media.lines import MediaError
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.transport import Frame, FrameKind, MediaTransport
from ai_engine.message_call import MessageCall
from voice_core.playout import Playout
from voice_wire.audio import MULAW_8K


class Transport:
    """Fails at its `fails_at`-th tick."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.format = MULAW_8K
        self.played = Playout(MULAW_8K, downstream_ms=0)
        self.ticks = 0
        self.fails_at = fails_at
        self.sent: list[bytes] = []

    def receive(self, now: float) -> Frame:
        self.ticks += 1
        if self.ticks == self.fails_at:
            raise MediaError("the connection is gone")
        return Frame(bytes(320), FrameKind.SILENCE)

    def play(self, turn: int, audio: bytes, text: str, now: float) -> None:
        self.played.play(turn, audio, text, now)

    def transmit(self, now: float) -> bytes | None:
        frame = self.played.next_frame(now)
        if frame is not None:
            self.sent.append(frame)
        return frame


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


def message_call(media: MediaLoop) -> MessageCall:
    services = MagicMock(ids=OwnIds("parley"), media=media)
    start = StasisStart(Channel("caller", "PJSIP/100-1", "Up"))
    return MessageCall(start, cast(Lane, None), services)


async def test_the_message_is_said_to_its_end(media: MediaLoop) -> None:
    transport = Transport()
    assert await message_call(media)._say(cast(MediaTransport, transport), b"\x10" * 480, "busy")
    assert transport.sent == [b"\x10" * 160] * 3


async def test_a_line_that_fails_in_its_midst_is_no_message_said(media: MediaLoop) -> None:
    """So the caller goes to the dialplan's fallback, and is not hung up without a word."""
    transport = Transport(fails_at=3)
    with pytest.raises(MediaError, match="gone"):
        await message_call(media)._say(cast(MediaTransport, transport), b"\x10" * 480, "busy")
    assert not transport.sent
