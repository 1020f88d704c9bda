"""A client's tools, read with suspicion: names, descriptions and JSON Schemas come from outside and go into a grammar.

Accepted are OpenAI's form {"type": "function", "function": {"name", "description", "parameters"}} and the flat one
{"name", "description", "parameters"}. What cannot be used ends the request with invalid_message and says what to
change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError

from local_ai_server.errors import ServeError

MAX_TOOLS: Final = 64
MAX_SCHEMA_BYTES: Final = 16 * 1024
_MAX_UNFOLDED_BYTES: Final = 64 * 1024
_MAX_ALL_BYTES: Final = 128 * 1024
"""Of all schemas of a request: checking them takes four milliseconds a KiB, on the event loop."""
MAX_DEPTH: Final = 12
"""Of nested schemas, references followed."""
MAX_NODES: Final = 512
"""Subschemas in all, references followed: a few that name each other can unfold into millions."""
MAX_DESCRIPTION_CHARS: Final = 1000
MAX_STRING_CHARS: Final = 200
"""An argument that the model may write: about two spoken sentences."""
_MAX_ITEMS: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_SUBSCHEMAS: Final = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_REFUSED: Final = (
    *("$dynamicRef", "$recursiveRef", "$id", "$anchor"),
    *("patternProperties", "unevaluatedProperties", "unevaluatedItems"),
)
_LEAST_AND_MOST: Final = (
    *(("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties")),
    *(("minimum", "maximum"), ("minimum", "exclusiveMaximum")),
    *(("exclusiveMinimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")),
)
_MAX_PATTERN_CHARS: Final = 100
_COSTLY: Final = re.compile(r"\)[*+?{]|\\[1-9]|\(\?")
"""A repeated group, a back reference or a look-around: what can make one match take for ever."""
_LITERAL: Final = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
"""An escaped character or a class of characters: no sign in it repeats anything."""
_CHOICE: Final = re.compile(r"[*+?|]|\{(?P<least>\d*),(?P<most>\d*)\}")
_OPEN_WAYS: Final = 100
_MOST_WAYS: Final = 20_000
"""Of all patterns of a tool: two open repeats, or fourteen `?`. A match that fails has tried them all from each
character on, on the event loop."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One function that the model may call."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of an object; no references are left in it."""

    @property
    def takes_arguments(self) -> bool:
        return bool(self.parameters.get("properties")) or bool(self.parameters.get("required"))

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.parameters.get("required", ()))

    def complaint(self, arguments: object) -> str | None:
        """What is wrong with `arguments`; None when they are as the schema wants them."""
        try:
            error = next(_Validator(self.parameters).iter_errors(arguments), None)
        except (OverflowError, RecursionError):
            return "the arguments: a number is out of range, or they are nested too deeply"
        if error is None:
            return None
        where = ".".join(str(step) for step in error.absolute_path) or "the arguments"
        return f"{where}: {error.message[:200]}"

    def grammar_form(self) -> dict[str, Any]:
        """The part of the schema that every engine can turn into a grammar, bounded so that an answer ends."""
        return _grammar_form(self.parameters)


def read_tools(tools: Sequence[Mapping[str, Any]], allowed: Sequence[str] | None) -> tuple[Tool, ...]:
    """The tools that may be called: those named in `allowed`, all of them when it is None.

    Raises `ServeError` (invalid_message). Tools that are not allowed are not looked at.
    """
    if len(tools) > MAX_TOOLS:
        raise ServeError("invalid_message", f"tools: {len(tools)} of them; {MAX_TOOLS} is the limit")
    names = None if allowed is None else frozenset(allowed)
    read: dict[str, Tool] = {}
    size = 0
    for at, entry in enumerate(tools):
        function = entry.get("function", entry)
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ServeError(
                "invalid_message", f"tools[{at}]: a tool needs a name of 1 to 64 letters, digits, '_', '.' or '-'"
            )
        if names is not None and name not in names:
            continue
        if name in read:
            raise ServeError("invalid_message", f"tools: {name!r} is there twice; give each tool its own name")
        description = function.get("description") or ""
        if not isinstance(description, str):
            raise ServeError("invalid_message", f"tools: {name}: its description is no text")
        schema = function.get("parameters")
        size += _size(name, schema)
        if size > _MAX_ALL_BYTES:
            raise ServeError("invalid_message", f"tools: their schemas are larger than {_MAX_ALL_BYTES} bytes together")
        read[name] = Tool(name, description[:MAX_DESCRIPTION_CHARS], _read_schema(name, schema))
    return tuple(read.values())


def _read_schema(tool: str, schema: object) -> dict[str, Any]:
    if not schema:
        return {"type": "object", "properties": {}}
    if (size := _size(tool, schema)) > MAX_SCHEMA_BYTES:
        raise _unusable(tool, f"it has {size} bytes; {MAX_SCHEMA_BYTES} is the limit")
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise _unusable(tool, 'it must be of an object: {"type": "object", "properties": …}')
    whole: dict[str, Any] = _Inliner(tool, schema).inline(schema, 0)
    if len(json.dumps(whole)) > _MAX_UNFOLDED_BYTES:
        raise _unusable(tool, f"with its references followed it is larger than {_MAX_UNFOLDED_BYTES} bytes")
    whole.setdefault("type", "object")
    try:
        Draft202012Validator.check_schema(whole)
    except SchemaError as error:
        raise _unusable(tool, error.message[:200]) from None
    return whole


def _size(tool: str, schema: object) -> int:
    """Bytes of the schema as JSON."""
    try:
        return len(json.dumps(schema))
    except (TypeError, ValueError, RecursionError):
        raise _unusable(tool, "it is no JSON") from None


def _unusable(tool: str, reason: str) -> ServeError:
    return ServeError("invalid_message", f"tools: the parameters schema of {tool} cannot be used: {reason}")


class _Inliner:
    """Puts what local references name in their place, and refuses what could reach out, loop or explode."""

    def __init__(self, tool: str, root: dict[str, Any]) -> None:
        self._tool = tool
        self._root = root
        self._nodes = 0
        self._ways = 0

    def inline(self, schema: Any, depth: int) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise _unusable(self._tool, "a part of it is no schema")
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise _unusable(
                self._tool, f"it refers to itself, or is deeper than {MAX_DEPTH} or larger than {MAX_NODES}"
            )
        if refused := next((name for name in _REFUSED if name in schema), None):
            raise _unusable(self._tool, f"{refused} is not supported")
        if "$ref" in schema:
            return self.inline(self._target(schema["$ref"]), depth + 1)
        self._check_pattern(schema.get("pattern"))
        self._check_ranges(schema)
        whole = {name: value for name, value in schema.items() if name not in ("$defs", "definitions", "$schema")}
        for name in ("properties", "dependentSchemas"):
            if isinstance(whole.get(name), dict):
                whole[name] = {key: self.inline(value, depth + 1) for key, value in whole[name].items()}
        for name in _SUBSCHEMAS:
            if name in whole:
                whole[name] = self.inline(whole[name], depth + 1)
        for name in _LISTS:
            if isinstance(whole.get(name), list):
                whole[name] = [self.inline(value, depth + 1) for value in whole[name]]
        return whole

    def _target(self, reference: object) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise _unusable(self._tool, "$ref may name a part of the same schema only (#/$defs/…)")
        found: Any = self._root
        for step in reference[2:].split("/"):
            found = found.get(step) if isinstance(found, dict) else None
            if found is None:
                raise _unusable(self._tool, f"{reference[:100]} names nothing")
        return found

    def _check_ranges(self, schema: Mapping[str, Any]) -> None:
        """Refuses what nothing fits: of "5 to 2 characters" llama.cpp makes a grammar of billions of rules."""
        for least, most in _LEAST_AND_MOST:
            low, high = schema.get(least), schema.get(most)
            if not isinstance(low, int | float) or not isinstance(high, int | float):
                continue
            if low > high or (low == high and "exclusive" in least + most):
                raise _unusable(self._tool, f"{least} is more than {most} allows")

    def _check_pattern(self, pattern: object) -> None:
        """Refuses what Python's backtracking could spend hours on; strings are short, so the rest is harmless."""
        if pattern is None:
            return
        if not isinstance(pattern, str) or len(pattern) > _MAX_PATTERN_CHARS:
            raise _unusable(self._tool, f"a pattern is longer than {_MAX_PATTERN_CHARS} characters")
        self._ways += _ways(pattern)
        if _COSTLY.search(pattern) or self._ways > _MOST_WAYS:
            raise _unusable(
                self._tool, "a pattern is too complex; use no repeated groups, and few repeats of varying length"
            )
        try:
            re.compile(pattern)
        except (re.error, OverflowError) as error:
            raise _unusable(self._tool, f"a pattern is no regular expression: {error}") from None


