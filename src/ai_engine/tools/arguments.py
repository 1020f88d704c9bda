"""Arguments that a model made up, checked against the tool's JSON Schema. Pure.

Schemas may come from outside too (MCP servers): nothing in them is fetched, and no pattern may take for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_SCHEMA_BYTES: Final = 16 * 1024
"""As much as the local server takes (docs/protocol.md)."""
MAX_ARGUMENT_BYTES: Final = 8 * 1024
_MAX_PATTERN_CHARS: Final = 100
_MAX_MATCHED_CHARS: Final = 200
_COSTLY: Final = re.compile(r"\)[*+?{]|\\[1-9]|\(\?")
"""A repeated group, a back reference or a look-around: what can make one match take for ever."""


class SchemaUnusable(Exception):
    """A tool's parameters cannot be used; the message says why."""


def check_schema(parameters: object) -> None:
    """Raises `SchemaUnusable` for what is no JSON Schema of an object, is too large, or costs too much to check."""
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise SchemaUnusable('it must be of an object: {"type": "object", "properties": …}')
    try:
        size = len(json.dumps(parameters))
    except (TypeError, ValueError, RecursionError):
        raise SchemaUnusable("it is no JSON") from None
    if size > MAX_SCHEMA_BYTES:
        raise SchemaUnusable(f"it has {size} bytes; {MAX_SCHEMA_BYTES} is the limit")
    try:
        Draft202012Validator.check_schema(dict(parameters))
    except SchemaError as error:
        raise SchemaUnusable(error.message[:200]) from None
    for part in _mappings(parameters):
        reference, pattern = part.get("$ref"), part.get("pattern")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise SchemaUnusable("$ref may name a part of the same schema only (#/$defs/…)")
        if isinstance(pattern, str) and (len(pattern) > _MAX_PATTERN_CHARS or _COSTLY.search(pattern)):
            raise SchemaUnusable(f"the pattern {pattern[:40]!r} is too complex; use no repeated groups")


def complaint(parameters: Mapping[str, Any], arguments: object) -> str | None:
    """What is wrong with `arguments`, in words that a model can act on; None when the schema is content."""
    if not isinstance(arguments, Mapping):
        return "the arguments are no object"
    try:
        if len(json.dumps(arguments)) > MAX_ARGUMENT_BYTES:
            return f"the arguments are longer than {MAX_ARGUMENT_BYTES} bytes"
        error = next(_Validator(dict(parameters), registry=Registry()).iter_errors(dict(arguments)), None)
    except (TypeError, ValueError, OverflowError, RecursionError, Unresolvable):
        return "the arguments cannot be read"
    if error is None:
        return None
    where = ".".join(str(step) for step in error.absolute_path)
    return f"{where}: {error.message[:200]}" if where else error.message[:200]


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _mappings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _mappings(inner)


def _check_pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[ValidationError]:
    """JSON Schema's `pattern`, for strings whose length keeps it cheap."""
    if not isinstance(instance, str):
        return
    if len(instance) > _MAX_MATCHED_CHARS:
        yield ValidationError(f"may have {_MAX_MATCHED_CHARS} characters; it has {len(instance)}")
    elif not re.search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Final = validators.extend(Draft202012Validator, {"pattern": _check_pattern})  # type: ignore[no-untyped-call]
