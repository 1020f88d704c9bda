"""What callers say and which tool each wants: `tool_utterances.yaml`, or another file of its form, and the verdicts.

benchmarks/tool_choice.py reads it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

DATA: Final = Path(__file__).with_name("tool_utterances.yaml")
NO_TOOL: Final = "none"
FIGURES: Final = ("meant", "tool", "arguments", "missed", "other", "refused", "not_meant", "left", "unmeant")
"""Columns of a report: utterances that mean a tool, and how many got it, and so on."""

Verdict = Literal["arguments", "tool", "missed", "other", "refused", "left", "unmeant"]


class QuestionsError(ValueError):
    """The file is not of this form; the message says where."""


@dataclass(frozen=True)
class Utterance:
    said: str
    tool: str
    """`none`: an answer in words."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Those that matter."""


class _Tool(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    description: str
    parameters: dict[str, Any]


class _Utterance(BaseModel):
    model_config = ConfigDict(extra="forbid")
    said: str
    tool: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompt: str
    tools: list[_Tool]
    utterances: list[_Utterance] = Field(min_length=1)


@dataclass(frozen=True)
class Questions:
    prompt: str
    tools: tuple[dict[str, Any], ...]
    """Flat: `name`, `description`, `parameters`."""
    utterances: tuple[Utterance, ...]


def read_questions(path: Path = DATA) -> Questions:
    """The set, as it is written. Raises `QuestionsError`."""
    try:
        data = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise QuestionsError(f"{path} is no set of utterances: {error}") from None
    tools = tuple(tool.model_dump() | {"description": tool.description.strip()} for tool in data.tools)
    known = {NO_TOOL, *(tool["name"] for tool in tools)}
    if unknown := {utterance.tool for utterance in data.utterances} - known:
        raise QuestionsError(
            f"{path}: no tool is called {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}"
        )
    return Questions(data.prompt.strip(), tools, tuple(Utterance(u.said, u.tool, u.arguments) for u in data.utterances))


def verdict(utterance: Utterance, called: str | None, arguments: object, *, usable: bool) -> Verdict:
    """`arguments`: right tool and arguments; `tool`: the tool only; `refused`: it could not be run (`usable` false).

    `called` None: no tool was.
    """
    if called is None:
        return "left" if utterance.tool == NO_TOOL else "missed"
    if not usable or not isinstance(arguments, Mapping):
        return "refused"
    if utterance.tool == NO_TOOL:
        return "unmeant"
    if called != utterance.tool:
        return "other"
    return "arguments" if utterance.arguments.items() <= arguments.items() else "tool"
