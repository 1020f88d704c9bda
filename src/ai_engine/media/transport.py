"""The interface every media transport of a call implements: RTP, AudioSocket, chan_websocket.

All methods run on the media loop and never block. Once per 20 ms tick the pacer calls `receive` and then `transmit`;
between them the call's conversation hears the frame and may speak. Times are seconds of `time.monotonic`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ai_engine.media.line_quality import LineQuality
from voice_core.playout import Playout
from voice_wire.audio import AudioFormat


class FrameKind(Enum):
    """Where a received frame comes from."""

    SPEECH = "speech"
    """Decoded from a packet."""
    CONCEALED = "concealed"
    """Made up in place of a lost packet."""
    SILENCE = "silence"
    """The caller sent nothing (DTX, comfort noise, not yet started)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """20 ms of caller audio: PCM16 little-endian mono at the transport's `pcm_rate_hz`."""

    pcm: bytes
    kind: FrameKind
    came_dbfs: float | None = None
    """Its level (RMS) before the agent's echo was taken out; None where nothing was."""


class MediaTransport(Protocol):
    format: AudioFormat
    """What goes over the wire, and what `play` takes."""
    pcm_rate_hz: int
    """Sample rate of received frames."""
    played: Playout
    """The call's one clock of sound: whether the agent speaks and what was heard is asked here and nowhere else."""

    def receive(self, now: float) -> Frame:
        """The next 20 ms of the caller, always a frame: silence when there is none."""

    def transmit(self, now: float) -> bytes | None:
        """Send the next 20 ms of `played`, or nothing where the wire allows silence.

        Returns the frame of agent sound that went out, in `format`, for the echo canceller; None for silence, and where
        the peer buffers and this moment's sound is not known.
        """

    def play(self, turn: int, audio: bytes, text: str, now: float) -> None:
        """Queue agent audio (in `format`) that speaks `text`."""

    def pause(self, now: float) -> None: ...

    def resume(self, now: float) -> None: ...

    def flush(self, now: float) -> None:
        """Drop what has not been sent; `played` then says what was heard."""

    def line_quality(self) -> LineQuality:
        """The line's figures since the call began; from any thread, also after `close`."""

    async def close(self) -> None:
        """Give sockets and ports back. Idempotent."""
