"""docs/configuration.md, made from the settings themselves: `python -m tools.config_doc > docs/configuration.md`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ai_engine.environment import ENGINE_VARIABLES
from ai_engine.settings import SECRET_SETTINGS, Settings

HEAD = """\
# Configuration of the engine

Made by `python -m tools.config_doc`; do not edit.

`config/ai-agent.yaml` holds the shipped settings; put yours into `config/ai-agent.local.yaml`, which is laid over it
key by key. `.env` and the process's environment win over both. A key or variable nobody reads is an error that names
file, line and the nearest valid name. Secrets are read from the environment only.
"""


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def default_of(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "-".join(str(v) for v in value.model_dump().values())
    if isinstance(value, dict):
        return ", ".join(value) or "none"
    return "none" if value is None or value == [] else str(value) or "none"


def rows(model: type[BaseModel], section: str) -> list[str]:
    variables = {v.setting: v.name for v in ENGINE_VARIABLES}
    lines = ["| key | default | variable | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if section_of(field) is not None and not section:
            continue
        key = f"`{name}`" if (section, name) not in SECRET_SETTINGS else f"({name})"
        meaning = " ".join((field.description or "").split())
        variable = variables.get((section, name), "")
        default = "" if (section, name) in SECRET_SETTINGS else f"`{default_of(field)}`"
        lines.append(f"| {key} | {default} | {f'`{variable}`' if variable else ''} | {meaning} |")
    return lines


def document() -> str:
    parts = [HEAD, "## Top level\n", *rows(Settings, "")]
    for name, field in Settings.model_fields.items():
        if (model := section_of(field)) is not None:
            parts += [f"\n## `{name}`\n", *rows(model, name)]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(document(), end="")
