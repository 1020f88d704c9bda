"""The providers by the kind that the configuration names. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ai_engine.providers.components.options import Options, choose
from ai_engine.providers.local import make_local
from ai_engine.providers.pipeline_factory import make_pipeline
from ai_engine.providers.services import ProviderFactory, Services

PROVIDERS: Final[dict[str, Callable[[Options, Services], ProviderFactory]]] = {
    "local": make_local,
    "pipeline": make_pipeline,
}


def make_factory(name: str, kind: str, options: dict[str, Any], services: Services) -> ProviderFactory:
    """The provider that the configuration calls `name`. Raises `ConfigError` for what does not exist."""
    return choose(PROVIDERS, kind, f"providers.{name}")(options, services)
