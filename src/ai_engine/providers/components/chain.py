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

        Where none may be asked, all are: silence is certain otherwise. Only who is reached is tried.
        """
        now = self._clock()
        allowed = [member for member in self.members if member.breaker.would_allow(now)] or list(self.members)
        for place, member in enumerate(allowed):
            member.breaker.allows(self._clock())
            yield member, member.patience_s if place < len(allowed) - 1 else None

    def succeeded(self, member: Member[C]) -> None:
        if member.breaker.succeeded():
            log.info("component_works_again", component=self._component, member=member.name)

    def left(self, member: Member[C], *, worked: bool) -> None:
        """It was not waited for to its end; `worked`: what had come of it by then was good."""
        if worked:
            self.succeeded(member)
        else:
            member.breaker.given_up()

    def failed(self, member: Member[C], error: Exception) -> None:
        """Announce it, and leave the member alone once that has happened too often."""
        reason = str(error) or f"no output within {member.patience_s:g} s"
        given_up = False
        if isinstance(error, ComponentFailed) and error.refused:
            member.breaker.given_up()  # one call's request is no reason to leave it alone in all
        else:
            given_up = member.breaker.failed(self._clock())
        log.warning(
            "component_failed", component=self._component, member=member.name, error=reason, given_up_for_now=given_up
        )
        self._on_fallback(self._component, member.name)

    async def start(self) -> None:
        """Start those that are asked at present, all at once and each within its patience; the others, and those that
        fail, are tried when they are asked. Raises what the last one raised if none starts."""
        closed = [member for member in self.members if member.breaker.closed] or self.members
        async with asyncio.TaskGroup() as group:
            starting = [group.create_task(self._start(member)) for member in closed]
        failures = [failure for task in starting if (failure := task.result()) is not None]
        if len(failures) == len(starting):
            raise failures[-1]

    async def _start(self, member: Member[C]) -> ComponentFailed | None:
        try:
            async with asyncio.timeout(member.patience_s):
                await member.component.start()
        except ComponentFailed as failure:
            self.failed(member, failure)
            return failure
        except TimeoutError as error:
            self.failed(member, error)
            return ComponentFailed(self._component, f"{member.name} did not start within {member.patience_s:g} s")
        return None

    async def stop(self) -> None:
        await asyncio.gather(*(member.component.stop() for member in self.members))
