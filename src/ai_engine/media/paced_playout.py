"""The sending half that all paced transports share: the conversation queues sound, a tick takes 20 ms of it."""

from __future__ import annotations

from voice_core.playout import Playout
from voice_wire.audio import AudioFormat


class PacedPlayout:
    """Base of a `MediaTransport` that sends one frame of `played` per tick. Lives on the media loop."""

    def __init__(self, format: AudioFormat, *, downstream_ms: float) -> None:
        """`downstream_ms`: from a frame leaving us to the caller having heard it."""
        self.format = format
        self.played = Playout(format, downstream_ms=downstream_ms)

    def play(self, turn: int, audio: bytes, text: str, now: float) -> None:
        """Queue agent audio (in `format`) that speaks `text`."""
        self.played.play(turn, audio, text, now)

    def pause(self, now: float) -> None:
        self.played.pause(now)

    def resume(self, now: float) -> None:
        self.played.resume(now)

    def flush(self, now: float) -> None:
        """Drop what has not been sent; `played` then says what was heard."""
        self.played.flush(now)
