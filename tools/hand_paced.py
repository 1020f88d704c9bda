"""A call's line without a network, paced by whoever ticks it: for scenarios and benchmarks on virtual time."""

from __future__ import annotations

from ai_engine.media.line_quality import LineQuality
from ai_engine.media.transport import Frame
from voice_core.playout import Playout
from voice_wire.audio import MULAW_8K, AudioFormat


class HandPacedTransport:
    """Implements `MediaTransport` on a real `Playout`: a frame of it is sent each time `transmit` is called."""

    def __init__(self, audio_format: AudioFormat = MULAW_8K) -> None:
        self.format = audio_format
        self.pcm_rate_hz = audio_format.sample_rate_hz
        self.played = Playout(audio_format)

    def receive(self, now: float) -> Frame:
        """Not used where the virtual caller hands its frames to the conversation itself."""
        raise NotImplementedError

    def transmit(self, now: float) -> bytes | None:
        """The frame that is sent now; None where nothing is."""
        return self.played.next_frame(now)

    def play(self, turn: int, audio: bytes, text: str, now: float) -> None:
        self.played.play(turn, audio, text, now)

    def pause(self, now: float) -> None:
        self.played.pause(now)

    def resume(self, now: float) -> None:
        self.played.resume(now)

    def flush(self, now: float) -> None:
        self.played.flush(now)

    def line_quality(self) -> LineQuality:
        return LineQuality()

    async def close(self) -> None:
        """Nothing is held."""