def _ways(pattern: str) -> int:
    """In how many ways the pattern may be tried at one place, at most."""
    ways = 1
    for choice in _CHOICE.finditer(_LITERAL.sub("x", pattern)):
        if choice[0] in "?|":
            ways *= 2
        elif choice["most"]:
            ways *= max(1, min(int(choice["most"]) - int(choice["least"] or 0) + 1, _OPEN_WAYS))
        else:
            ways *= _OPEN_WAYS
    return ways


def _check_pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[ValidationError]:
    """JSON Schema's `pattern`, for strings whose length keeps it cheap."""
    if not isinstance(instance, str):
        return
    if len(instance) > MAX_STRING_CHARS:
        yield ValidationError(f"with a pattern it may have {MAX_STRING_CHARS} characters; it has {len(instance)}")
    elif not re.search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Final = validators.extend(Draft202012Validator, {"pattern": _check_pattern})  # type: ignore[no-untyped-call]


def _grammar_form(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        return {}
    for name in ("const", "enum"):
        if name in schema:
            return {name: schema[name]}
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list):
            return {"anyOf": [_grammar_form(choice) for choice in schema[name]]}
    kind = schema.get("type")
    if isinstance(kind, list):
        return {"anyOf": [_grammar_form({**schema, "type": one}) for one in kind if one in _TYPES]}
    if kind is None and "properties" in schema:
        kind = "object"
    match kind:
        case "object":
            return _object_form(schema)
        case "array":
            most = min(schema.get("maxItems", _MAX_ITEMS), _MAX_ITEMS)
            least = min(schema.get("minItems", 0), most)
            return {"type": "array", "items": _grammar_form(schema.get("items")), "minItems": least, "maxItems": most}
        case "string":
            longest = min(schema.get("maxLength", MAX_STRING_CHARS), MAX_STRING_CHARS)
            return {"type": "string", "minLength": min(schema.get("minLength", 0), longest), "maxLength": longest}
        case "integer":
            return {name: schema[name] for name in ("type", "minimum", "maximum") if name in schema}
        case _:
            return {"type": kind} if kind in _TYPES else {}


def _object_form(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    if not properties:
        return {"type": "object"}
    required = [name for name in schema.get("required", ()) if name in properties]
    form = {name: _grammar_form(value) for name, value in properties.items()}
    return {"type": "object", "properties": form, "required": required, "additionalProperties": False}
