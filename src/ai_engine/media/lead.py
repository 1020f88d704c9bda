"""What Asterisk has of ours and has not begun to play: a few frames, so that its own timer never finds nothing.

chan_websocket plays one frame per 20 ms of its timer, from a queue of its own. We send by our ticks, so the two are in
step as long as nobody misses any. Marks tell when they are not: each is sent before a frame and comes back when that
frame begins. Asterisk behind us is waited for, because its backlog would be latency for good; Asterisk ahead is caught
up with. How long a mark is under way where Asterisk is far off shows at the first frame of a talkspurt, which waits for
none before it. Where no mark comes back, our own ticks are the estimate. No I/O, and no clock but the ticks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

_MARK_EVERY_FRAMES: Final = 5
_AGREEING_MARKS: Final = 4
"""So many must say that Asterisk is behind (or ahead) before it is believed: one alone may be jitter."""
_PLAINLY_BEHIND_FRAMES: Final = 5
_MOST_TRAVEL_TICKS: Final = 10
"""A round trip of 200 ms; what is more than that is Asterisk being late, and what was less before, too."""
_STALLED_FRAMES: Final = 25
"""A mark so long overdue means that Asterisk stands still: do not fill its queue."""
_PATIENCE_TICKS: Final = 100
"""After 2 s of that, marks may not come at all: the estimate has to do until one does."""
_MOST_MARKS: Final = 200
"""Waited for at once: more than Asterisk's queue holds."""


class Place(NamedTuple):
    """A point in the agent's sound: so many bytes from the beginning of a turn."""

    turn: int
    position: int


@dataclass(slots=True)
class _Mark:
    id: str
    before: int
    """The number of the frame that begins when the mark is processed."""
    played: Place
    """What has been played by then."""
    trailing: bool
    first: bool
    """Of a talkspurt that Asterisk had nothing of ours to play before."""
    began: int | None = None
    """The tick at which we took that frame to begin."""


class Lead:
    """One call's. `wanted`, `push` and `mark` when sending, then `take` once per tick."""

    def __init__(self, frames: int) -> None:
        """`frames`: how many Asterisk has after each tick, the one it begins next among them."""
        self.marks_lost = 0
        self.waited_ticks = 0
        """Ticks at which nothing was sent because Asterisk was behind."""
        self._depth = frames
        self._frames: deque[bytes] = deque()
        self._sent = 0
        self._begun = 0
        self._ticks = 0
        """But for those that were waited."""
        self._marks: deque[_Mark] = deque()
        self._next_id = 0
        self._since_mark = _MARK_EVERY_FRAMES
        self._end_marked = True
        self._lags: deque[int] = deque(maxlen=_AGREEING_MARKS)
        self._travel_ticks = _MOST_TRAVEL_TICKS
        self._played_out = True
        self._wait_ticks = 0
        self._stalled_ticks = 0
        self._marks_come = True
        self._xoff = False

    def __len__(self) -> int:
        """Frames that have not begun."""
        return len(self._frames)

    @property
    def stands_still(self) -> bool:
        """Asterisk has told for half a second of nothing that it began. False once it seems that it never tells."""
        return bool(self._marks) and self._marks_come and self._begun - self._marks[0].before >= _STALLED_FRAMES

    # --- sending ------------------------------------------------------------------------------------------------------

    @property
    def wanted(self) -> int:
        """Frames to send at this tick."""
        if self._wait_ticks or self._xoff or self.stands_still:
            return 0
        return self._depth - len(self._frames)

    @property
    def mark_due(self) -> bool:
        """A mark belongs before the frame that is sent next."""
        return self._since_mark >= _MARK_EVERY_FRAMES

    @property
    def end_unmarked(self) -> bool:
        """The last frame has begun, and no mark was sent after it: if no frame follows, one should tell its end."""
        return not self._end_marked and not self._frames

    def mark(self, played: Place, *, trailing: bool = False) -> str:
        """The id of a mark that is sent now. `played` is where the frame before it ended."""
        self._next_id += 1
        mark_id = str(self._next_id)
        first = self._played_out and not trailing
        self._played_out = self._played_out and not first
        self._marks.append(_Mark(mark_id, self._sent + 1, played, trailing, first))
        self._since_mark = _MARK_EVERY_FRAMES if trailing else 0
        self._end_marked = trailing
        return mark_id

    def push(self, frame: bytes) -> None:
        """`frame` is sent now."""
        self._frames.append(frame)
        self._sent += 1
        while len(self._marks) > _MOST_MARKS:
            self._marks.popleft()
            self.marks_lost += 1
        self._since_mark += 1
        self._end_marked = False

    def take(self) -> bytes | None:
        """A tick has passed: the frame that begins to sound now; None for silence."""
        if self.stands_still:
            self._wait_for_marks()
            return None
        self._stalled_ticks = 0
        if self._wait_ticks:
            self._wait_ticks -= 1
            self.waited_ticks += 1
            return None
        self._ticks += 1
        return self._begin() if self._frames else None

    def drop(self) -> None:
        """Asterisk was told to flush: frames and marks are gone, and the marks will not come back."""
        self._frames.clear()
        self._marks.clear()
        self._lags.clear()
        self._begun = self._sent
        self._wait_ticks = self._stalled_ticks = 0
        self._since_mark = _MARK_EVERY_FRAMES
        self._end_marked = self._played_out = True

    # --- what Asterisk tells ------------------------------------------------------------------------------------------

    def acknowledged(self, mark_id: str) -> Place | None:
        """A mark has come back: what has been played by now. None for one that is not waited for."""
        if not any(mark.id == mark_id for mark in self._marks):
            return None
        self._marks_come = True
        while (mark := self._marks.popleft()).id != mark_id:
            self.marks_lost += 1  # they come in order
        if not mark.trailing:
            self._compare(mark)
        elif self._sent < mark.before:  # Asterisk has nothing left of ours: it is not behind any more
            self._played_out = True
            self._wait_ticks = 0
            self._lags.clear()
        return mark.played

    def xoff(self) -> None:
        """Asterisk's queue is full."""
        self._xoff = True

    def xon(self) -> None:
        """It is not any more."""
        self._xoff = False

    def _compare(self, mark: _Mark) -> None:
        behind = self._begun - mark.before if mark.began is None else self._ticks - mark.began
        most = self._travel_ticks + mark.first  # may grow by one with each talkspurt: ways change
        self._travel_ticks = min(most, max(0, behind), _MOST_TRAVEL_TICKS)
        behind -= self._travel_ticks
        self._wait_ticks = min(self._wait_ticks, max(0, behind))
        self._lags.append(behind)
        if behind >= _PLAINLY_BEHIND_FRAMES:
            self._wait_ticks = behind
        elif len(self._lags) == _AGREEING_MARKS:
            if min(self._lags) > 0:
                self._wait_ticks = min(self._lags)
            elif max(self._lags) < 0:
                self._catch_up(-max(self._lags))
            else:
                return
        else:
            return
        self._lags.clear()

    def _catch_up(self, frames: int) -> None:
        for _ in range(min(frames, len(self._frames))):
            self._begin()

    def _begin(self) -> bytes:
        self._begun += 1
        for mark in self._marks:
            if mark.before == self._begun:
                mark.began = self._ticks
        return self._frames.popleft()

    def _wait_for_marks(self) -> None:
        self.waited_ticks += 1
        self._stalled_ticks += 1
        if self._stalled_ticks >= _PATIENCE_TICKS:
            self._marks_come = False
            self._stalled_ticks = 0
