"""Sound that comes by TCP (AudioSocket, chan_websocket): whole and in order, yet in bursts; one frame out per tick.

Nothing on such a stream says when a piece was spoken, so the depth of the queue is all there is to go by. What it takes
to bridge the gaps between arrivals comes by itself: a tick that finds nothing makes a frame up, and from then on the
queue is a frame deeper. What is more than that is left out again, where the caller is quiet:

- a frame that was there to spare at every tick of the last four seconds (jitter that has gone, or two clocks that drift
  apart);
- what never fell below `_ORDINARY_FRAMES` for half a second (the burst after a short freeze);
- all at once, and speech too, what is above `max_delay_ms`: the burst after a long freeze, the network's or ours.

So no backlog becomes latency for good.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ai_engine.media.transport import FrameKind

_SPARE_TICKS: Final = 200
_DEEP_TICKS: Final = 25
_ORDINARY_FRAMES: Final = 2
_IDLE_FRAMES: Final = 3
"""After so many ticks without sound nobody speaks, or the peer stands still: 60 ms, as long as concealment."""
_OVERDUE_TICKS: Final = 50
"""Where the caller is never quiet (music, a fan) a frame that is too many is left out after this long: 1 s."""
_DEPTH_SHARE: Final = 1 / 64
"""Of the newest depth in the mean: it remembers about a second of talk."""

Payload = bytes | memoryview


@dataclass(slots=True)
class FrameQueueStats:
    """Counts of 20 ms frames since the call began."""

    received: int = 0
    concealed: int = 0
    """Ticks within a talkspurt that found nothing."""
    held: int = 0
    """Frames by which a talkspurt's beginning was put off, because the one before had needed it."""
    dropped: int = 0
    """Frames left out to shorten the delay."""
    handed_out: int = 0
    waited: int = 0
    """Frames of delay, summed up over those that were handed out."""

    @property
    def mean_delay_ms(self) -> float:
        return 20 * self.waited / self.handed_out if self.handed_out else 0.0


class FrameQueue:
    """One received stream: `put` what comes, of any length; `get` one frame per tick."""

    def __init__(
        self,
        frame_bytes: int,
        *,
        max_delay_ms: int = 200,
        is_quiet: Callable[[Payload], bool] = lambda payload: False,
    ) -> None:
        """`frame_bytes` are 20 ms. `is_quiet`: nobody speaks in it; asked only while the delay wants shortening."""
        self.stats = FrameQueueStats()
        self._frame_bytes = frame_bytes
        self._is_quiet = is_quiet
        self._most_frames = max_delay_ms // 20
        self._frames: deque[Payload] = deque()
        self._rest = b""  # less than a frame
        self._missing_ticks = _IDLE_FRAMES  # since the last frame
        self._held_ticks = 0
        self._mean_depth = 0.0
        self._surplus = 0  # frames to leave out
        self._overdue_ticks = 0
        self._spare_ticks = self._deep_ticks = 0
        self._least_spare = self._least_deep = self._most_frames

    @property
    def delay_ms(self) -> float:
        """How long sound waits here, the mean over the last second of talk."""
        return self._mean_depth * 20

    def put(self, audio: Payload) -> None:
        """What came: whole samples, which stay as they are. Beyond `max_delay_ms` the oldest go at once."""
        if not self._rest and len(audio) == self._frame_bytes:
            self._append(audio)
            return
        sound = self._rest + bytes(audio)
        whole = len(sound) - len(sound) % self._frame_bytes
        for start in range(0, whole, self._frame_bytes):
            self._append(sound[start : start + self._frame_bytes])
        self._rest = sound[whole:]

    def get(self) -> tuple[Payload | None, FrameKind]:
        """The next frame: a payload of exactly `frame_bytes`, or None and what stands in its place."""
        frames = self._frames
        if len(frames) > self._most_frames:
            self._shorten()
        if not frames:
            return self._nothing()
        if self._missing_ticks >= _IDLE_FRAMES and self._hold():
            return None, FrameKind.SILENCE
        payload = frames.popleft()
        if self._surplus and frames:
            self._overdue_ticks += 1
            if self._overdue_ticks >= _OVERDUE_TICKS or self._is_quiet(payload):
                self._leave_one_out()
                payload = frames.popleft()
        self._missing_ticks = self._held_ticks = 0
        self._reckon(len(frames))
        return payload, FrameKind.SPEECH

    # --- what comes ---------------------------------------------------------------------------------------------------

    def _append(self, frame: Payload) -> None:
        self.stats.received += 1
        if len(self._frames) > self._most_frames:
            self._frames.popleft()
            self.stats.dropped += 1
        self._frames.append(frame)

    # --- nothing there ------------------------------------------------------------------------------------------------

    def _nothing(self) -> tuple[Payload | None, FrameKind]:
        """A tick without a frame: late, lost on the caller's way to Asterisk, or never sent."""
        self._missing_ticks += 1
        self._measure_anew()
        if self._missing_ticks < _IDLE_FRAMES:
            self.stats.concealed += 1
            return None, FrameKind.CONCEALED
        if self._missing_ticks == _IDLE_FRAMES:
            self._rest = b""  # of a talkspurt that is over: never the beginning of the next one
        return None, FrameKind.SILENCE

    def _hold(self) -> bool:
        """Whether a talkspurt that begins had better wait until the queue is as deep as it was in the one before."""
        wanted = self._wanted_depth()
        if len(self._frames) > wanted or self._held_ticks >= wanted:
            return False
        self._held_ticks += 1
        self.stats.held += 1
        return True

    # --- too much there -----------------------------------------------------------------------------------------------

    def _shorten(self) -> None:
        """We slept, or the network did: do not carry it along."""
        while len(self._frames) > self._wanted_depth() + 1:
            self._frames.popleft()
            self.stats.dropped += 1
        self._measure_anew()

    def _leave_one_out(self) -> None:
        self.stats.dropped += 1
        self._surplus -= 1
        self._overdue_ticks = 0
        self._least_spare -= 1
        self._least_deep -= 1

    def _reckon(self, depth: int) -> None:
        """Learn from what is left after a tick's frame was taken."""
        self.stats.handed_out += 1
        self.stats.waited += depth
        self._mean_depth += (depth - self._mean_depth) * _DEPTH_SHARE
        self._least_spare = min(self._least_spare, depth)
        self._least_deep = min(self._least_deep, depth)
        self._spare_ticks += 1
        self._deep_ticks += 1
        if self._deep_ticks >= _DEEP_TICKS:
            self._surplus = max(self._surplus, self._least_deep - _ORDINARY_FRAMES)
            self._deep_ticks, self._least_deep = 0, self._most_frames
        if self._spare_ticks >= _SPARE_TICKS:
            self._surplus = max(self._surplus, self._least_spare)
            self._spare_ticks, self._least_spare = 0, self._most_frames

    def _wanted_depth(self) -> int:
        """Frames left after a tick took its own; half of the most, should all have been needed."""
        return min(round(self._mean_depth), self._most_frames // 2)

    def _measure_anew(self) -> None:
        self._surplus = self._overdue_ticks = 0
        self._spare_ticks = self._deep_ticks = 0
        self._least_spare = self._least_deep = self._most_frames
