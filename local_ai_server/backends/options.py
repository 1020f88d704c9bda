"""The settings of one backend: what the environment, `switch_model` and the admin UI may set, and its JSON Schema."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)


class OptionsError(ValueError):
    """An option that cannot be; the message names the variable or field and what is wrong with it."""


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


Word: Final = BeforeValidator(_lower)


def _for_a_header(key: SecretStr) -> SecretStr:
    """Without white space around it; what no HTTP header can carry is refused here: the refusal there would show it."""
    text = key.get_secret_value().strip()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("a key is one word of plain characters")
    return SecretStr(text)


ApiKey = Annotated[SecretStr, AfterValidator(_for_a_header)]
Threads = Annotated[int, Field(ge=1, le=256)]


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def variable(*names: str, default: Any = None, **limits: Any) -> Any:
    """A field that is read from the first of the environment variables `names` that is set."""
    return Field(default=default, validation_alias=AliasChoices(*names), **limits)


class BackendOptions(BaseModel):
    """Base of every backend's `Options`. Fields are set by name, or by their variables' names."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    model_path: Path | None = None

    @classmethod
    def variables(cls) -> dict[str, tuple[str, ...]]:
        """Each field's environment variables, the preferred one first."""
        names = {}
        for field, info in cls.model_fields.items():
            alias = info.validation_alias
            names[field] = tuple(map(str, alias.choices)) if isinstance(alias, AliasChoices) else ()
        return names

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Of `environment` what this backend reads; empty values count as not set. Raises `OptionsError`."""
        values = {}
        for names in cls.variables().values():
            found = next((name for name in names if environment.get(name, "").strip()), None)
            if found is not None:  # a second name of the same field would be an unknown one to pydantic
                values[found] = environment[found]
        return cls._validated(values)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """These options with some fields, by name, set to other values. Raises `OptionsError`.

        A secret belongs to the address it was given for: where that changes, it is forgotten unless it is set as well.
        """
        unknown = sorted(set(changes) - set(type(self).model_fields))
        if unknown:
            raise OptionsError(
                f"there is no option {unknown[0]!r} here; there are: {', '.join(sorted(type(self).model_fields))}"
            )
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if any(name.endswith("url") and value != given.get(name) for name, value in changes.items()):
            given = {name: value for name, value in given.items() if not isinstance(value, SecretStr)}
        return self._validated({**given, **changes})

    @classmethod
    def _validated(cls, values: Mapping[str, Any]) -> Self:
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [_explain(cls, detail) for detail in error.errors(include_url=False)]
            raise OptionsError("\n".join(lines)) from None


def _explain(cls: type[BackendOptions], detail: Any) -> str:
    """`LOCAL_STT_THREADS: Input should be …`; the value stays out of it, it may be a secret."""
    where = str(detail["loc"][0]) if detail["loc"] else ""
    names = cls.variables().get(where, ())
    return f"{names[0] if names else where}: {detail['msg']}"
