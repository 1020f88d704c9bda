"""What a virtual call is made of beside the conversation: a transport that is paced by hand, a provider by script."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.hand_paced import HandPacedTransport
from voice_wire.audio import MULAW_8K, AudioFormat

DEFAULT_REPLY = "Certainly. We can do that for you."


class VirtualTransport(HandPacedTransport):
    """What was sent lies in `wire`, with its time."""

    def __init__(self, audio_format: AudioFormat = MULAW_8K) -> None:
        super().__init__(audio_format)
        self.wire: list[tuple[float, bytes]] = []
        self.flushes = 0

    def transmit(self, now: float) -> bytes | None:
        frame = super().transmit(now)
        if frame is not None:
            self.wire.append((now, frame))
        return frame

    def flush(self, now: float) -> None:
        self.flushes += 1
        super().flush(now)


def tag(turn: int, revision: int) -> int:
    """The mu-law octet that all audio of this revision consists of: -10 to -30 dBFS, as speech is."""
    return 0x20 + (turn * 7 + revision) % 0x30


@dataclass
class ScriptedProvider:
    """Latencies in seconds. `replies` maps what was understood to an answer, as phrases."""

    stt_s: float = 0.15
    first_audio_s: float = 0.25
    phrase_gap_s: float = 0.1
    say_s: float = 0.05
    streaming: bool = False
    replies: dict[str, str] = field(default_factory=dict)
    failing: str = ""
    silent: bool = False
    """Takes requests and never answers."""
    keep_going: bool = False
    """Ignores cancels, so that all its late events have to be dropped by the conversation."""

    def reply_to(self, understood: str) -> str:
        return self.replies.get(understood, DEFAULT_REPLY)


def sentences(text: str) -> list[tuple[str, str]]:
    """(words, the mark behind them), of each sentence."""
    parts: list[tuple[str, str]] = []
    current = ""
    for character in text:
        if character in ".?!":
            parts.append((current.strip(), character))
            current = ""
        else:
            current += character
    if current.strip():
        parts.append((current.strip(), ""))
    return parts
