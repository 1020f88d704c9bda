"""docs/configuration.md, made from the settings themselves: `python -m tools.config_doc > docs/configuration.md`."""

from __future__ import annotations

import ast
import inspect
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ai_engine.contexts import Context
from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.environment import ENGINE_VARIABLES
from ai_engine.settings import SECRET_SETTINGS, Section, Settings
from ai_engine.templates import CALL_VARIABLES

HEAD = """\
# Configuration of the engine

Made by `python -m tools.config_doc`; do not edit.

`config/ai-agent.yaml` holds the shipped settings; put yours into `config/ai-agent.local.yaml`, which is laid over it
key by key. `.env` and the process's environment win over both. A key or variable nobody reads is an error that names
file, line and the nearest valid name. Secrets are read from the environment only.
"""

CONTEXTS = f"""
# Contexts

One file per persona in `config/contexts`, named as the dialplan's `AI_CONTEXT` names it;
[conversation.md](conversation.md) explains what the keys do together. Texts may hold variables in braces:
{", ".join(f"`{{{name}}}`" for name in CALL_VARIABLES)}, and `{{ai_…}}` for a dialplan variable `AI_…`.
"""


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def subsections_of(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The sections within a section; not the models that are written as one value (`ports: 18080-18579`)."""
    return {
        name: kind
        for name, field in model.model_fields.items()
        if (kind := section_of(field)) is not None and issubclass(kind, Section) and not field.metadata
    }


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, BaseModel):
        return "-".join(str(v) for v in value.model_dump().values())
    if isinstance(value, dict):
        return ", ".join(value) or "none"
    if isinstance(value, tuple):
        return " / ".join(str(part) for part in value) or "none"
    return "none" if value is None or value == [] else str(value) or "none"


@cache
def attribute_docs(kind: type[Any]) -> dict[str, str]:
    """The string under each field of a class."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(field.target, ast.Name):
            text = ast.literal_eval(after.value)
            found[field.target.id] = inspect.cleandoc(text)
    return found


def meaning_of(name: str, field: FieldInfo, section: str) -> str:
    told = field.description or (
        attribute_docs(ConversationSettings).get(name, "") if section == "conversation" else ""
    )
    return " ".join(told.split()).replace("|", "\\|")


def rows(model: type[BaseModel], section: str) -> list[str]:
    variables = {v.setting: v.name for v in ENGINE_VARIABLES}
    lines = ["| key | default | variable | meaning |", "|---|---|---|---|"]
    below = subsections_of(model)
    for name, field in model.model_fields.items():
        if name in below or (not section and section_of(field) is not None):
            continue
        key = f"`{name}`" if (section, name) not in SECRET_SETTINGS else f"({name})"
        variable = variables.get((section, name), "")
        default = "" if (section, name) in SECRET_SETTINGS else f"`{default_of(field)}`"
        meaning = meaning_of(name, field, section)
        lines.append(f"| {key} | {default} | {f'`{variable}`' if variable else ''} | {meaning} |")
    return lines


def part_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model inside a field of a context: itself, one of a union, or what a tuple holds."""

    def find(annotation: Any) -> type[BaseModel] | None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        if get_origin(annotation) in (Union, UnionType, tuple):
            return next((found for inner in get_args(annotation) if (found := find(inner)) is not None), None)
        return None

    return find(field.annotation)


def context_rows(model: type[BaseModel], name: str) -> list[str]:
    """A table for `model`, and one for each part of it."""
    title = f"`{name}`" if name else "Top level"
    lines = [f"\n## {title}\n"]
    if name and model.__doc__:
        lines += [inspect.cleandoc(model.__doc__), ""]
    lines += ["| key | default | meaning |", "|---|---|---|"]
    parts: list[tuple[str, type[BaseModel]]] = []
    for key, field in model.model_fields.items():
        part = part_of(field)
        meaning = meaning_of(key, field, "")
        if part is not None:
            below = f"{name}.{key}" if name else key
            parts.append((below, part))
            meaning = f"{meaning} See `{below}` below.".strip()
        default = "" if part is not None else f"`{default_of(field)}`"
        lines.append(f"| `{key}` | {default} | {meaning} |")
    for below, part in parts:
        lines += context_rows(part, below)
    return lines


def document() -> str:
    parts = [HEAD, "## Top level\n", *rows(Settings, "")]
    for name, field in Settings.model_fields.items():
        if (model := section_of(field)) is not None:
            parts += [f"\n## `{name}`\n", *rows(model, name)]
            for key, below in subsections_of(model).items():
                parts += [f"\n## `{name}.{key}`\n", inspect.cleandoc(below.__doc__ or ""), ""]
                parts += rows(below, f"{name}.{key}")
    parts += [CONTEXTS.rstrip("\n"), *context_rows(Context, "")]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(document(), end="")
