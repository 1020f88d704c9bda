"""What a context has done before a call is answered and after it has ended.

Before: look-ups, all at once, that make variables `{lookup_…}` for its texts; the caller hears ringing meanwhile, no
longer than the context's `before_call_s`, and what has not come by then has its default. After: the record of the call
goes to webhooks and e-mail, off the call's clock, tried again a few times. What is still waiting when the engine stops
is tried for a moment and then given up; nothing of it is kept on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, runtime_checkable

import structlog

log = structlog.get_logger(__name__)

RETRY_DELAYS_S: Final = (2.0, 10.0, 60.0, 300.0)
"""After each failed try; then it is given up."""
MAX_WAITING: Final = 500
"""Deliveries at one time, those between two tries included; more are dropped."""
_AT_ONCE: Final = 4
_STOP_WITHIN_S: Final = 5.0
AFTER_CALL_VARIABLES: Final = frozenset(
    {"summary", "transcript", "turns", "outcome", "duration_s", "began_at", "ended_at"}
)
"""What `CallRecord.values` adds to a call's own variables."""


class HookFailed(Exception):
    """What was to be done before or after a call could not be; the message says why and holds no secrets."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What is known of a call before it is answered."""

    call_id: str
    context: str
    caller_number: str
    caller_name: str
    dialed_number: str
    language: str
    variables: Mapping[str, str] = field(default_factory=dict)
    """Its template variables so far, those of the dialplan among them."""

    def values(self) -> dict[str, Any]:
        """By the names that templates know them by."""
        return {
            **self.variables,
            "call_id": self.call_id,
            "context": self.context,
            "caller_number": self.caller_number,
            "caller_name": self.caller_name,
            "dialed_number": self.dialed_number,
            "language": self.language,
        }


@dataclass(frozen=True, slots=True)
class Spoken:
    """One turn as it was heard."""

    who: str
    """`caller` or `agent`."""
    text: str


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call that has ended."""

    call: CallFacts
    outcome: str
    began_at: datetime
    ended_at: datetime
    turns: tuple[Spoken, ...]

    def transcript(self) -> str:
        """A line a turn."""
        return "\n".join(f"{turn.who.capitalize()}: {' '.join(turn.text.split())}" for turn in self.turns)

    def values(self, summary: str) -> dict[str, Any]:
        """By the names that templates know them by."""
        return {
            **self.call.values(),
            "summary": summary,
            "transcript": self.transcript(),
            "turns": [{"who": turn.who, "text": turn.text} for turn in self.turns],
            "outcome": self.outcome,
            "duration_s": round((self.ended_at - self.began_at).total_seconds(), 1),
            "began_at": self.began_at.isoformat(timespec="seconds"),
            "ended_at": self.ended_at.isoformat(timespec="seconds"),
        }


@runtime_checkable
class BeforeCall(Protocol):
    """A tool that can look something up before the call."""

    @property
    def lookup_variables(self) -> Mapping[str, str]:
        """Names (without `lookup_`) and defaults."""

    async def look_up(self, call: CallFacts) -> Mapping[str, str]:
        """What was found, by these names. Raises `HookFailed`; may be cancelled."""


class Summarise(Protocol):
    """Makes a summary of a call."""

    async def __call__(self, record: CallRecord) -> str:
        """Empty where none could be made; the reason is logged. Never raises."""


@runtime_checkable
class AfterCall(Protocol):
    """A tool that can be told of a call after it."""

    @property
    def summary(self) -> Summarise | None:
        """Who makes the summary that `after_call` is given; None: nobody."""

    async def after_call(self, record: CallRecord, summary: str) -> None:
        """Deliver it. Raises `HookFailed`; may come again for the same call after one that is `retryable`."""


async def look_up_all(hooks: Sequence[BeforeCall], call: CallFacts, *, deadline_s: float) -> dict[str, str]:
    """The `lookup_…` variables of a call, within `deadline_s`. Never raises but for its own cancellation."""
    found = {f"lookup_{name}": value for hook in hooks for name, value in hook.lookup_variables.items()}
    tasks = [asyncio.create_task(_look_up(hook, call), name=f"before-call-{call.call_id}") for hook in hooks]
    if not tasks:
        return found
    try:
        _, late = await asyncio.wait(tasks, timeout=deadline_s)
        if late:
            log.warning("before_call_late", call_id=call.call_id, late=len(late), deadline_s=deadline_s)
        for task in tasks:
            if task not in late:
                found.update(task.result())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _look_up(hook: BeforeCall, call: CallFacts) -> dict[str, str]:
    try:
        values = await hook.look_up(call)
    except HookFailed as error:
        log.warning("before_call_failed", call_id=call.call_id, error=str(error))
        return {}
    except Exception:  # root of a task: the call is answered without what was looked up
        log.exception("before_call_broke", call_id=call.call_id)
        return {}
    return {f"lookup_{name}": value for name, value in values.items() if name in hook.lookup_variables}


class AfterCalls:
    """The engine's deliveries after calls. Lives on the control loop."""

    def __init__(
        self,
        *,
        delays_s: Sequence[float] = RETRY_DELAYS_S,
        max_waiting: int = MAX_WAITING,
        stop_within_s: float = _STOP_WITHIN_S,
        on_done: Callable[[str, str], None] = lambda name, outcome: None,
    ) -> None:
        """`on_done` is told name and outcome (delivered, failed, dropped) of each."""
        self._delays_s = tuple(delays_s)
        self._max_waiting = max_waiting
        self._stop_within_s = stop_within_s
        self._on_done = on_done
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)

    @property
    def waiting(self) -> int:
        """Deliveries that are not done."""
        return len(self._tasks)

    def call_ended(self, record: CallRecord, hooks: Iterable[tuple[str, AfterCall]]) -> None:
        """Have `record` delivered by the hooks, each by its name; returns at once."""
        for name, hook in hooks:
            if len(self._tasks) >= self._max_waiting:
                log.error("after_call_dropped", call_id=record.call.call_id, hook=name, waiting=len(self._tasks))
                self._on_done(name, "dropped")
                continue
            task = asyncio.create_task(self._deliver(name, hook, record), name=f"after-call-{record.call.call_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """A moment for what is under way, then the end of it. Idempotent."""
        if not self._tasks:
            return
        tasks = tuple(self._tasks)
        _, left = await asyncio.wait(tasks, timeout=self._stop_within_s)
        for task in left:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if left:
            log.error("after_calls_given_up", deliveries=len(left))

    async def _deliver(self, name: str, hook: AfterCall, record: CallRecord) -> None:
        facts = {"call_id": record.call.call_id, "hook": name}
        try:
            summary: str | None = None
            for delay_s in (*self._delays_s, None):
                try:
                    async with self._room:
                        if summary is None:
                            summary = await hook.summary(record) if hook.summary is not None else ""
                        await hook.after_call(record, summary)
                except HookFailed as error:
                    if delay_s is None or not error.retryable:
                        log.error("after_call_failed", **facts, error=str(error))  # noqa: TRY400 - it says why
                        self._on_done(name, "failed")
                        return
                    log.warning("after_call_retried", **facts, error=str(error), in_s=delay_s)
                    await asyncio.sleep(delay_s)
                else:
                    log.info("after_call_done", **facts)
                    self._on_done(name, "delivered")
                    return
        except Exception:  # root of a task: other deliveries go on
            log.exception("after_call_broke", **facts)
            self._on_done(name, "failed")
