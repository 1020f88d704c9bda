"""The line of a virtual turn: what is sent is looked at and gone."""

from __future__ import annotations

from typing import Final

from tools.hand_paced import HandPacedTransport

_SILENT: Final = frozenset(b"\xff\x7f")


class SoundingLine(HandPacedTransport):
    """`sounding`: there was sound in the last frame."""

    def __init__(self) -> None:
        super().__init__()
        self.sounding = False

    def transmit(self, now: float) -> bytes | None:
        frame = super().transmit(now)
        self.sounding = frame is not None and not _SILENT.issuperset(frame)
        return frame
