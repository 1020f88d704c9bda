"""The sound of one agent turn: what is queued of it, what was sent, how loud it is, and where its words begin.

Positions are bytes from the beginning of the turn. `sent` may go back (after a pause, to the beginning of a word);
`heard` never does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from voice_core.spoken_text import SpokenText
from voice_wire.audio import AudioFormat, decode


@dataclass(slots=True, eq=False)
class TurnSound:
    """Kept by the `Playout`, which alone moves its positions."""

    number: int
    format: AudioFormat
    frame_bytes: int
    spoken: SpokenText
    audio: bytearray = field(default_factory=bytearray)
    base: int = 0
    """Position of `audio[0]`; what lies before has been sent and dropped."""
    queued: int = 0
    sent: int = 0
    delivered: int = 0
    """By a transport that does not pace: handed to its peer."""
    delivered_before: int = 0
    """Bytes of earlier turns that the peer had been handed when this one began."""
    acknowledged: int = 0
    """Played by the peer, as it says itself."""
    heard: int = 0
    in_flight: int = 0
    """Frames sent and not yet heard."""
    done: bool = False
    flushed: bool = False
    first_packet_at: float | None = None
    first_heard_at: float | None = None
    powers: list[float] = field(default_factory=list)
    """Mean square of each whole frame of the turn, for what echo may come back."""
    measured: int = 0

    @property
    def ready(self) -> int:
        """Bytes that wait to be sent: whole samples, for half a sample waits for its other half."""
        waiting = self.queued - self.sent
        return waiting - waiting % self.format.bytes_per_sample

    @property
    def all_sent(self) -> bool:
        return self.done and self.ready <= 0

    @property
    def undelivered(self) -> bool:
        """A transport that does not pace has taken sound that it has not handed on yet."""
        return self.sent > self.delivered and not self.flushed

    def add(self, audio: bytes, text: str) -> None:
        """`audio` follows, which speaks `text`."""
        self.audio += audio
        self.queued += len(audio)
        self.spoken.add(text, len(audio))
        if self.done:
            self.spoken.complete()
        self._measure()

    def end(self, *, cut_short: bool = False) -> None:
        """Nothing follows. `cut_short`: the last text may not have become sound to its end."""
        if not self.done:
            self.done = True
            if cut_short:
                self.spoken.cut_short()
            else:
                self.spoken.complete()

    def flush(self) -> None:
        """What was not sent never will be."""
        self.end(cut_short=True)
        self.flushed = True
        self.queued = self.sent
        self.release()

    def release(self) -> None:
        """Everything has been sent: the sound is not needed any more."""
        self.audio = bytearray()
        self.base = self.sent

    def ahead(self, n_bytes: int) -> bytes:
        """The next sound to be sent, `n_bytes` or what there is in whole samples."""
        start = self.sent - self.base
        audio = bytes(self.audio[start : start + n_bytes])
        return audio[: len(audio) - len(audio) % self.format.bytes_per_sample]

    def advance(self, n_bytes: int, *, keep_bytes: int) -> None:
        """`n_bytes` have been sent; at least `keep_bytes` of what was sent stay, to go back to."""
        self.sent += n_bytes
        if self.sent - self.base > 4 * keep_bytes:
            drop = self.sent - self.base - keep_bytes
            del self.audio[:drop]
            self.base += drop

    def go_back(self, *, at_most_bytes: int, search_frames: int) -> None:
        """To the beginning of the word that was being sent: the quietest frame near where it is estimated."""
        target = max(self.spoken.word_start(self.sent), self.sent - at_most_bytes)
        target = max(self._quietest(target, search_frames), self.base)
        self.sent = min(self.sent, target - target % self.format.bytes_per_sample)

    def power_before(self, position: int) -> float:
        """Mean square of the frame that ends at `position`."""
        index = (position - 1) // self.frame_bytes
        if 0 <= index < len(self.powers):
            return self.powers[index]
        return self.powers[-1] if self.powers else 0.0

    def _quietest(self, position: int, search_frames: int) -> int:
        """The quietest frame near the estimated beginning of a word is likelier to be it."""
        size = self.frame_bytes
        wanted = position // size
        last = min(wanted + search_frames, self.sent // size, len(self.powers) - 1)
        frames = range(max(0, wanted - search_frames), last + 1)
        best = min(frames, key=lambda frame: (self.powers[frame], abs(frame - wanted)), default=wanted)
        return position if best == wanted else best * size

    def _measure(self) -> None:
        whole = (self.queued - self.measured) // self.frame_bytes
        if whole <= 0:
            return
        start = self.measured - self.base
        audio = bytes(self.audio[start : start + whole * self.frame_bytes])
        samples = decode(audio, self.format.encoding).astype(np.float32).reshape(whole, -1)
        self.powers.extend((np.einsum("ij,ij->i", samples, samples) / samples.shape[1]).tolist())
        self.measured += whole * self.frame_bytes
