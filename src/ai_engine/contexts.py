"""Contexts (personas): who answers a call, what it says and knows. One YAML file each, named by the file.

A context is shared by calls and never changes; what belongs to one call is made from it by `for_call`, which takes
everything as arguments and keeps nothing. So no call can see another's data.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ai_engine.config_file import ConfigError, read_document, validate
from ai_engine.conversation.known_answers import KnownAnswer as Pair
from ai_engine.conversation.known_answers import Thresholds
from ai_engine.conversation.reply_prompt import HONEST_LINE
from ai_engine.templates import Template, TemplateError, clean_value

_DEFAULTS: Final = Thresholds()
_LINES: Final = ("greeting", "are_you_there", "farewell", "apology", "filler", "time_up", "giving_up", "no_information")


def _text(value: str) -> str:
    return " ".join(value.split())


def _template(value: str) -> str:
    try:
        Template.parse(value)
    except TemplateError as error:
        raise ValueError(str(error)) from None
    return value.strip()


def _constant(value: str) -> str:
    if not Template.parse(_template(value)).constant:
        raise ValueError("is rendered to sound ahead of any call and so cannot hold variables; write it without braces")
    return _text(value)


Plain = Annotated[str, Field(min_length=1), AfterValidator(_constant)]
"""A spoken text that is the same in every call."""
Line = Annotated[str, AfterValidator(_template), AfterValidator(_text)]
"""A spoken text with variables; empty where nothing is to be said."""
Prompt = Annotated[str, Field(min_length=1), AfterValidator(_template)]


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnownAnswer(Part):
    """One thing the persona knows by heart."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Named in timelines and logs."""
    questions: Annotated[tuple[Plain, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
    """Wordings of the question; differ in meaning rather than in single words."""
    answer: Plain
    """Spoken as it is written."""


class KnownAnswers(Part):
    """Question–answer pairs matched by meaning; `ai_engine.conversation.known_answers` says what the scores are."""

    accept_score: float = Field(default=_DEFAULTS.accept_score, ge=0, le=2)
    """A question that scores this is answered with the pair's answer, without the LLM (above 1: none is) …"""
    margin: float = Field(default=_DEFAULTS.margin, ge=0, le=1)
    """… if it is this far ahead of the second best pair."""
    near_score: float = Field(default=_DEFAULTS.near_score, ge=0, le=2)
    """From here on the LLM is given the fact beside the question."""
    coverage_weight: float = Field(default=_DEFAULTS.coverage_weight, ge=0, le=1)
    """How much shared words count against the embeddings' similarity."""
    pairs: tuple[KnownAnswer, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> KnownAnswers:
        if self.near_score > self.accept_score:
            raise ValueError(f"near_score {self.near_score} is above accept_score {self.accept_score}")
        seen: set[str] = set()
        for pair in self.pairs:
            if pair.id in seen:
                raise ValueError(f"two known answers have the id {pair.id!r}; give one of them another")
            seen.add(pair.id)
        return self

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.accept_score, self.margin, self.near_score, self.coverage_weight)

    def for_matching(self) -> tuple[Pair, ...]:
        """The pairs as the matcher takes them."""
        return tuple(Pair(pair.id, pair.questions, pair.answer) for pair in self.pairs)


class SilencePolicy(Part):
    """What happens when the caller says nothing, counted from the end of what was last heard."""

    ask_after_s: float = Field(default=8.0, gt=0)
    """Then "are you there?" is asked …"""
    hang_up_after_s: float = Field(default=20.0, gt=0)
    """… and here, counted from the same moment, the farewell is said. The agent's own speech is not counted."""


class Context(Part):
    """One persona, as its file says. Texts may hold variables where `Line` or `Prompt` is their type."""

    greeting: Line
    prompt: Prompt
    """The system prompt of the language model."""
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")
    voice: str | None = None
    """A voice of the TTS; absent: its default."""
    provider: str = "local"
    """A name under `providers` in the engine's settings."""
    known_answers: KnownAnswers = KnownAnswers()
    interruptible_greeting: bool = True
    are_you_there: Line = "Are you still there?"
    farewell: Line = "Thank you for calling. Goodbye."
    apology: Plain = "I am sorry, something went wrong on my side. Could you say that again, please?"
    """Spoken when the provider failed, from sound that was rendered before."""
    filler: Plain = "One moment, please."
    time_up: Line = "I am sorry, we have reached the end of our time. Goodbye."
    """Spoken when the call has lasted `max_call_s`."""
    giving_up: Plain = "I am sorry, I am having technical trouble. I will put you through."
    """Spoken before the dialplan's fallback, from sound that was rendered before."""
    no_information: Line = HONEST_LINE
    """Said instead of a fact the language model made up."""
    silence_policy: SilencePolicy = SilencePolicy()
    max_call_s: float = Field(default=1800.0, gt=0)

    def for_call(
        self,
        *,
        call_id: str,
        now: datetime,
        caller_name: str = "",
        caller_number: str = "",
        dialed_number: str = "",
        dialplan: Mapping[str, str] = MappingProxyType({}),
    ) -> CallTexts:
        """This persona in one call. `dialplan` are the channel's `AI_*` variables by their own names."""
        values = {name.lower(): value for name, value in dialplan.items() if name.upper().startswith("AI_")}
        values |= {
            "caller_name": caller_name,
            "caller_number": caller_number,
            "dialed_number": dialed_number,
            "call_id": call_id,
            "now": f"{now:%A}, {now.day} {now:%B %Y}, {now:%H:%M}",
        }
        lines = {name: Template.parse(getattr(self, name)).fill(values).strip() for name in _LINES}
        variables = {name: clean_value(value) for name, value in values.items()}
        return CallTexts(
            system_prompt=Template.parse(self.prompt).fill(values), variables=MappingProxyType(variables), **lines
        )

    @property
    def dialplan_variables(self) -> frozenset[str]:
        """The `ai_…` variables that its texts name."""
        texts = (self.prompt, *(getattr(self, name) for name in _LINES))
        named = frozenset[str]().union(*(Template.parse(text).variables for text in texts))
        return frozenset(name for name in named if name.startswith("ai_"))

    def lines_to_render(self) -> list[str]:
        """What can be turned into sound before any call, most urgent first; texts with variables cannot."""
        lines = [getattr(self, name) for name in ("greeting", "apology", "farewell", "giving_up", *_LINES)]
        lines += [pair.answer for pair in self.known_answers.pairs]
        constant = (Template.parse(line) for line in lines)
        return list(dict.fromkeys(filled for line in constant if line.constant and (filled := line.fill({}).strip())))


@dataclass(frozen=True, slots=True)
class CallTexts:
    """A context's texts with one call's variables in them."""

    system_prompt: str
    greeting: str
    are_you_there: str
    farewell: str
    apology: str
    filler: str
    time_up: str
    giving_up: str
    no_information: str
    variables: Mapping[str, str]
    """The cleaned values, by the names templates know them by."""


def load_contexts(folder: Path) -> dict[str, Context]:
    """Every `*.yaml` of `folder` by its name. Raises one `ConfigError` with all complaints, each with file and line."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigError(f"{folder}: no context here; put a persona into {folder / 'default.yaml'}")
    contexts: dict[str, Context] = {}
    complaints: list[str] = []
    for file in files:
        try:
            contexts[file.stem] = validate(Context, read_document(file))
        except ConfigError as error:
            complaints.append(str(error))
    if complaints:
        raise ConfigError("\n".join(complaints))
    return contexts


def find_context(contexts: Mapping[str, Context], name: str) -> Context:
    """The context of that name. Raises `ConfigError` that names the nearest one there is."""
    if name in contexts:
        return contexts[name]
    near = difflib.get_close_matches(name, contexts, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(contexts))}"
    raise ConfigError(f"no context named {name!r}; {hint}")
