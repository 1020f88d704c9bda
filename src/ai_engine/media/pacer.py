"""The media thread: one event loop, and one absolute 20 ms schedule for all calls.

A tick that comes late is made up at once and shifts nothing that follows; what is more than `MOST_BEHIND_FRAMES` behind
is left out, because sound that old helps nobody. Calls are spread over `SLOTS` points of the 20 ms, so that neither the
network nor the other threads get the work of all calls in one burst; a slot without calls costs no wake-up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import structlog
import uvloop

FRAME_S: Final = 0.020
SLOTS: Final = 4
MOST_BEHIND_FRAMES: Final = 3
LATE_S: Final = 0.005
_REMEMBERED_GAPS: Final = 4096
_NICE: Final = -10

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class Session(Protocol):
    """What is ticked. Both methods run on the media thread and must not block."""

    def tick(self, now: float) -> None:
        """20 ms have passed; `now` is the clock when the slot's turn came."""

    def failed(self, error: Exception) -> None:
        """`tick` raised; the session has been removed and is ticked no more.

        To log the trace is the session's part, on another thread: to format it takes longer than a frame.
        """


@dataclass(frozen=True, slots=True)
class PacerFigures:
    """How well the schedule was kept."""

    sessions: int
    ticks: int
    late_ticks: int
    """Slots that began more than 5 ms after their time."""
    skipped_ticks: int
    """Frames left out because we were too far behind."""
    gap_p99_ms: float
    """Of the last 4096 gaps between two ticks of the same slot."""
    gap_max_ms: float
    busy_share: float
    """Time spent in ticks since the start, 0..1."""


class MediaLoop:
    """The thread, its event loop and the pacer. `start`, `stop`, `post`, `submit`, `add`, `remove`: from any thread."""

    def __init__(self, *, name: str = "media", clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._slots: tuple[dict[Session, None], ...] = tuple({} for _ in range(SLOTS))
        self._timer: asyncio.TimerHandle | None = None
        self._epoch = 0.0
        self._next = 0  # number of the next slot tick; its time is epoch + next * FRAME_S / SLOTS
        self._last_at: list[float | None] = [None] * SLOTS
        self._gaps: deque[float] = deque(maxlen=_REMEMBERED_GAPS)
        self._ticks = self._late_ticks = self._skipped_ticks = 0
        self._busy_s = 0.0

    # --- the thread -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Returns when the loop runs."""
        if self._thread is not None:
            raise RuntimeError("the media loop has been started already")
        running = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(running,), name=self._name, daemon=True)
        self._thread.start()
        running.wait()

    def stop(self) -> None:
        """End the pacer and the loop, and wait for the thread. Idempotent. Blocks for up to one tick."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join()
        self._loop = None

    def _run(self, running: threading.Event) -> None:
        prefer_this_thread()
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        self._loop = loop
        self._epoch = self._clock()
        loop.call_soon(running.set)
        try:
            loop.run_forever()
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            asyncio.set_event_loop(None)
            loop.close()

    def post(self, function: Callable[..., object], *args: object) -> bool:
        """Run `function` soon on the media thread, in order. False when the loop has ended."""
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # closed between the two lines
            return False
        return True

    def submit(self, coroutine: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Run a coroutine on the media loop. From another loop: `await asyncio.wrap_future(media.submit(...))`."""
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("the media loop is not running; start it first")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    # --- the schedule -----------------------------------------------------------------------------------------------

    def add(self, session: Session) -> None:
        """Tick `session` every 20 ms from now on."""
        self.post(self._add, session)

    def remove(self, session: Session) -> None:
        """Tick it no more: not once after this has run on the media thread."""
        self.post(self._remove, session)

    def figures(self) -> PacerFigures:
        gaps = sorted(self._gaps)
        elapsed_s = self._clock() - self._epoch
        return PacerFigures(
            sessions=sum(map(len, self._slots)),
            ticks=self._ticks,
            late_ticks=self._late_ticks,
            skipped_ticks=self._skipped_ticks,
            gap_p99_ms=1000 * gaps[int(len(gaps) * 0.99)] if gaps else 0.0,
            gap_max_ms=1000 * gaps[-1] if gaps else 0.0,
            busy_share=self._busy_s / elapsed_s if elapsed_s > 0 else 0.0,
        )

    def _add(self, session: Session) -> None:
        if any(session in slot for slot in self._slots):
            return
        slot_number = min(range(SLOTS), key=lambda n: len(self._slots[n]))
        self._slots[slot_number][session] = None
        number = int((self._clock() - self._epoch) / FRAME_S * SLOTS) + 1
        number += (slot_number - number) % SLOTS
        if self._timer is None or number < self._next:
            self._arm(number)

    def _remove(self, session: Session) -> None:
        for number, slot in enumerate(self._slots):
            if session in slot:
                del slot[session]
                if not slot:
                    self._last_at[number] = None

    def _arm(self, first: int) -> None:
        """Set the timer for the first slot tick from number `first` on that has anybody to serve."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        assert self._loop is not None
        for number in range(first, first + SLOTS):
            if self._slots[number % SLOTS]:
                self._next = number
                wait_s = self._epoch + number * FRAME_S / SLOTS - self._clock()
                self._timer = self._loop.call_later(max(0.0, wait_s), self._tick)
                return

    def _tick(self) -> None:
        self._timer = None
        number = self._next
        slot_number = number % SLOTS
        now = self._clock()
        late_s = now - (self._epoch + number * FRAME_S / SLOTS)
        self._ticks += 1
        self._late_ticks += late_s > LATE_S
        last = self._last_at[slot_number]
        if last is not None:
            self._gaps.append(now - last)
        self._last_at[slot_number] = now
        slot = self._slots[slot_number]
        for session in list(slot):
            if session not in slot:  # removed by one that was ticked before it
                continue
            try:
                session.tick(now)
            except Exception as error:  # noqa: BLE001 - one call must not end the others; `failed` is told
                self._drop(session, error)
        behind = int(late_s / FRAME_S) - MOST_BEHIND_FRAMES
        if behind > 0:
            self._skipped_ticks += behind
            number += behind * SLOTS
        self._busy_s += self._clock() - now
        self._arm(number + 1)

    def _drop(self, session: Session, error: Exception) -> None:
        self._remove(session)
        try:
            session.failed(error)
        except Exception:  # noqa: BLE001 - the same root: the other calls go on
            _log.exception("session_failed_twice", session=repr(session))


def settle_interpreter() -> None:
    """Make the interpreter fit for live sound; call once, when everything is loaded and before the first call.

    - What is loaded by now (200,000 objects and more) lives as long as the process: frozen, no collection looks at it
      again. A full collection over it takes 50 ms and more, and stops every thread.
    - Calls leave few cycles; collecting them less often makes no pause longer than a few milliseconds.
    - The media thread gives the interpreter up at every `recvmsg` and `sendto`, and while another thread computes it
      waits for its turn as long as the switch interval. Measured with 150 busy calls, p99 of the gap between packets:
      35 ms at the default of 5 ms, 22 ms at 0.1 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    sys.setswitchinterval(0.0001)


def prefer_this_thread() -> bool:
    """Let live sound go before what can wait (models, on the same cores); False where the system does not permit it.

    Needs root or CAP_SYS_NICE. On Linux a nice value belongs to a thread, and only threads and processes begun by it
    inherit it: model workers are not.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    except OSError:
        return False
    return True
