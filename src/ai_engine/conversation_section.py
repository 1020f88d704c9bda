"""The `conversation` section of the configuration: `ConversationSettings` as a checked model, made from its fields.

What a context decides (its greeting, its silence policy, its longest call) is left out: it is written there.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from ai_engine.conversation.conversation_settings import ConversationSettings

DECIDED_BY_CONTEXT = frozenset(
    {"greeting_interruptible", "ask_after_s", "ask_times", "give_up_after_s", "max_call_s", "time_warning_s"}
    | {"greeting_mode", "greeting_delay_s", "greeting_wait_s"}
    | {"frame_ms"}  # the pacer's
)


class Knobs(BaseModel):
    """Base of the made models. Limits are never negative."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def model_of(kind: type[Any], leave_out: frozenset[str] = frozenset()) -> type[Knobs]:
    """A model with a dataclass's fields, types and defaults; nested dataclasses become nested models."""
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in leave_out:
            continue
        annotation = hints[field.name]
        if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
            nested = model_of(annotation)
            fields[field.name] = (nested, nested())
        else:
            least = 0 if annotation in (int, float) else None
            fields[field.name] = (annotation, Field(default=field.default, ge=least))
    model: type[Knobs] = create_model(kind.__name__, __base__=Knobs, **fields)
    return model


ConversationSection = model_of(ConversationSettings, DECIDED_BY_CONTEXT)


def conversation_settings(section: BaseModel) -> ConversationSettings:
    """The settings that the section says."""
    return typing.cast("ConversationSettings", _build(ConversationSettings, section.model_dump()))


def _build(kind: type[Any], values: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(
        **{name: _build(hints[name], value) if isinstance(value, dict) else value for name, value in values.items()}
    )
