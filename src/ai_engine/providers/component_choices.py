"""Which components the configuration names: one, or several of which the next is asked where the first fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, Field

from ai_engine.providers.circuit_breaker import CircuitBreaker
from ai_engine.providers.components.chain import Chain, Member
from ai_engine.providers.components.component import Component, ComponentName
from ai_engine.providers.components.options import Options, choose
from ai_engine.providers.components.registry import ComponentChoice
from ai_engine.providers.services import CallScope, Services

C = TypeVar("C", bound=Component)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Choices = Annotated[tuple[ComponentChoice, ...], BeforeValidator(_as_list), Field(min_length=1, max_length=8)]
"""Written as one component or as a list of them, the preferred one first."""


class ComponentMaker(Generic[C]):
    """Makes one of a pipeline's three components for each call."""

    def __init__(
        self,
        component: ComponentName,
        registry: Mapping[str, Callable[[CallScope, Options], C]],
        choices: tuple[ComponentChoice, ...],
        *,
        what: str,
        patience_s: float,
        chained: Callable[[Chain[C]], C],
    ) -> None:
        """`patience_s` is that of members that name none. Raises `ConfigError` for a kind that does not exist."""
        self._component = component
        self._choices = choices
        self._makers = [choose(registry, choice.kind, what) for choice in choices]
        self._patience_s = patience_s
        self._chained = chained

    def make(self, scope: CallScope) -> C:
        """The component of one call. Raises `ConfigError` for options that cannot be."""
        if len(self._choices) == 1:
            return self._makers[0](scope, self._choices[0].options)
        members = [self._member(scope, place) for place in range(len(self._choices))]
        services = scope.services
        return self._chained(
            Chain(self._component, members, clock=services.clock, on_fallback=services.on_fallback)
        )  # fmt: skip

    def each(self, scope: CallScope) -> list[tuple[str, C]]:
        """All of them by themselves, with their kinds, in order."""
        made = zip(self._choices, self._makers, strict=True)
        return [(choice.kind, make(scope, choice.options)) for choice, make in made]

    def _member(self, scope: CallScope, place: int) -> Member[C]:
        choice = self._choices[place]
        return Member(
            f"{place + 1}-{choice.kind}",
            self._makers[place](scope, choice.options),
            self._breaker(scope.services, choice),
            choice.patience_s or self._patience_s,
        )

    def _breaker(self, services: Services, choice: ComponentChoice) -> CircuitBreaker:
        """Shared by all who ask the same thing in the same way."""
        key = (self._component, choice.kind, json.dumps(choice.options, sort_keys=True, default=str))
        return services.breakers.setdefault(key, CircuitBreaker())
