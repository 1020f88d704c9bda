"""YAML files read with their line numbers, so that every complaint names file, line and the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

KeyPath = tuple[str | int, ...]

MAX_VALUES = 200_000
"""In one file, aliases written out: ten thousand known answers are a quarter of it."""
M = TypeVar("M", bound=BaseModel)


class ConfigError(Exception):
    """The configuration cannot be used; the message names file, line, key and what to write instead."""


class Document:
    """One parsed YAML file: plain data, and the line each key stands on (1-based)."""

    def __init__(self, data: dict[str, Any], lines: dict[KeyPath, int], path: Path) -> None:
        self.data = data
        self.lines = lines
        self.path = path

    def where(self, location: KeyPath) -> str:
        """`file:line` of the key, or of the nearest parent that is written in the file."""
        for end in range(len(location), 0, -1):
            if (line := self.lines.get(location[:end])) is not None:
                return f"{self.path}:{line}"
        return str(self.path)


def read_document(path: Path) -> Document:
    """Read a YAML mapping. Raises `ConfigError` for anything else: not there, not YAML, a key written twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    lines: dict[KeyPath, int] = {}
    try:
        data = _construct(text, lines, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1: expected keys and values, found {type(data).__name__}")
    return Document(data, lines, path)


def _construct(text: str, lines: dict[KeyPath, int], path: Path) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        _note_lines(node, (), lines, path)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def overlay(base: Document, top: Document) -> Document:
    """`top` laid over `base`, key by key; lists and scalars replace. Lines then point into whichever file won."""
    merged = _Overlaid(_merge(base.data, top.data), {}, base.path)
    merged.layers = (top, base)
    return merged


class _Overlaid(Document):
    layers: tuple[Document, ...] = ()

    def where(self, location: KeyPath) -> str:
        for end in range(len(location), 0, -1):
            for layer in self.layers:
                if location[:end] in layer.lines:
                    return layer.where(location[:end])
        return str(self.path)


def validate(model: type[M], document: Document) -> M:
    """The document as `model`. Raises one `ConfigError` that lists every complaint on a line of its own."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        complaints = [_complaint(model, document, dict(item)) for item in error.errors(include_url=False)]
        raise ConfigError("\n".join(complaints)) from None


def _complaint(model: type[BaseModel], document: Document, item: Mapping[str, Any]) -> str:
    location: KeyPath = tuple(item["loc"])
    name = ".".join(str(part) for part in location)
    where = document.where(location)
    if item["type"] == "extra_forbidden":
        siblings = valid_keys(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), siblings, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"valid keys here: {', '.join(sorted(siblings)) or 'none'}"
        return f"{where}: unknown key `{name}`; {hint}"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{where}: `{name}`: {message}" if name else f"{where}: {message}"


def valid_keys(model: type[BaseModel], location: KeyPath) -> list[str]:
    """The keys that may stand at `location` inside `model`."""
    current: Any = model
    for part in location:
        current = _descend(current, part)
        if current is None:
            return []
    found = _as_model(current)
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def _descend(annotation: Any, part: str | int) -> Any:
    found = _as_model(annotation)
    if found is not None:
        for name, field in found.model_fields.items():
            if part in (name, field.alias):
                return field.annotation
        return None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _descend(arguments[0], part)
    if origin is tuple:
        arguments = tuple(argument for argument in arguments if argument is not Ellipsis)
    if origin in (Union, UnionType):
        return next((inner for a in arguments if (inner := _descend(a, part)) is not None), None)
    return arguments[-1] if arguments and origin in (dict, list, tuple) else None


def _as_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is Annotated:
        return _as_model(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return next((m for a in get_args(annotation) if (m := _as_model(a)) is not None), None)
    return None


def _note_lines(node: yaml.Node, location: KeyPath, lines: dict[KeyPath, int], path: Path) -> None:
    if len(lines) > MAX_VALUES:
        raise ConfigError(f"{path}: more than {MAX_VALUES} values; do not nest aliases (`*name`) in one another")
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            inner = (*location, key_node.value if isinstance(key_node, yaml.ScalarNode) else str(key_node.value))
            line = key_node.start_mark.line + 1
            if inner in lines:
                name = ".".join(str(part) for part in inner)
                raise ConfigError(f"{path}:{line}: key `{name}` stands twice (first on line {lines[inner]})")
            lines[inner] = line
            _note_lines(value_node, inner, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*location, index)] = item.start_mark.line + 1
            _note_lines(item, (*location, index), lines, path)


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        under = merged.get(key)
        merged[key] = _merge(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged
