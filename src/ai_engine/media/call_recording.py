"""One call's recording, as the media thread has it: frames are collected, and handed over a second at a time.

Both sides of a tick go side by side, so they are in step for as long as the call lasts; where ticks were left out,
silence stands in their place. What waits to be written is limited: a disk that cannot keep up ends the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from voice_wire.audio import AudioFormat

FRAME_MS: Final = 20
BLOCK_FRAMES: Final = 50
"""What is handed over at a time."""
HELD_FRAMES: Final = 25
"""The newest frames stay here, so that the tone of a key can still be taken out."""
MOST_WAITING_BLOCKS: Final = 15
"""Until the recording is dropped: 15 s, or 350 kB at 8 kHz."""

_FRAME_S: Final = FRAME_MS / 1000
_MOST_BEHIND_FRAMES: Final = 5
_MOST_PADDED_FRAMES: Final = 1500
_LOOK_EVERY_FRAMES: Final = 10

State = Literal["waiting", "recording", "paused", "ended", "dropped"]
Outcome = Literal["kept", "discarded", "too_slow", "disk", "no_room"]
"""What became of a recording, for metrics."""
Frames = list[bytes | None]


@dataclass(frozen=True, slots=True)
class Open:
    """Begin the file."""

    recording: CallRecording


@dataclass(frozen=True, slots=True)
class Block:
    """The next frames of both sides; None for silence."""

    recording: CallRecording
    caller: Frames
    agent: Frames


@dataclass(frozen=True, slots=True)
class Drop:
    """Go no further; what is written is kept."""

    recording: CallRecording
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """All has been handed over."""

    recording: CallRecording
    discard: bool = False


Item = Open | Block | Drop | Finish
"""What the writer is told, in order."""


class CallRecording:
    """One call's. All methods run on the media thread and return at once; `state` may be read anywhere."""

    def __init__(
        self,
        call_id: str,
        rate_hz: int,
        agent_format: AudioFormat,
        *,
        put: Callable[[Item], None],
        allowed: Callable[[float], bool],
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_closed` is called by the writer when it has let go of the file, or will write none.

        `put` hands an item to the writer and never blocks. Nothing is kept before `allowed`, asked five times a
        second, says so; from then on it is not asked.
        """
        self.call_id = call_id
        self.rate_hz = rate_hz
        self.agent_format = agent_format
        self.failed = False
        """Set by the writer."""
        self.written_blocks = 0
        """By the writer."""
        self.path: Path | None = None
        """Where it is written or was kept; the writer's."""
        self.seconds = 0.0
        """Of the file, once it is closed; the writer's."""
        self.on_closed = on_closed
        self._put = put
        self._allowed = allowed
        self._begun = False
        self._over = False
        self._paused = False
        self._silent_until = -1.0
        self._look_in = 0
        self._began_at = 0.0
        self._frames = 0
        self._handed_blocks = 0
        self._caller: Frames = []
        self._agent: Frames = []

    @property
    def state(self) -> State:
        """`waiting`: for the announcement to be heard. `dropped`: it could not be written."""
        if self.failed:
            return "dropped"
        if self._over:
            return "ended"
        if self._paused:
            return "paused"
        return "recording" if self._begun else "waiting"

    def tick(self, caller: bytes, agent: bytes | None, now: float) -> None:
        """20 ms: the caller's PCM16 at `rate_hz`; the frame sent to him, in `agent_format`, None for silence."""
        if self._over:
            return
        if self.failed:
            self._let_go()
            return
        if not self._begun:
            self._look_in -= 1
            if self._look_in > 0:
                return
            self._look_in = _LOOK_EVERY_FRAMES
            if not self._allowed(now):
                return
            self._begin(now)
        behind = round((now - self._began_at) / _FRAME_S) - self._frames
        if behind > _MOST_BEHIND_FRAMES:  # ticks were left out: the recording keeps the clock's time
            self._pad(behind, now)
        if self._paused or now < self._silent_until:
            self._caller.append(None)
            self._agent.append(None)
        else:
            self._caller.append(caller)
            self._agent.append(agent)
        self._frames += 1
        if len(self._caller) >= BLOCK_FRAMES + HELD_FRAMES:
            self._hand_over(BLOCK_FRAMES)

    def pause(self) -> None:
        """Silence is written until `resume`. Before the recording has begun, too."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def blank(self, now: float, seconds: float) -> None:
        """Silence for so long, and in place of the last half second, in which the tone of a key may have been heard."""
        self._silent_until = max(self._silent_until, now + seconds)
        for frames in (self._caller, self._agent):
            n = min(HELD_FRAMES, len(frames))
            if n:
                frames[-n:] = [None] * n

    def end(self, *, discard: bool = False) -> None:
        """Write the rest. `discard`: leave no file, also of what has ended already. Idempotent."""
        if discard and self._begun:
            self._put(Finish(self, discard=True))
        elif self._begun and not self._over and not self.failed:
            self._hand_over(len(self._caller))
            if not self.failed:
                self._put(Finish(self))
        self._let_go()

    def _begin(self, now: float) -> None:
        self._begun = True
        self._began_at = now
        self._put(Open(self))

    def _pad(self, behind: int, now: float) -> None:
        n = min(behind, _MOST_PADDED_FRAMES)
        self._caller += [None] * n
        self._agent += [None] * n
        self._frames += n
        if n < behind:
            self._began_at = now - self._frames * _FRAME_S

    def _hand_over(self, n: int) -> None:
        if not n:
            return
        if self._handed_blocks - self.written_blocks >= MOST_WAITING_BLOCKS:
            self.failed = True
            self._put(Drop(self, "too_slow", f"the disk is {MOST_WAITING_BLOCKS} s behind"))
            self._let_go()
            return
        self._handed_blocks += 1
        self._put(Block(self, self._caller[:n], self._agent[:n]))
        del self._caller[:n]
        del self._agent[:n]

    def _let_go(self) -> None:
        self._over = True
        self._caller = []
        self._agent = []
