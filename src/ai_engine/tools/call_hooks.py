"""What a context has done before a call is answered and after it has ended.

Before: look-ups, all at once, that make variables `{lookup_…}` for its texts; the caller hears ringing meanwhile, no
longer than the context's `before_call_s`, and what has not come by then has its default. After: the record of the call
goes to webhooks and e-mail, off the call's clock, tried again a few times. Until it is done it is kept on the disk:
what is still waiting when the engine stops is tried again at its next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final, Protocol, runtime_checkable

import structlog

from ai_engine.messages.outbox import MAX_WAITING, RETRY_DELAYS_S, STOP_WITHIN_S, Delivery, DeliveryFailed, Outbox
from ai_engine.messages.spool import Spool

log = structlog.get_logger(__name__)

AFTER_CALL_VARIABLES: Final = frozenset(
    {"summary", "transcript", "turns", "outcome", "duration_s", "began_at", "ended_at"}
)
"""What `CallRecord.values` adds to a call's own variables."""


class HookFailed(DeliveryFailed):
    """What was to be done before or after a call could not be; the message says why and holds no secrets."""


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

    def content(self) -> dict[str, Any]:
        """As JSON keeps it: what makes the same facts again."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"variables": dict(self.variables)}

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

    def content(self) -> dict[str, Any]:
        """As JSON keeps it."""
        times = {"began_at": self.began_at.isoformat(), "ended_at": self.ended_at.isoformat()}
        turns = [asdict(turn) for turn in self.turns]
        return {"call": self.call.content(), "outcome": self.outcome, "turns": turns} | times

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> CallRecord:
        """Of what `content` made. Raises `KeyError`, `TypeError` and `ValueError`."""
        return cls(
            CallFacts(**content["call"]),
            content["outcome"],
            datetime.fromisoformat(content["began_at"]),
            datetime.fromisoformat(content["ended_at"]),
            tuple(Spoken(**turn) for turn in content["turns"]),
        )

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
        spool: Spool | None = None,
        *,
        delays_s: Sequence[float] = RETRY_DELAYS_S,
        max_waiting: int = MAX_WAITING,
        stop_within_s: float = STOP_WITHIN_S,
        on_done: Callable[[str, str], None] = lambda name, outcome: None,
    ) -> None:
        """`spool`: where they are until they are done; None: what an engine that stops has not done is lost.

        `on_done` is told name and outcome (delivered, failed, dropped) of each.
        """
        self._outbox = Outbox(
            "after_call",
            spool,
            delays_s=delays_s,
            max_waiting=max_waiting,
            stop_within_s=stop_within_s,
            on_done=on_done,
        )

    @property
    def waiting(self) -> int:
        """Deliveries that are not done."""
        return self._outbox.waiting

    def call_ended(self, record: CallRecord, hooks: Iterable[tuple[str, AfterCall]]) -> None:
        """Have `record` delivered by the hooks, each by its name; returns at once."""
        for name, hook in hooks:
            self._outbox.add(_Telling(name, hook, record).delivery())

    async def resume(self, hooks: Callable[[str], AfterCall | None]) -> None:
        """Take up what an engine before this one had not done; `hooks` knows the hook of each name."""

        def of(content: Mapping[str, Any]) -> Delivery | None:
            name = str(content["hook"])
            hook = hooks(name)
            if hook is None:
                return None
            return _Telling(name, hook, CallRecord.from_content(content["record"]), content["summary"]).delivery()

        await self._outbox.resume(of)

    async def stop(self) -> None:
        """A moment for what is under way; the rest waits for the next start. Idempotent."""
        await self._outbox.stop()

    def delete_call(self, call_id: str) -> int:
        """Nothing more of that call is to be kept on the disk, or sent. Blocks on the disk."""
        return self._outbox.delete_call(call_id)


class _Telling:
    """One hook that is told of one call, with one summary however often it is tried."""

    def __init__(self, name: str, hook: AfterCall, record: CallRecord, summary: str | None = None) -> None:
        self._name = name
        self._hook = hook
        self._record = record
        self._summary = summary

    def delivery(self) -> Delivery:
        return Delivery(self._record.call.call_id, self._name, self._send, self._content)

    def _content(self) -> Mapping[str, Any]:
        return {"hook": self._name, "record": self._record.content(), "summary": self._summary}

    async def _send(self) -> None:
        if self._summary is None:
            self._summary = await self._hook.summary(self._record) if self._hook.summary is not None else ""
        await self._hook.after_call(self._record, self._summary)
