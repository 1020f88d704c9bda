"""A call's media without a network, on virtual time: what is sent is looked at and gone."""

from __future__ import annotations

from typing import Final

from ai_engine.media.transport import Frame
from tools.call.wav import RATE_HZ
from voice_core.playout import Playout
from voice_wire.audio import MULAW_8K

_SILENT: Final = frozenset(b"\xff\x7f")


class VirtualLine:
    """Implements `MediaTransport`. `sounding`: there was sound in the last frame."""

    format = MULAW_8K
    pcm_rate_hz = RATE_HZ

    def __init__(self) -> None:
        self.played = Playout(MULAW_8K)
        self.sounding = False

    def receive(self, now: float) -> Frame:
        raise NotImplementedError("the caller's frames come from the turns")

    def transmit(self, now: float) -> None:
        frame = self.played.next_frame(now)
        self.sounding = frame is not None and not _SILENT.issuperset(frame)

    def play(self, turn: int, audio: bytes, text: str, now: float) -> None:
        self.played.play(turn, audio, text, now)

    def pause(self, now: float) -> None:
        self.played.pause(now)

    def resume(self, now: float) -> None:
        self.played.resume(now)

    def flush(self, now: float) -> None:
        self.played.flush(now)

    async def close(self) -> None:
        return
