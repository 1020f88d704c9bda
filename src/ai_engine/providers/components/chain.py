"""Several components in place of one: the first that works is asked, the next when it fails or keeps one waiting.

Which of them work is known to all calls (`CircuitBreaker`), so that only the first callers wait for one that is dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from ai_engine.providers.circuit_breaker import CircuitBreaker
from ai_engine.providers.components.component import Component, ComponentFailed, ComponentName

log = structlog.get_logger(__name__)

C = TypeVar("C", bound=Component)


@dataclass(frozen=True, slots=True)
class Member(Generic[C]):
    """One of the components, in the order in which they are asked."""

    name: str
    """For logs and metrics: its kind, and its place among those of that kind."""
    component: C
    breaker: CircuitBreaker
    patience_s: float
    """How long its next output is waited for while there is another to ask."""


OnFallback = Callable[[str, str], None]
"""(which component, the name of the member that failed)."""


class Chain(Generic[C]):
    """One call's members of one component."""

    def __init__(
        self,
        component: ComponentName,
        members: Sequence[Member[C]],
        *,
        clock: Callable[[], float],
        on_fallback: OnFallback = lambda component, name: None,
    ) -> None:
        self.members = tuple(members)
        self._component = component
        self._clock = clock
        self._on_fallback = on_fallback

    @property
    def likely(self) -> Member[C]:
        """Whom the next request will probably go to, without asking for a trial."""
        return next((member for member in self.members if member.breaker.closed), self.members[0])

    def to_ask(self) -> Iterator[tuple[Member[C], float | None]]:
        """Whom to ask, in order, each with its patience in seconds: None for the last, who is waited for.

        Where none may be asked, all are: silence is certain otherwise.
        """
        now = self._clock()
        allowed = [member for member in self.members if member.breaker.allows(now)] or list(self.members)
        for place, member in enumerate(allowed):
            yield member, member.patience_s if place < len(allowed) - 1 else None

    def succeeded(self, member: Member[C]) -> None:
        if member.breaker.succeeded():
            log.info("component_works_again", component=self._component, member=member.name)

    def failed(self, member: Member[C], error: Exception) -> None:
        """Announce it, and leave the member alone once that has happened too often."""
        reason = str(error) or f"no output within {member.patience_s:g} s"
        given_up = member.breaker.failed(self._clock())
        log.warning(
            "component_failed", component=self._component, member=member.name, error=reason, given_up_for_now=given_up
        )
        self._on_fallback(self._component, member.name)

    async def start(self) -> None:
        """Start them all; those that fail are tried again when they are asked. Raises what the last one raised if none
        starts."""
        outcomes = await asyncio.gather(*(self._start(member) for member in self.members))
        failures = [outcome for outcome in outcomes if outcome is not None]
        if len(failures) == len(self.members):
            raise failures[-1]

    async def _start(self, member: Member[C]) -> ComponentFailed | None:
        try:
            await member.component.start()
        except ComponentFailed as failure:
            self.failed(member, failure)
            return failure
        return None

    async def stop(self) -> None:
        await asyncio.gather(*(member.component.stop() for member in self.members))
