"""Choosing a component or provider by its kind, and reading its options, with errors that say the fix."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ai_engine.config_file import ConfigError

Options = Mapping[str, Any]
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def choose(registry: Mapping[str, T], kind: str, what: str) -> T:
    """The entry of that kind. Raises `ConfigError` that names the nearest one there is."""
    if kind in registry:
        return registry[kind]
    near = difflib.get_close_matches(kind, registry, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(registry))}"
    raise ConfigError(f"{what}: no kind {kind!r}; {hint}")


def read_options(model: type[M], options: Options, what: str) -> M:
    """The options as `model`. Raises `ConfigError` with every complaint, and the valid keys for an unknown one."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        complaints = []
        for item in error.errors(include_url=False):
            name = ".".join(str(part) for part in item["loc"])
            if item["type"] == "extra_forbidden":
                near = difflib.get_close_matches(str(item["loc"][-1]), model.model_fields, n=1, cutoff=0.5)
                valid = ", ".join(sorted(model.model_fields)) or "none"
                hint = f"did you mean `{near[0]}`?" if near else f"valid are: {valid}"
                complaints.append(f"{what}: unknown option `{name}`; {hint}")
            else:
                complaints.append(f"{what}: `{name}`: {item['msg']}")
        raise ConfigError("\n".join(complaints)) from None
